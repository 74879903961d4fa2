"""Programs split between engines and PyTorch: what runs where, and that it computes the same."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import partial
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import regraft
from models import zoo


def _segments(module: regraft.Module) -> list[str]:
    return [segment.name for segment in module.layout.segments]


def test_a_whole_program_gives_an_engine() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    assert isinstance(regraft.compile(model, (torch.randn(2, 4),)), regraft.Engine)


def test_unknown_ops_run_in_pytorch() -> None:
    model = partial.layers(0)
    module = regraft.compile(partial.layers_program(0))
    assert isinstance(module, regraft.Module)
    assert isinstance(module, torch.fx.GraphModule)
    assert _segments(module) == [
        *("engine_0", "torch_1", "engine_2", "torch_3", "engine_4", "torch_5", "engine_6")
    ]
    for batch in (2, 5, 64):
        x = torch.randn(batch, 6)
        partial.close(module(x), model(x))
    assert "engine_0" in module.code
    assert "special_i0" in module.torch_1.code


@pytest.mark.parametrize(
    "ops", [["aten.relu"], ["aten::relu.default"], [torch.ops.aten.relu], ("aten.relu.default",)]
)
def test_ops_kept_out_by_any_spelling(ops: list[object]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
    module = regraft.compile(model, (torch.randn(2, 4),), torch_executed_ops=ops)
    assert _segments(module) == ["engine_0", "torch_1", "engine_2"]
    x = torch.randn(2, 4)
    partial.close(module(x), model(x))


def test_min_block_size_moves_small_engines() -> None:
    program = partial.layers_program(0)
    sizes = {n: regraft.compile(program, min_block_size=n) for n in (1, 4, 100)}
    assert len(sizes[1].engines) == 4
    assert 0 < len(sizes[4].engines) < 4
    assert sizes[100].engines == []
    x = torch.randn(3, 6)
    for module in sizes.values():
        partial.close(module(x), partial.layers(0)(x))
    assert "fewer than min_block_size 4" in regraft.compile(program, min_block_size=4, dryrun=True)


def test_dryrun_and_explain_give_reasons() -> None:
    program = partial.layers_program(0)
    for text in (regraft.compile(program, dryrun=True), regraft.explain(program)):
        assert "aten.special_xlog1py.default (3 nodes)" in text
        assert "partial.py" in text
    assert "segments, in order" in regraft.compile(program, dryrun=True)


def test_require_full_compilation_lists_what_stays_out() -> None:
    with pytest.raises(regraft.UnsupportedError) as error:
        regraft.compile(partial.layers_program(0), require_full_compilation=True)
    assert "aten.special_xlog1py.default (3 nodes)" in str(error.value)
    with pytest.raises(regraft.UnsupportedError, match="kept out by torch_executed_ops"):
        regraft.compile(
            nn.ReLU().eval(),
            (torch.randn(3),),
            torch_executed_ops=["aten.relu"],
            require_full_compilation=True,
        )


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(TypeError, match="'min_blok_size' \\(nearest: 'min_block_size'\\)"):
        regraft.compile(nn.ReLU().eval(), (torch.randn(3),), min_blok_size=3)
    with pytest.raises(regraft.InvalidArgumentError, match="min_block_size"):
        regraft.compile(nn.ReLU().eval(), (torch.randn(3),), min_block_size=0)
    with pytest.raises(regraft.InvalidArgumentError, match="exclude each other"):
        regraft.CompilationSettings(immutable_weights=True, strip_engine_weights=True)
    with pytest.raises(TypeError, match="torch_executed_ops"):
        regraft.CompilationSettings(torch_executed_ops=(3,))
    with pytest.raises(regraft.InvalidArgumentError, match="not both"):
        regraft.compile(
            nn.ReLU().eval(), (torch.randn(3),), settings=regraft.CompilationSettings(), name="x"
        )


class _DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor, *, flag: bool = True) -> tuple[Tensor, Tensor, int, None]:
        y = self.first(x)
        where = torch.nonzero(y[:, 0] > 0)
        count = (y[:, 0] > 0).sum().item()
        torch._check(count >= 0)
        torch._check(count <= y.shape[0])
        rows = self.last(y[:count]).relu()
        return rows, where, x.shape[0], None


def test_data_dependent_ops_numbers_and_constants() -> None:
    model = _DataDependent().eval()
    module = regraft.compile(
        model, (torch.randn(5, 4),), {"flag": True}, dynamic_shapes=({0: Dim.AUTO}, None)
    )
    assert len(module.engines) == 2
    for batch in (2, 5, 9):
        x = torch.randn(batch, 4)
        have, want = module(x, flag=True), model(x, flag=True)
        assert have[2:] == want[2:] == (batch, None)
        partial.close(have[:2], want[:2])
    everything_negative = torch.full((3, 4), 0.0)
    model.first.weight.data.zero_()
    model.first.bias.data.fill_(-1.0)
    module.refit(model)
    rows, where, _, _ = module(everything_negative, flag=True)
    assert rows.shape == (0, 2)
    assert where.shape == (0, 1)
    with pytest.raises(regraft.MismatchError, match="want True, which is part of the program"):
        module(everything_negative, flag=False)


class _Filled(nn.Module):
    def forward(self, x: Tensor, value: float) -> Tensor:
        return x.masked_fill(x > 0, value)


def test_not_a_number_is_one_constant() -> None:
    x = torch.tensor([-1.0, 2.0])
    engine = regraft.compile(_Filled().eval(), (x, math.nan), backend="cpu")
    torch.testing.assert_close(
        engine(x, float("nan")), torch.tensor([-1, math.nan]), equal_nan=True
    )
    with pytest.raises(regraft.MismatchError, match=r"want nan.*have 1\.0"):
        engine(x, 1.0)


class _Sized(nn.Module):
    """How large the result is, only its values say."""

    def __init__(self, sized: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.sized = nn.Linear(8, 8), sized

    def forward(self, x: Tensor) -> Tensor:
        return self.sized(self.linear(x)) * 2


@pytest.mark.parametrize(
    "sized",
    [
        lambda x: x[x > 0],
        lambda x: x[x.sum(1) > 0].relu(),
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.unique(x.round()),
    ],
    ids=["elements", "rows", "nonzero", "masked_select", "unique"],
)
def test_sizes_that_values_make_run_in_pytorch(sized: Callable[[Tensor], Tensor]) -> None:
    model, x = _Sized(sized).eval(), torch.randn(4, 8)
    module = regraft.compile(model, (x,))
    assert len(module.engines) > 0
    for scale in (1.0, -3.0, 0.0):
        partial.close([module(x * scale)], [model(x * scale)])
    with pytest.raises(regraft.UnsupportedError, match="require_full_compilation"):
        regraft.compile(model, (x,), require_full_compilation=True)


class _Statistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.linear(x)
        weights = self.norm.weight, self.norm.bias
        normed, mean, rstd = torch.native_layer_norm(y, (6,), *weights, 1e-5)
        return self.linear(normed[:, :4]), mean * 2, rstd


def test_results_that_only_pytorch_makes() -> None:
    model, x = _Statistics().eval(), torch.randn(3, 4)
    compiled = regraft.compile(model, (x,))
    assert isinstance(compiled, regraft.Module)
    partial.close(compiled(x), model(x))
    with pytest.raises(regraft.UnsupportedError, match=r"native_layer_norm.*its result 1"):
        regraft.compile(model, (x,), require_full_compilation=True)


class _TwoWays(nn.Module):
    def __init__(self, splits: bool) -> None:
        super().__init__()
        self.linear, self.splits = nn.Linear(4, 4), splits

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        if self.splits:
            y = partial.xlog1py(y, y.abs())
        return y * 2 if x.shape[0] % 2 == 0 else y * 3


@pytest.mark.parametrize("splits", [False, True])
def test_sizes_that_go_another_way_are_refused(splits: bool, tmp_path: Path) -> None:
    model = _TwoWays(splits).eval()
    program = torch.export.export(model, (torch.randn(6, 4),), dynamic_shapes=({0: Dim.AUTO},))
    compiled = regraft.compile(program)
    regraft.save(compiled, tmp_path / "saved")
    mutable = regraft.MutableModule(model)
    for each in (compiled, regraft.load(tmp_path / "saved")):
        partial.close(each(torch.ones(8, 4)), model(torch.ones(8, 4)))
        with pytest.raises(regraft.MismatchError, match=r"want mod\(.*,2\) == 0, have .* = 7"):
            each(torch.ones(7, 4))
    for batch in (4, 6, 7, 9):
        partial.close(mutable(torch.ones(batch, 4)), model(torch.ones(batch, 4)))


class _Number(nn.Module):
    def forward(self, x: Tensor, n: int) -> Tensor:
        y = partial.xlog1py(x, x.abs())
        y = y * n if n > 3 else y
        return y + 1 if n % 2 == 1 else y


def test_numbers_that_go_another_way_are_refused(tmp_path: Path) -> None:
    x = torch.randn(3, 4)
    shapes = {"x": None, "n": Dim.AUTO}
    compiled = regraft.compile(_Number().eval(), (x, 7), dynamic_shapes=shapes)
    regraft.save(compiled, tmp_path / "saved")
    for each in (compiled, regraft.load(tmp_path / "saved")):
        partial.close(each(x, 9), _Number()(x, 9))
        with pytest.raises(regraft.MismatchError, match="input 1: want at least 4, have 3"):
            each(x, 3)
        with pytest.raises(regraft.MismatchError, match=r"want mod\(.*,2\) == 1, have .* = 8"):
            each(x, 8)


def test_sizes_that_come_are_tuned_for() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(25, 5) * 2

    # Two by two, which sizes are tuned for by default, is not 25.
    x = torch.randn(5, 5, 5)
    shapes = ({0: Dim.AUTO, 1: Dim.AUTO},)
    program = torch.export.export(Fixed(), (x,), dynamic_shapes=shapes)
    compiled = regraft.compile(program)
    partial.close(compiled(x), x.view(25, 5) * 2)
    with pytest.raises(regraft.MismatchError, match="another way"):
        compiled(torch.randn(5, 4, 5))
    names = [symbol.name for symbol in compiled.signature().symbols]
    with pytest.raises(regraft.InvalidArgumentError, match="no call has these sizes: want"):
        regraft.compile(program, optimum=dict.fromkeys(names, 4))


class _Sizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = torch.special.i0(x).sum(0)
        return total.expand(x.shape[0], x.shape[1]).relu() * x.shape[0]


def test_an_engine_behind_a_segment_gets_sizes_alone() -> None:
    module = regraft.compile(
        _Sizes().eval(), (torch.randn(3, 4),), dynamic_shapes=({0: Dim("n", min=2)},),
        torch_executed_ops=["aten.sum"],
    )  # fmt: skip
    assert "size_of" in module.code
    for batch in (2, 7):
        x = torch.randn(batch, 4)
        partial.close(module(x), _Sizes()(x))


class _Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.avg_pool2d(x, 2)
        y = torch.special.i0(y)
        return nn.functional.avg_pool2d(y, 2).flatten(1)


def test_sizes_that_cannot_be_solved_for_cross_too() -> None:
    module = regraft.compile(
        _Halves().eval(),
        (torch.randn(2, 3, 16, 16),),
        dynamic_shapes=({2: Dim("h", min=8, max=64), 3: Dim("w", min=8, max=64)},),
    )
    for size in (8, 17, 64):
        x = torch.randn(2, 3, size, size + (size < 64))
        partial.close(module(x), _Halves()(x))


class _Control(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        y = torch.cond(y.sum() > 4.0, lambda z: z * 2.0, lambda z: z.sin() - 1.0, (y,))
        return torch.relu(self.b(y))


def test_control_flow_runs_in_pytorch() -> None:
    model = _Control().eval()
    module = regraft.compile(model, (torch.randn(3, 4),))
    assert _segments(module) == ["engine_0", "torch_1", "engine_2"]
    for x in (torch.full((3, 4), 9.0), torch.full((3, 4), -9.0), torch.zeros(3, 4)):
        partial.close(module(x), model(x))


class _Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(1)
        return torch.special.i0(x) * self.seen


def test_programs_that_change_a_buffer_are_refused() -> None:
    with pytest.raises(regraft.UnsupportedError, match="changes the buffer 'seen'"):
        regraft.compile(_Stateful().eval(), (torch.randn(3),))


class _Returns(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight.view(3, 1), torch.special.i0(x), self.weight


def test_returned_weights_are_not_the_modules_own() -> None:
    module = regraft.compile(_Returns().eval(), (torch.randn(3),))
    x = torch.randn(3)
    with torch.no_grad():
        for output in module(x):
            output.zero_()
    partial.close(module(x), _Returns.forward(_named(module), x))


def _named(module: regraft.Module) -> _Returns:
    model = _Returns()
    model.weight = nn.Parameter(module.parameter("weight"))
    return model.requires_grad_(False)


def test_inputs_are_checked_at_the_border() -> None:
    module = regraft.compile(partial.layers_program(0))
    with pytest.raises(regraft.MismatchError, match=r"f32\[\w+,6\] .* have f64"):
        module(torch.randn(4, 6).double())
    with pytest.raises(regraft.MismatchError, match="structure"):
        module(torch.randn(4, 6), torch.randn(4, 6))
    for bad in (torch.randn(4, 5), torch.randn(1, 6), torch.randn(65, 6), torch.randn(4)):
        with pytest.raises(regraft.MismatchError, match="input 'x'"):
            module(bad)
    with pytest.raises(regraft.StateError, match="requires grad"):
        module(torch.randn(4, 6, requires_grad=True))
    with torch.no_grad():
        module(torch.randn(4, 6, requires_grad=True))


class _Named(nn.Module):
    def forward(self, pair: dict[str, Tensor], *, more: dict[str, list[Tensor]]) -> Tensor:
        return pair["a"] - pair["b"] * more["c"][0] / more["d"][0]


@pytest.mark.parametrize("options", [{}, {"torch_executed_ops": ["aten.sub"]}])
def test_keys_of_dicts_come_in_any_order(options: dict[str, list[str]]) -> None:
    a, b, c, d = torch.rand(4, 2, 3) + 1
    named = _Named().eval()
    compiled = regraft.compile(
        named, ({"a": a, "b": b},), {"more": {"c": [c], "d": [d]}}, **options
    )
    want = named({"a": a, "b": b}, more={"c": [c], "d": [d]})
    for pair in ({"a": a, "b": b}, {"b": b, "a": a}, OrderedDict(b=b, a=a)):
        for more in ({"c": [c], "d": [d]}, {"d": [d], "c": [c]}):
            partial.close(compiled(pair, more=more), want)
    for pair in ({"a": a}, {"a": a, "c": b}, {"b": b, "a": a, "c": c}, [a, b]):
        with pytest.raises(regraft.MismatchError, match="want the structure"):
            compiled(pair, more={"d": [d], "c": [c]})
    with pytest.raises(regraft.MismatchError, match="want the structure"):
        compiled({"b": b, "a": a}, more={"d": [d], "c": (c,)})


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_gpt2"])
def test_models_of_the_zoo_in_pieces(name: str) -> None:
    model = zoo.build(name, 0)
    op = "aten.relu" if name == "tiny_resnet18" else "aten.layer_norm"
    program = zoo.program(name, "raw", dynamic=True)
    module = regraft.compile(program, torch_executed_ops=[op])
    assert len(module.engines) > 2
    inputs = zoo.example_inputs(name, 3, seed=5)
    have = torch.utils._pytree.tree_leaves(module(*inputs))
    for a, b in zip(have, zoo.run(model, inputs), strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-4
    other = zoo.build(name, 1)
    module.refit(other, allow_unexpected=True)
    have = torch.utils._pytree.tree_leaves(module(*inputs))
    for a, b in zip(have, zoo.run(other, inputs), strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-4

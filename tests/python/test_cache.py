"""The engine cache: which programs share a plan, which never do, and what a hit is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from caches import Memory, compile_with, key_of
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

import regraft
import support
from models import zoo
from regraft import _regraft
from regraft._compile import open_model

Module = Callable[..., Any]


class Lambda(nn.Module):
    """A function with parameters, all made from one seed."""

    def __init__(self, function: Module, **tensors: Tensor | None) -> None:
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_parameter(name, None if tensor is None else nn.Parameter(tensor))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def weight(*dims: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*dims, generator=torch.Generator().manual_seed(seed)).to(dtype)


# ---- what never shares a key ----


@dataclass(frozen=True)
class Pair:
    """Two modules of equal signatures and weights that compute something else."""

    name: str
    one: Module
    other: Module
    inputs: tuple[Tensor, ...] = (weight(4, 4, 8, 8, seed=5),)
    tensors: tuple[tuple[str, Tensor], ...] = ()


SQUARE = (weight(4, 4, seed=1), weight(4, 4, seed=2))
LINEARS = (("a", weight(4, 4, seed=3)), ("b", weight(4, 4, seed=4)))
KERNEL = (("w", weight(4, 4, 3, 3, seed=3)),)
SCALE = (("w", weight(8, seed=3)),)
PAIRS = [
    Pair(
        "stride",
        lambda m, x: F.conv2d(x, m.w, stride=(1, 2), padding=(1, 1)).mean((2, 3)),
        lambda m, x: F.conv2d(x, m.w, stride=(2, 1), padding=(1, 1)).mean((2, 3)),
        tensors=KERNEL,
    ),
    Pair(
        "padding",
        lambda m, x: F.conv2d(x, m.w, padding=1).mean((2, 3)),
        lambda m, x: F.conv2d(x, m.w, padding=2).mean((2, 3)),
        tensors=KERNEL,
    ),
    Pair("axis", lambda m, x: x.softmax(2), lambda m, x: x.softmax(3)),
    Pair("axes", lambda m, x: x.permute(1, 0, 2, 3), lambda m, x: x.permute(0, 1, 3, 2)),
    Pair(
        "epsilon",
        lambda m, x: F.layer_norm(x, (8,), m.w, None, 1e-5),
        lambda m, x: F.layer_norm(x, (8,), m.w, None, 1e-2),
        tensors=SCALE,
    ),
    Pair("scalar", lambda m, x: F.leaky_relu(x, 0.1), lambda m, x: F.leaky_relu(x, 0.2)),
    Pair("alpha", lambda m, x: torch.add(x, x, alpha=2), lambda m, x: torch.add(x, x, alpha=3)),
    Pair("formula", lambda m, x: F.gelu(x), lambda m, x: F.gelu(x, approximate="tanh")),
    Pair("window", lambda m, x: F.max_pool2d(x, 2), lambda m, x: F.avg_pool2d(x, 2)),
    Pair("slice", lambda m, x: x[:, :2], lambda m, x: x[:, 2:]),
    Pair("order_of_operands", lambda m, x, y: x - y, lambda m, x, y: y - x, SQUARE),
    Pair(
        "order_of_outputs", lambda m, x, y: (x * 2, y * 3), lambda m, x, y: (y * 3, x * 2), SQUARE
    ),
    Pair("edge", lambda m, x, y: x * y + x, lambda m, x, y: x * y + y, SQUARE),
    Pair(
        "tie",
        lambda m, x, y: F.linear(F.linear(x, m.a), m.a) + y,
        lambda m, x, y: F.linear(F.linear(x, m.a), m.b) + y,
        SQUARE,
        LINEARS,
    ),
    Pair(
        "which_weight",
        lambda m, x, y: F.linear(F.linear(x, m.a) * F.linear(y, m.b), m.a),
        lambda m, x, y: F.linear(F.linear(x, m.a) * F.linear(y, m.b), m.b),
        SQUARE,
        LINEARS,
    ),
    Pair(
        "causal",
        lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        lambda m, x: F.scaled_dot_product_attention(x, x, x),
    ),
    Pair("dtype_inside", lambda m, x: x.to(torch.int8) * 3, lambda m, x: (x * 3).to(torch.int8)),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_different_graphs_never_share_a_key(pair: Pair) -> None:
    one, other = (Lambda(f, **dict(pair.tensors)) for f in (pair.one, pair.other))
    with torch.no_grad():
        outputs = [support.flat(model(*pair.inputs)) for model in (one, other)]
    assert not all(torch.equal(a, b) for a, b in zip(*outputs, strict=True) if a.shape == b.shape)
    cache = Memory()
    compile_with(cache, one, pair.inputs)
    engine = compile_with(cache, other, pair.inputs)
    assert not engine.from_cache
    assert len(cache.entries) == 2
    with torch.no_grad():
        have = support.flat(engine(*pair.inputs))
    for a, b in zip(have, outputs[1], strict=True):
        assert support.relative_error(a, b) < support.F32_TOLERANCE


def test_dtypes_never_share_a_key() -> None:
    keys = set()
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        linear = nn.Linear(4, 4).to(dtype)
        keys.add(key_of(linear, (torch.randn(2, 4, dtype=dtype),)))
    embedding = nn.Embedding(8, 4)
    for dtype in (torch.int32, torch.int64):
        keys.add(key_of(embedding, (torch.zeros(2, 4, dtype=dtype),)))
    assert len(keys) == 5


def test_shapes_and_ranges_never_share_a_key() -> None:
    model, x = nn.Linear(4, 4), (torch.randn(3, 4),)
    add, xy = Lambda(lambda m, x, y: (x * 2, y * 3)), (torch.randn(3, 4), torch.randn(3, 4))
    one, two = Dim("one", min=2, max=64), Dim("two", min=2, max=64)
    keys = [
        key_of(model, x),
        key_of(model, (torch.randn(5, 4),)),
        key_of(model, x, {"input": {0: Dim("b", min=2, max=64)}}),
        key_of(model, x, {"input": {0: Dim("b", min=2, max=32)}}),
        key_of(model, x, {"input": {0: Dim("b", min=3, max=64)}}),
        key_of(model, x, {"input": {0: Dim("b", min=2, max=64)}}, precision="bf16"),
        key_of(model, x, {"input": {0: Dim("b", min=2, max=64)}}, backend="reference"),
        key_of(model, x, disabled_passes=["merge-linears"]),
        key_of(add, xy, {"inputs": ({0: one}, {0: one})}),
        key_of(add, xy, {"inputs": ({0: one}, {0: two})}),
    ]
    assert len(set(keys)) == len(keys)


def test_optimum_is_part_of_the_key() -> None:
    source = open_model(
        nn.Linear(4, 4).eval(), (torch.randn(3, 4),), {}, {"input": {0: Dim("b", min=2, max=64)}}
    )
    program = source.core
    (symbol,) = _regraft.cache_key(program, {}).symbols
    keys = {_regraft.cache_key(program, {"optimum": {symbol: size}}).digest for size in (2, 8, 64)}
    assert len(keys) == 3


# ---- what shares one ----


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head, self.tail = nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("shift", torch.randn(4), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.tail(F.relu(self.head(self.norm(x)) - y)) + self.shift


class Second(nn.Module):
    """First with every name changed, the table in another order and other persistence."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.randn(4))
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.statistics = nn.BatchNorm1d(4)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        hidden = F.relu(self.blocks[1](self.statistics(left)) - right)
        return {"out": self.blocks[0](hidden) + self.offset}


def _hard(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator) + 0.1
    return model.eval().requires_grad_(False)


def test_names_and_weights_do_not_matter() -> None:
    cache, inputs = Memory(), (torch.randn(3, 4), torch.randn(3, 4))
    batch, rows = Dim("batch", min=2, max=64), Dim("rows", min=2, max=64)
    first, second = _hard(First(), 1), _hard(Second(), 2)
    built = compile_with(cache, first, inputs, dynamic_shapes={"x": {0: batch}, "y": {0: batch}})
    shapes = {"left": {0: rows}, "right": {0: rows}}
    hit = compile_with(cache, second, inputs, dynamic_shapes=shapes)
    assert not built.from_cache
    assert hit.from_cache
    assert len(cache.entries) == 1
    fresh = regraft.compile(second, inputs, dynamic_shapes=shapes)
    for size in (2, 3, 7):
        x, y = torch.randn(size, 4), torch.randn(size, 4)
        assert support.same_bits(hit(x, y)["out"], fresh(x, y)["out"])
        assert support.relative_error(hit(x, y)["out"], second(x, y)["out"]) < 1e-5

    assert {p.spec.name for p in hit.parameter_infos()} == {
        p.spec.name for p in fresh.parameter_infos()
    }
    assert repr(hit.signature().inputs) == repr(fresh.signature().inputs)
    text = hit.refit_map() + hit.steps()
    assert not any(name in text for name in ("head", "tail", "norm.", "shift"))
    # A hit is refitted as any engine, by the new names.
    third = _hard(Second(), 3)
    hit.refit(third.state_dict())
    assert support.relative_error(hit(*inputs)["out"], third(*inputs)["out"]) < 1e-5
    with pytest.raises(regraft.MismatchError, match=r"head\.weight"):
        hit.refit(first.state_dict())


def test_exchanged_modules_share_a_plan_and_keep_their_weights() -> None:
    tensors = {"a": weight(4, 4, seed=1), "b": weight(4, 4, seed=2)}
    one = Lambda(lambda m, x: F.linear(F.relu(F.linear(x, m.a)), m.b), **tensors)
    other = Lambda(lambda m, x: F.linear(F.relu(F.linear(x, m.b)), m.a), **tensors)
    cache, x = Memory(), torch.randn(2, 4)
    compile_with(cache, one, (x,))
    hit = compile_with(cache, other, (x,))
    assert hit.from_cache
    with torch.no_grad():
        assert support.relative_error(hit(x), other(x)) < 1e-5
        assert support.relative_error(hit(x), one(x)) > 1e-2


def test_ties_keep_their_aliases() -> None:
    def tied(names: tuple[str, str]) -> nn.Module:
        model = nn.Module()
        for name in names:
            model.add_module(name, nn.Linear(4, 4, bias=False))
        first, second = (model.get_submodule(name) for name in names)
        second.weight = first.weight
        model.forward = lambda x: second(F.relu(first(x)))  # type: ignore[method-assign]
        return model.eval().requires_grad_(False)

    cache, x = Memory(), torch.randn(2, 4)
    compile_with(cache, tied(("one", "two")), (x,))
    hit = compile_with(cache, tied(("three", "four")), (x,))
    assert hit.from_cache
    names = {hit.parameter_infos()[0].spec.name, *hit.parameter_infos()[0].aliases}
    assert names == {"three.weight", "four.weight"}


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("tiny_resnet18", "f32"),
        ("tiny_resnet18", "bf16"),
        ("tiny_bert", "f32"),
        ("tiny_gpt2", "bf16"),
    ],
)
def test_a_hit_has_the_bits_of_a_build_and_runs_no_pass(name: str, precision: str) -> None:
    other = zoo.export_model(
        zoo.build(name, 1), zoo.example_inputs(name), "raw", zoo.dynamic_shapes(name)
    )
    programs = [support.program(name, "raw"), other]
    cache = Memory()
    events: list[tuple[str, str]] = []
    options: dict[str, Any] = {
        "precision": precision,
        "cache_built_engines": True,
        "reuse_cached_engines": True,
        "custom_engine_cache": cache,
        "progress": lambda stage, name, seconds, text: events.append((stage, name)),
    }
    regraft.compile(programs[0], **options)
    assert ("compile", "hoist") in events
    assert [name for stage, name in events if stage == "cache"] == ["miss", "save"]
    events.clear()
    hit = regraft.compile(programs[1], **options)
    assert hit.from_cache
    assert "compile" not in {stage for stage, _ in events}
    assert [name for stage, name in events if stage == "cache"] == ["hit"]
    built = regraft.compile(programs[1], precision=precision)
    assert hit.realised_digest == built.realised_digest
    assert hit.refit_map() == built.refit_map()
    inputs = zoo.example_inputs(name, 3, seed=9)
    for a, b in zip(support.flat(hit(*inputs)), support.flat(built(*inputs)), strict=True):
        assert support.same_bits(a, b)


def test_a_hit_is_saved_forked_and_stripped_as_a_build(tmp_path: Path) -> None:
    cache, x = Memory(), torch.randn(2, 4)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval().requires_grad_(False)
    compile_with(cache, model, (x,))
    hit = compile_with(cache, model, (x,))
    hit.save(tmp_path / "hit.rgf")
    loaded = regraft.load(tmp_path / "hit.rgf")
    assert not loaded.from_cache
    assert hit.fork().from_cache
    assert support.same_bits(loaded(x), hit(x))
    stripped = compile_with(cache, model, (x,), strip_engine_weights=True)
    assert stripped.from_cache
    with pytest.raises(regraft.StateError):
        stripped(x)
    stripped.refit(model.state_dict())
    assert support.same_bits(stripped(x), hit(x))


def test_guards_hold_for_the_weights_of_a_hit() -> None:
    class Pick(nn.Module):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(5, 3))
            self.register_buffer("index", torch.tensor([0, index]))

        def forward(self, x: Tensor) -> Tensor:
            return x + F.embedding(self.index, self.table)

    cache, x = Memory(), torch.zeros(2, 3)
    program = torch.export.export(Pick(1).eval(), (x,))
    compile_with_program = {
        "cache_built_engines": True,
        "reuse_cached_engines": True,
        "custom_engine_cache": cache,
    }
    regraft.compile(program, **compile_with_program)
    program.state_dict["index"][1] = 5
    with pytest.raises(regraft.MismatchError, match="index"):
        regraft.compile(program, **compile_with_program)
    assert len(cache.entries) == 1
    assert not cache.removed
    program.state_dict["index"][1] = 4
    assert regraft.compile(program, **compile_with_program).from_cache

"""The torch.compile backend: graphs become engines, weight changes become refits."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mutable_net import Net
from torch import Tensor, nn
from torch._dynamo.utils import counters

import regraft
import support
from models import zoo
from regraft.dynamo import compiled as compiled_module
from regraft.dynamo import fallback


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    fallback._warned.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(autouse=True)
def builds(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every engine built."""
    engines: list[object] = []
    original = compiled_module.compile

    def build(*args: Any, **kwargs: Any) -> Any:
        engines.append(original(*args, **kwargs))
        return engines[-1]

    monkeypatch.setattr(compiled_module, "compile", build)
    return engines


def _compile(model: Any, **options: Any) -> Any:
    return torch.compile(model, backend="regraft", options=options)


def _check(compiled: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    have, want = compiled(*args, **kwargs), model(*args, **kwargs)
    torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4)
    return have


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_llama"])
def test_models(name: str, builds: list[object]) -> None:
    model = zoo.build(name)
    inputs = zoo.example_inputs(name)
    compiled = _compile(model)
    with torch.no_grad():
        for seed in (0, 1):
            model.load_state_dict(zoo.build(name, seed).state_dict())
            have, want = support.flat(compiled(*inputs)), support.flat(model(*inputs))
            for a, b in zip(have, want, strict=True):
                assert support.relative_error(a, b) <= support.F32_TOLERANCE
    assert builds
    assert counters["stats"]["unique_graphs"] == len(builds)


def _in_place(model: Net) -> None:
    model.first.weight.view(-1)[5] += 1e-3


def _data(model: Net) -> None:
    model.first.weight.data = torch.randn(4, 4)


def _transposed(model: Net) -> None:
    model.first.weight.data = model.first.weight.data.t()


def _replaced(model: Net) -> None:
    model.norm.bias = nn.Parameter(torch.randn(4))


def _attribute(model: Net) -> None:
    model.plain = torch.randn(4)


def _buffers(model: Net) -> None:
    model.scale = torch.randn(4)
    model.shift.mul_(2)


def _loaded(model: Net) -> None:
    model.load_state_dict(Net().state_dict())


def _assigned(model: Net) -> None:
    model.load_state_dict(Net().state_dict(), assign=True)


def _statistics(model: Net) -> None:
    model.train()
    Net.forward(model, torch.randn(16, 4))
    model.eval()


def _trained(model: Net) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    with torch.enable_grad():
        Net.forward(model, torch.randn(16, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "write",
    [
        _in_place,
        _data,
        _replaced,
        _attribute,
        _buffers,
        _loaded,
        _assigned,
        _statistics,
        _trained,
    ],
)
def test_weight_changes_refit_and_never_compile(
    write: Callable[[Net], None], inference: bool, builds: list[object]
) -> None:
    model = Net().eval()
    compiled, x = _compile(model), torch.randn(3, 4)
    mode = torch.inference_mode if inference else torch.no_grad
    with mode():
        before = _check(compiled, model, x)
    for _ in range(2):
        with torch.no_grad():
            write(model)
        with mode():
            after = _check(compiled, model, x)
        assert not torch.equal(before, after)
        before = after
    assert counters["stats"]["unique_graphs"] == 1
    assert len(builds) == 1


def test_refit_takes_what_changed_and_nothing_else(
    builds: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Net().eval()
    compiled, x = _compile(model), torch.randn(3, 4)
    reports: list[regraft.RefitReport] = []
    original = regraft.Engine.refit

    def refit(self: regraft.Engine, *args: Any, **kwargs: Any) -> regraft.RefitReport:
        reports.append(original(self, *args, **kwargs))
        return reports[-1]

    monkeypatch.setattr(regraft.Engine, "refit", refit)
    with torch.no_grad():
        _check(compiled, model, x)
        _check(compiled, model, x)
        assert reports == []
        model.norm.bias.add_(1)
        _check(compiled, model, x)
        _check(compiled, model, x)
    assert [report.parameters for report in reports] == [["norm.bias"]]


def test_training_between_runs() -> None:
    model = Net()
    compiled, x = _compile(model), torch.randn(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            model.train()
            optimizer.zero_grad()
            loss = compiled(x).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
            model.eval()
            with torch.no_grad():
                _check(compiled, model, x)
    assert losses[-1] < losses[0]


def test_outputs_that_require_grad(recwarn: pytest.WarningsRecorder) -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    compiled = _compile(model)
    compiled(x).sum().backward()
    assert model.first.weight.grad is not None
    compiled(torch.randn(5, 4))
    told = [str(w.message) for w in recwarn if "require grad" in str(w.message)]
    assert len(told) == 1
    assert "torch.no_grad()" in told[0]
    torch._dynamo.reset()
    refusing = _compile(model, fallback_on_grad=False)
    with pytest.raises(regraft.StateError, match=r"require grad.*torch\.no_grad"):
        refusing(x)
    with torch.no_grad():
        _check(refusing, model, x)


def test_parameters_without_grad_need_no_mode(builds: list[object]) -> None:
    model = Net().eval().requires_grad_(False)
    _check(_compile(model), model, torch.randn(3, 4))
    assert len(builds) == 1


def test_graph_breaks(builds: list[object]) -> None:
    first, second = Net().eval(), Net().eval()

    def model(x: Tensor) -> Tensor:
        y = first(x)
        torch._dynamo.graph_break()
        return second(y) + first.plain

    compiled = _compile(model)
    with torch.no_grad():
        _check(compiled, model, torch.randn(3, 4))
        second.first.weight.mul_(2)
        first.plain.mul_(2)
        _check(compiled, model, torch.randn(3, 4))
    assert len(builds) == 2


def test_automatic_dynamic_shapes(builds: list[object]) -> None:
    model = Net().eval()
    compiled = _compile(model)
    with torch.no_grad():
        for batch in (3, 5, 7, 2, 100):
            _check(compiled, model, torch.randn(batch, 4))
            model.first.bias.add_(1)
    assert len(builds) == 2
    assert counters["stats"]["unique_graphs"] == 2


def test_marked_dynamic_shapes(builds: list[object]) -> None:
    model = Net().eval()
    compiled, x = _compile(model), torch.randn(3, 4)
    torch._dynamo.mark_dynamic(x, 0, min=2, max=64)
    with torch.no_grad():
        _check(compiled, model, x)
        _check(compiled, model, torch.randn(64, 4))
    assert len(builds) == 1


def test_sizes_in_and_out(builds: list[object]) -> None:
    def model(x: Tensor, n: int, pair: dict[str, Tensor]) -> tuple[Any, ...]:
        y = x * n + pair["a"]
        return y, x.shape[0] * 2 + n, y.reshape(-1, x.shape[0]), {"b": [pair["a"] - 1, n]}

    compiled = torch.compile(model, backend="regraft", dynamic=True)
    for batch, n in ((3, 7), (5, 9), (6, 11)):
        x = torch.randn(batch, 4)
        have = _check(compiled, model, x, n=n, pair={"a": torch.randn(4)})
        assert have[1] == batch * 2 + n
    assert len(builds) == 1


def test_views_stay_views(builds: list[object]) -> None:
    def model(x: Tensor) -> tuple[Tensor, ...]:
        y = x * 2
        return x.t(), y.view(-1)[2:], y.t(), x, x + 1

    x = torch.randn(3, 4)
    transposed, tail, other, same, computed = _check(_compile(model), model, x)
    assert same is x
    assert transposed._base is x or transposed.data_ptr() == x.data_ptr()
    tail.zero_()
    assert other.t().reshape(-1)[2:].abs().sum() == 0
    transposed.zero_()
    assert x.abs().sum() == 0
    assert computed.abs().sum() > 0
    assert len(builds) == 1


def test_graphs_that_write_to_inputs_run_in_pytorch() -> None:
    def model(x: Tensor) -> Tensor:
        x.add_(1)
        return x * 2

    compiled, x, y = _compile(model), torch.ones(3), torch.ones(3)
    with pytest.warns(UserWarning, match="runs in PyTorch.*writes to its inputs"):
        have = compiled(x)
    assert torch.equal(have, model(y))
    assert torch.equal(x, y)
    torch._dynamo.reset()
    strict = _compile(model, require_full_compilation=True)
    with pytest.raises(regraft.UnsupportedError, match="writes to its inputs"):
        strict(torch.ones(3))


class _Cast(nn.Module):
    """A weight in a dtype that the core does not have."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("w", torch.arange(16).reshape(4, 4).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w.to(torch.float32)


class _Quantised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize() * 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_Cast(torch.float8_e4m3fnuz), "w: dtype torch.float8_e4m3fnuz is not supported"),
        (_Cast(torch.float8_e5m2fnuz), "w: dtype torch.float8_e5m2fnuz is not supported"),
        (_Cast(torch.uint16), "w: dtype torch.uint16 is not supported"),
        (_Quantised(), "PyTorch cannot serialise it.*quantize_per_tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_graphs_that_the_core_cannot_take_run_in_pytorch(model: nn.Module, message: str) -> None:
    x = torch.randn(3, 4)
    with pytest.warns(UserWarning, match=f"(?s)runs in PyTorch.*{message}"):
        _check(_compile(model.eval()), model, x)
    with pytest.raises(regraft.UnsupportedError, match=message):
        regraft.compile(model, (x,))


def test_vmap() -> None:
    model = Net().eval()

    def mapped(x: Tensor) -> Tensor:
        return torch.vmap(model.first)(x) * model.scale

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check(_compile(mapped), mapped, torch.randn(3, 4))


def test_negative_integers(builds: list[object], recwarn: pytest.WarningsRecorder) -> None:
    def model(x: Tensor, n: int) -> Tensor:
        return x * n

    compiled = _compile(model)
    for n in (2, 3, -1, -2, 4):
        _check(compiled, model, torch.randn(3, 4), n)
    assert len(builds) == 2
    told = [str(w.message) for w in recwarn if "runs in PyTorch" in str(w.message)]
    assert len(told) == 1
    assert "an integer of the call is negative" in told[0]
    torch._dynamo.reset()
    strict = _compile(model, require_full_compilation=True)
    for n in (2, 3):
        _check(strict, model, torch.randn(3, 4), n)
    with pytest.raises(regraft.UnsupportedError, match="is negative"):
        strict(torch.randn(3, 4), -1)


def test_batch_norm_in_training_counts_its_statistics() -> None:
    model, other = Net().train(), Net().train()
    other.load_state_dict(model.state_dict())
    other.shift, other.plain = model.shift, model.plain
    x = torch.randn(16, 4)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check(_compile(model), other, x)
    assert torch.equal(model.norm.running_mean, other.norm.running_mean)


def test_weights_of_inference_mode() -> None:
    with torch.inference_mode():
        model = Net().eval()
        compiled, x = _compile(model), torch.randn(3, 4)
        _check(compiled, model, x)
        model.first.weight.mul_(2)
        _check(compiled, model, x)


def _untraced(model: Net) -> None:
    model.first.weight.data.view(-1)[3] += 1


def test_untraced_writes_need_digests_or_notice() -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    compiled = _compile(model)
    with torch.no_grad():
        before = _check(compiled, model, x)
        _untraced(model)
        assert torch.equal(compiled(x), before)
        regraft.notify_weights_changed(nn.Linear(4, 4))
        assert torch.equal(compiled(x), before)
        regraft.notify_weights_changed(model)
        _check(compiled, model, x)
        _untraced(model)
        regraft.notify_weights_changed()
        _check(compiled, model, x)
        torch._dynamo.reset()
        compiled = _compile(model, track="digest")
        _check(compiled, model, x)
        _untraced(model)
        _check(compiled, model, x)


def test_options() -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    with torch.no_grad():
        low = _compile(model, precision="bf16", backend="cpu")(x)
        assert not torch.equal(low, model(x))
        assert support.relative_error(low, model(x)) < 0.05
        for options, error, message in (
            ({"precison": "bf16"}, TypeError, r"'precison' \(nearest: 'precision'\)"),
            ({"tracks": 1, "nam": ""}, TypeError, r"'nam' \(nearest: 'name'\)"),
            ({"track": "versions"}, regraft.InvalidArgumentError, "have 'versions'"),
        ):
            torch._dynamo.reset()
            with pytest.raises(error, match=message):
                _compile(model, **options)(x)
        torch._dynamo.reset()
        with pytest.raises(TypeError, match="have 'max-autotune'"):
            torch.compile(model, backend="regraft", mode="max-autotune")(x)


def test_failed_refit_leaves_the_weights_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    compiled = _compile(model)
    with torch.no_grad():
        _check(compiled, model, x)
        model.scale.mul_(2)

        def fail(*args: Any, **kwargs: Any) -> None:
            raise MemoryError("no room for scale")

        with monkeypatch.context() as patched:
            patched.setattr(regraft.Engine, "refit", fail)
            for _ in range(2):
                with pytest.raises(MemoryError, match="no room for scale"):
                    compiled(x)
        _check(compiled, model, x)


def _narrowed(model: Net) -> None:
    model.scale.data = torch.randn(1)


@pytest.mark.parametrize("write", [_transposed, _narrowed])
def test_another_layout_is_another_program(
    write: Callable[[Net], None], builds: list[object]
) -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    compiled = _compile(model)
    with torch.no_grad():
        _check(compiled, model, x)
        write(model)
        _check(compiled, model, x)
    assert len(builds) == 2


def test_threads() -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    compiled = _compile(model)
    errors: list[BaseException] = []
    with torch.no_grad():
        _check(compiled, model, x)
        model.first.weight.mul_(2)
        want = model(x)

    def run() -> None:
        try:
            with torch.no_grad():
                for _ in range(20):
                    torch.testing.assert_close(compiled(x), want)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def _with_fft(model: Net, x: Tensor) -> Tensor:
    return model(torch.fft.fft(model(x)).real)


def test_ops_without_a_kernel_run_in_parts() -> None:
    model, x = Net().eval(), torch.randn(3, 4)
    compiled = _compile(_with_fft)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(
                compiled(model, x), _with_fft(model, x), rtol=1e-4, atol=1e-4
            )
            model.first.weight.mul_(1.1)
            model.norm.running_var.mul_(1.1)
    assert counters["stats"]["unique_graphs"] == 1

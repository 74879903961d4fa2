"""Adapters on engines of a GPU: merged there, with the bits that the host gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adapters import equal, made_up, values
from torch import Tensor, nn

import regraft
import support

pytestmark = pytest.mark.cuda
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


class Net(nn.Module):
    """Sizes that end inside of tiles and vectors, convolutions, a weight stored [in, out]."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.wide = nn.Conv2d(3, 70, 3, padding=1)
        self.narrow = nn.Conv2d(70, 64, 1)
        self.norm = nn.BatchNorm2d(64)
        self.first = nn.Linear(64, 131)
        self.second = nn.Linear(131, 200, bias=False)
        self.turned = nn.Parameter(torch.rand(200, 33))
        with torch.no_grad():
            for tensor in [*self.parameters(), *self.buffers()]:
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
            self.norm.running_var.abs_().add_(0.1)
        self.eval().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.narrow(self.wide(x).relu())).mean((2, 3))
        return self.second(self.first(y).tanh()) @ self.turned


ENDS = ("wide", "narrow", "first", "second")


def _adapter(rank: int, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    state = made_up({"": Net().state_dict()}, rank, ENDS, seed)
    return {name: tensor.to(dtype) for name, tensor in state.items()}


def _x(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(7)).to(dtype)


def _pair(dtype: torch.dtype = torch.float32, **options: Any) -> list[regraft.Engine]:
    model, x = Net(dtype), _x(dtype)
    return [
        regraft.compile(model, (x,), backend="cpu"),
        regraft.compile(model.cuda(), (x.cuda(),), backend="cuda", **options),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_those_of_the_host(dtype: torch.dtype) -> None:
    on_host, on_device = _pair(dtype)
    for name, rank, scale, factors in (
        ("a", 16, 0.5, torch.float32),
        ("b", 3, -1.25, torch.bfloat16),
        ("c", 37, 0.1, torch.float16),
    ):
        state = _adapter(rank, rank, factors)
        for engine in (on_host, on_device):
            engine.lora.load(name, state, scale)
        assert equal(values(on_host), values(on_device))
    for engine in (on_host, on_device):
        engine.lora.set({"b": 2.0, "c": 1.0})
    assert equal(values(on_host), values(on_device))


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"precision": "f16"}])
@pytest.mark.parametrize("in_place", [False, True])
def test_they_leave_no_trace(options: dict[str, Any], in_place: bool) -> None:
    _, engine = _pair(**options)
    x = _x().cuda()
    base, before = values(engine), engine(x).clone()
    engine.lora.load("a", _adapter(8, 1), in_place=in_place)
    fresh_model = Net()
    fresh_model.load_state_dict({**fresh_model.state_dict(), **values(engine)}, strict=False)
    fresh = regraft.compile(fresh_model.cuda(), (x,), backend="cuda", **options)
    assert support.same_bits(engine(x), fresh(x))
    with_one = values(engine)
    report = engine.lora.load("b", _adapter(5, 2), in_place=in_place)
    assert report.parameters == [f"{name}.weight" for name in ENDS]
    engine.lora.set({"a": 1.0}, in_place=in_place)
    assert equal(values(engine), with_one)
    engine.lora.unload("a", in_place=in_place)
    assert equal(values(engine), base)
    assert support.same_bits(engine(x), before)


@pytest.mark.parametrize("factors", ["cpu", "cuda"])
def test_base_weights_under_adapters(factors: str) -> None:
    _, engine = _pair()
    state = {name: tensor.to(factors) for name, tensor in _adapter(4, 1).items()}
    engine.lora.load("a", state)
    other = Net()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    for weights in (other.state_dict(), {k: v.cuda() for k, v in other.state_dict().items()}):
        engine.refit(weights)
        on_host = regraft.compile(other, (_x(),), backend="cpu")
        on_host.lora.load("a", state)
        assert equal(values(on_host), values(engine))
    engine.lora.unload("a")
    fresh = regraft.compile(other.cuda(), (_x().cuda(),), backend="cuda")
    assert equal(values(engine), values(fresh))
    assert support.same_bits(engine(_x().cuda()), fresh(_x().cuda()))


def test_weights_stored_the_other_way() -> None:
    state = {"turned.lora_A": torch.rand(6, 200), "turned.lora_B": torch.rand(33, 6)}
    adapter = regraft.lora.Adapter(
        {"turned": regraft.lora.Delta(state["turned.lora_A"], state["turned.lora_B"], 0.3, True)}
    )
    on_host, on_device = _pair()
    for engine in (on_host, on_device):
        engine.lora.replace({"a": adapter})
    assert equal(values(on_host), values(on_device))
    report = on_device.lora.replace({"a": adapter})
    assert not report.parameters


def test_files_bring_the_bases(tmp_path: Any) -> None:
    _, engine = _pair()
    path = tmp_path / "m.rgf"
    engine.save(path)
    loaded = regraft.load(path, device="cuda")
    base = values(loaded)
    engine.lora.load("a", _adapter(4, 1))
    for _ in range(2):
        loaded.lora.load("a", _adapter(4, 1))
        assert equal(values(engine), values(loaded))
        loaded.lora.unload("a")
        assert equal(values(loaded), base)


def test_weights_that_were_not_kept_are_named() -> None:
    _, engine = _pair(retain="none")
    with pytest.raises(regraft.StateError, match=r"narrow\.weight.*not retained"):
        engine.lora.load("a", _adapter(4, 1))
    assert engine.lora.active == {}

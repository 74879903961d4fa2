"""Refits of engines on a GPU, again and again: what is repeated, and what is kept on the way."""

from __future__ import annotations

import pytest
import torch
from small_net import SmallNet
from torch import nn

import regraft
import support

pytestmark = pytest.mark.cuda
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(7))


def _state(seed: int) -> dict[str, torch.Tensor]:
    model = SmallNet(seed).eval().cuda()
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _engine(seed: int, **options: object) -> regraft.Engine:
    model = SmallNet(seed).eval().cuda()
    return regraft.compile(model, (X.cuda(),), backend="cuda", **options)


@pytest.mark.parametrize("retain", ["auto", "host", "none"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_repeated_refits(retain: str, in_place: bool, precision: str) -> None:
    engine, x = _engine(0, retain=retain, precision=precision), X.cuda()
    live = _state(1)
    tied = {"last.weight": live["first.weight"]}
    for seed in (1, 2, 1, 2, 3, 3, 4, 5):
        for name, value in _state(seed).items():
            live[name].copy_(value)
        report = engine.refit({**live, **tied}, in_place=in_place)
        assert not report.non_finite
        assert support.same_bits(engine(x), _engine(seed, precision=precision)(x))
        if retain != "none":
            for name, value in engine.state_dict().items():
                assert support.same_bits(value.cpu(), live[name].cpu()), name


@pytest.mark.parametrize("in_place", [False, True])
def test_repetitions_count_what_is_there_then(in_place: bool) -> None:
    engine, live = _engine(0), _state(1)
    live["last.weight"] = live["first.weight"]
    for bad in (None, None, None, "conv.weight", "norm.running_mean", None, "middle.bias"):
        for name, value in _state(1).items():
            live[name].copy_(value)
        if bad is not None:
            live[bad].view(-1)[3] = float("nan")
            live[bad].view(-1)[5] = float("inf")
        report = engine.refit(live, in_place=in_place)
        assert report.non_finite == ([] if bad is None else [(bad, 2)])


def test_memory_at_other_addresses_is_read_there() -> None:
    engine, x = _engine(0), X.cuda()
    for seed in (1, 2, 3, 4, 5, 6):
        state = _state(seed)
        state["last.weight"] = state["first.weight"]
        kept = [tensor.clone() for tensor in state.values()] if seed % 2 else []
        engine.refit(state)
        assert support.same_bits(engine(x), _engine(seed)(x))
        del kept


class Halves(nn.Module):
    """Reads a parameter in parts, each by an op of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(24, 8) - 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.weight.chunk(3)
        return (x @ (q.t() * 2)) * (x @ k.exp().t()) + x @ v.t().contiguous()


@pytest.mark.parametrize("row", [0, 9, 23])
def test_parts_of_a_parameter_are_searched_and_kept(row: int) -> None:
    model, x = Halves().eval().cuda(), torch.rand(3, 8).cuda()
    engine = regraft.compile(model, (x,), backend="cuda")
    weight = torch.rand(24, 8).cuda()
    weight[row, 1] = float("nan")
    for _ in range(4):
        report = engine.refit({"weight": weight})
        assert report.non_finite == [("weight", 1)]
        assert support.same_bits(engine.parameter("weight").cpu(), weight.cpu())


def test_partial_refits_between() -> None:
    engine, x = _engine(0), X.cuda()
    one, two = _state(1), _state(2)
    one["last.weight"] = one["first.weight"]
    for _ in range(4):
        engine.refit(one)
        engine.refit({"norm.running_var": two["norm.running_var"]}, partial=True)
        mixed = SmallNet(1).eval()
        mixed.norm.running_var.copy_(two["norm.running_var"])
        fresh = regraft.compile(mixed.cuda(), (x,), backend="cuda")
        assert support.same_bits(engine(x), fresh(x))
        assert engine.rollback() > 0
        assert support.same_bits(engine(x), _engine(1)(x))


class Positions(nn.Module):
    """A weight step that is no pointwise kernel: rows gathered from a table, as BERT does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.rand(16, 8, generator=generator))
        self.weight = nn.Parameter(torch.rand(8, 8, generator=generator))
        self.register_buffer("ids", torch.arange(3, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight + torch.nn.functional.embedding(self.ids, self.table)).tanh()


@pytest.mark.parametrize("in_place", [False, True])
def test_weight_steps_of_all_kinds_repeat(in_place: bool) -> None:
    x = torch.rand(6, 8).cuda()
    live = Positions(0).eval().cuda()
    engine = regraft.compile(live, (x,), backend="cuda")
    refit = engine.refitter(live, in_place=in_place)
    for seed in range(1, 7):
        other = Positions(seed).eval().cuda()
        live.load_state_dict(other.state_dict())
        assert not refit().non_finite
        assert support.same_bits(engine(x), regraft.compile(other, (x,), backend="cuda")(x))


def test_memory_of_the_engine_is_a_source() -> None:
    live, x = _state(1), X.cuda()
    live["last.weight"] = live["first.weight"]
    engine = _engine(0)
    for _ in range(4):
        engine.refit(live, in_place=True)
    held = engine.base_values(["middle.bias", "conv.weight"])
    for _ in range(3):
        # What the engine keeps may be what it is given.
        mixed = {**live, "middle.bias": held[0], "conv.weight": held[1]}
        engine.refit(mixed, in_place=True)
        assert support.same_bits(engine(x), _engine(1)(x))


def _pinned_together(state: dict[str, torch.Tensor], offset: int) -> dict[str, torch.Tensor]:
    """Tensors of f32 in one piece of pinned memory, behind `offset` elements."""
    rest = torch.empty(offset + sum(t.numel() for t in state.values()), pin_memory=True)[offset:]
    out = {}
    for name, tensor in state.items():
        out[name] = rest[: tensor.numel()].view(tensor.shape).copy_(tensor)
        rest = rest[tensor.numel() :]
    return out


# Small tensors of pinned memory are read by a kernel where they lie evenly, and copied elsewhere.
@pytest.mark.parametrize("refits", ["whole tensors", "views"])
def test_pinned_tensors(refits: str) -> None:
    engine, x = _engine(0, precision="bf16"), X.cuda()
    for seed in (1, 2, 3):
        state = {name: tensor.cpu() for name, tensor in _state(seed).items()}
        state["last.weight"] = state["first.weight"]
        if refits == "views":
            floats = {name: tensor for name, tensor in state.items() if tensor.dtype.itemsize == 4}
            pinned = state | _pinned_together(floats, seed % 2)
        else:
            pinned = {name: tensor.pin_memory() for name, tensor in state.items()}
        assert sum(tensor.is_pinned() for tensor in pinned.values()) >= 8
        engine.refit(pinned)
        assert support.same_bits(engine(x), _engine(seed, precision="bf16")(x))


def test_adopted_memory_that_kernels_cannot_read_is_copied() -> None:
    engine, x = _engine(0), X.cuda()
    state = _state(1)
    flat = torch.empty(state["conv.weight"].numel() + 1, device="cuda")
    state["conv.weight"] = (
        flat[1:].copy_(state["conv.weight"].flatten()).view_as(state["conv.weight"])
    )
    state["last.weight"] = state["first.weight"]
    engine.refit(state, adopt=True)
    want = SmallNet(1).eval()
    want.norm.running_var.copy_(_state(2)["norm.running_var"])
    engine.refit({"norm.running_var": want.norm.running_var.cuda()}, partial=True)
    fresh = regraft.compile(want.cuda(), (x,), backend="cuda")
    assert support.same_bits(engine(x), fresh(x))


@pytest.mark.parametrize("in_place", [False, True])
def test_runs_of_forks_that_are_gone_are_waited_for(in_place: bool) -> None:
    live = SmallNet(1).eval().cuda()
    engine, x = regraft.compile(live, (X.cuda(),), backend="cuda"), X.cuda()
    want = engine(x).clone()
    refit = engine.refitter(live, in_place=in_place)
    side = torch.cuda.Stream()
    for seed in range(2, 10):
        fork = engine.fork()
        fork(x)
        torch.cuda.synchronize()
        with torch.cuda.stream(side):
            torch.cuda._sleep(20_000_000)
            have = fork(x)
        del fork
        other = SmallNet(seed).eval().cuda()
        live.load_state_dict(other.state_dict())
        refit()
        torch.cuda.synchronize()
        assert support.same_bits(have, want)
        want = engine(x).clone()


class Huge(nn.Module):
    """So much to do that each block of a refit's kernel does several pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(24_000, 8_000, device="cuda") - 0.5)
        self.scale = nn.Parameter(torch.rand(24_000, 1, device="cuda") + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight * self.scale)


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
def test_blocks_of_many_pieces(in_place: bool) -> None:
    model, x = Huge().eval(), torch.rand(4, 8_000, device="cuda")
    engine = regraft.compile(model, (x,), backend="cuda", precision="bf16", retain="none")
    refit = engine.refitter(model, in_place=in_place)
    with torch.no_grad():
        for step in range(4):
            model.weight.add_(0.25 * step)
            assert not refit().non_finite
            rounded = (model.weight * model.scale).bfloat16()
            want = nn.functional.linear(x.bfloat16(), rounded).float()
            assert support.relative_error(engine(x).float().cpu(), want.cpu()) <= 1e-2
        for row, column in ((0, 0), (11_111, 7_000), (23_999, 7_999)):
            model.weight[row, column] = float("nan")
        assert refit().non_finite == [("weight", 3)]
        assert engine(x).isnan().any(0).nonzero().flatten().tolist() == [0, 11_111, 23_999]

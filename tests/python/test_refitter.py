"""Refits from the same tensors again and again."""

from __future__ import annotations

import random

import pytest
import torch
from small_net import SmallNet
from torch import nn

import regraft
import support


def _inputs(device: str) -> torch.Tensor:
    return torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(7)).to(device)


def _pair(device: str) -> tuple[nn.Module, regraft.Engine]:
    model = SmallNet(0).eval().to(device)
    return model, regraft.compile(model, (_inputs(device),), backend=device)


def _places(device: str) -> list[str]:
    """Where values may come from."""
    return [device] if device == "cpu" else [device, "cpu", "pinned"]


def _placed(state: dict[str, torch.Tensor], place: str) -> dict[str, torch.Tensor]:
    """Copies there; what is one tensor stays one."""
    copies = {
        tensor.data_ptr(): tensor.cpu().pin_memory() if place == "pinned" else tensor.to(place)
        for tensor in state.values()
    }
    return {name: copies[tensor.data_ptr()] for name, tensor in state.items()}


@pytest.mark.parametrize("in_place", [False, True])
def test_calls_follow_the_values(device: str, in_place: bool) -> None:
    model, engine = _pair(device)
    refit, x = engine.refitter(model, in_place=in_place), _inputs(device)
    for seed in range(1, 5):
        other = SmallNet(seed).eval().to(device)
        model.load_state_dict(other.state_dict())
        report = refit()
        assert report.generation == engine.generation
        fresh = regraft.compile(other, (x,), backend=device)
        assert support.same_bits(engine(x), fresh(x))
        with torch.no_grad():
            assert support.relative_error(engine(x).cpu(), model(x).cpu()) <= 1e-5


def test_a_single_element_counts(device: str) -> None:
    model, engine = _pair(device)
    x = _inputs(device)
    refit = engine.refitter({"norm.running_var": model.norm.running_var}, partial=True)
    before = engine(x).clone()
    with torch.no_grad():
        seen = model.norm(model.conv(x)).relu().mean((0, 2, 3)).argmax()
        model.norm.running_var[seen] *= 1.5
    refit()
    assert not support.same_bits(engine(x), before)
    fresh = regraft.compile(model, (x,), backend=device)
    assert support.same_bits(engine(x), fresh(x))


@pytest.mark.parametrize("retain", ["auto", "host", "none"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_refits_of_all_kinds_in_any_order(device: str, retain: str, seed: int) -> None:
    """What one refit may repeat is decided by all that came between."""
    choose, x = random.Random(seed), _inputs(device)
    first = SmallNet(0).eval().to(device)
    engine = regraft.compile(first, (x,), backend=device, retain=retain)
    live = {place: _placed(SmallNet(0).state_dict(), place) for place in _places(device)}
    refitters = {
        (place, in_place): engine.refitter(tensors, in_place=in_place)
        for place, tensors in live.items()
        for in_place in (False, True)
    }
    answers: dict[int, torch.Tensor] = {}

    def answer(number: int) -> torch.Tensor:
        if number not in answers:
            fresh = regraft.compile(SmallNet(number).eval().to(device), (x,), backend=device)
            answers[number] = fresh(x).clone()
        return answers[number]

    def state(number: int) -> dict[str, torch.Tensor]:
        return SmallNet(number).eval().to(device).state_dict()

    present, previous = 0, None
    forks: list[tuple[regraft.Engine, int]] = []
    kinds = ["repeat"] * 10 + ["state", "host", "rollback", "fork", "end of forks", "dry run"]
    kinds += ["nothing", "nothing known", "trim"]
    for _ in range(60 * len(live)):
        kind, number, in_place = choose.choice(kinds), choose.randrange(4), choose.random() < 0.5
        in_place = in_place and not forks
        if kind == "rollback":
            if previous is None:
                continue
            engine.rollback()
            present, previous = previous, present
        elif kind == "fork":
            forks.append((engine.fork(), present))
        elif kind == "end of forks":
            forks.clear()
        elif kind == "dry run":
            engine.refit(state(number), dry_run=True)  # Takes nothing over.
        elif kind == "trim":
            engine.trim()
            previous = None
        elif kind.startswith("nothing"):
            given = {"elsewhere": first.conv.weight} if kind == "nothing known" else {}
            for _ in range(choose.randrange(1, 5)):
                engine.refit(given, partial=True, allow_unexpected=True, in_place=in_place)
            previous = None if in_place else present
        else:
            if kind == "repeat":
                place = choose.choice(list(live))
                for name, value in state(number).items():
                    live[place][name].copy_(value)
                refitters[place, in_place]()
            elif kind == "state":
                engine.refit(state(number), in_place=in_place)
            else:
                engine.refit({name: t.cpu() for name, t in state(number).items()})
                in_place = False
            present, previous = number, None if in_place else present
        for other, its_number in [(engine, present), *forks]:
            assert support.same_bits(other(x), answer(its_number)), kind
        if retain != "none":
            want = SmallNet(present).state_dict()
            for name, value in engine.state_dict().items():
                assert support.same_bits(value.cpu(), want[name]), (kind, name)


class Wide(nn.Module):
    """Parameters of some megabytes, which allocators give the same memory again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1024, 1500)
        self.scale = nn.Parameter(torch.rand(1500, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.linear.weight * self.scale, self.linear.bias)


@pytest.mark.parametrize("retain", ["auto", "host", "none"])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_kept_follows_the_values(device: str, in_place: bool, retain: str) -> None:
    for place in _places(device):
        _follow_the_values(device, in_place, retain, place)


def _follow_the_values(device: str, in_place: bool, retain: str, place: str) -> None:
    live, x = Wide().eval().to(device), torch.rand(2, 1024).to(device)
    engine = regraft.compile(live, (x,), backend=device, retain=retain)
    given = live.state_dict() if place == device else _placed(live.state_dict(), place)
    refit = engine.refitter(given, in_place=in_place)
    for step in range(12):
        with torch.no_grad():
            for name, parameter in live.named_parameters():
                parameter.add_(0.25 + step)
                given[name].copy_(parameter)
        refit()
        if retain == "none":
            fresh = regraft.compile(live, (x,), backend=device)
            assert support.same_bits(engine(x), fresh(x))
            continue
        for name, value in engine.state_dict().items():
            assert support.same_bits(value.cpu(), live.state_dict()[name].cpu()), name
        # What is kept is what the rest is combined with.
        engine.refit({"scale": live.scale.detach()}, partial=True, in_place=in_place)
        fresh = regraft.compile(live, (x,), backend=device)
        assert support.same_bits(engine(x), fresh(x))


def test_tensors_that_moved_are_refused(device: str) -> None:
    model, engine = _pair(device)
    refit, x = engine.refitter(model), _inputs(device)
    before = engine(x).clone()
    model.first.bias.data = torch.zeros_like(model.first.bias)
    with pytest.raises(regraft.StateError, match="other memory"):
        refit()
    assert support.same_bits(engine(x), before)


def test_freed_memory_is_not_read() -> None:
    model, engine = _pair("cpu")
    refit = engine.refitter(model)
    model.conv.weight.untyped_storage().resize_(0)
    with pytest.raises(regraft.StateError, match="other memory"):
        refit()


def test_active_adapters_are_refused() -> None:
    model, engine = _pair("cpu")
    refit = engine.refitter(model)
    engine.lora.load(
        "a", {"middle.lora_A.weight": torch.ones(2, 16), "middle.lora_B.weight": torch.ones(16, 2)}
    )
    with pytest.raises(regraft.StateError, match="adapters"):
        refit()
    engine.lora.unload("a")
    refit()


def test_what_cannot_be_followed_is_refused() -> None:
    model, engine = _pair("cpu")
    state = dict(model.state_dict())
    with pytest.raises(regraft.InvalidArgumentError, match="file"):
        engine.refitter("weights.safetensors")  # type: ignore[arg-type]
    conjugated = {**state, "norm.bias": torch.view_as_complex(torch.rand(8, 2)).conj().imag}
    with pytest.raises(regraft.InvalidArgumentError, match=r"norm\.bias"):
        engine.refitter(conjugated)
    apart = {**state, "last.weight": state["last.weight"].clone()}
    with pytest.raises(regraft.InvalidArgumentError, match=r"other memory"):
        engine.refitter(apart)
    del state["conv.bias"]
    with pytest.raises(regraft.MismatchError, match=r"conv\.bias"):
        engine.refitter(state)

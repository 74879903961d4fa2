"""Engines on one GPU of several: each stays on its own, and tensors of another are told apart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from small_net import SmallNet
from torch import nn

import regraft
import support

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs"),
]
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(7))


def _net(seed: int, device: str) -> nn.Module:
    return SmallNet(seed).eval().to(device)


def _engine(device: str, **options: object) -> regraft.Engine:
    engine = regraft.compile(
        _net(0, device), (X.to(device),), backend="cuda", device=device, **options
    )
    assert isinstance(engine, regraft.Engine)
    assert engine.device == torch.device(device)
    return engine


def test_bits_do_not_depend_on_the_device() -> None:
    first, second = _engine("cuda:0"), _engine("cuda:1")
    for seed in (0, 1, 0):
        for engine in (first, second):
            engine.refit(_net(seed, str(engine.device)).state_dict())
        a, b = first(X.to("cuda:0")), second(X.to("cuda:1"))
        assert (a.device, b.device) == (first.device, second.device)
        assert support.same_bits(a.cpu(), b.cpu())
        want = support.truth(_net(seed, "cpu"), (X,))
        support.check_outputs("f32", [b.cpu()], want)


def test_the_current_device_is_the_default_and_is_left_alone() -> None:
    with torch.cuda.device(1):
        engine = regraft.compile(_net(0, "cuda:1"), (X.to("cuda:1"),), backend="cuda")
        assert engine.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0
    for in_place in (False, True):
        engine.refit(_net(1, "cuda:1").state_dict(), in_place=in_place)
        engine(X.to("cuda:1"))
        assert torch.cuda.current_device() == 0
    live = _net(2, "cuda:1")
    refit = engine.refitter(live)
    for _ in range(4):
        refit()
    assert torch.cuda.current_device() == 0
    support.check_outputs(
        "f32", [engine(X.to("cuda:1")).cpu()], support.truth(_net(2, "cpu"), (X,))
    )


def test_inputs_of_another_device_are_refused() -> None:
    engine = _engine("cuda:1")
    with pytest.raises(regraft.MismatchError, match="input 0: want cuda:1, have cuda:0"):
        engine(X.to("cuda:0"))
    with pytest.raises(regraft.MismatchError, match="input 0: want cuda:1, have cpu"):
        engine(X)
    engine(X.to("cuda:1"))


def test_weights_of_another_device_are_brought() -> None:
    engine, x = _engine("cuda:1"), X.to("cuda:1")
    engine.refit(_net(1, "cuda:1").state_dict())
    want = engine(x).clone()
    for place in ("cuda:0", "cpu"):
        engine.refit(_net(0, "cuda:1").state_dict())
        assert not support.same_bits(engine(x), want)
        engine.refit(_net(1, place).state_dict())
        assert support.same_bits(engine(x), want)


def test_a_file_goes_to_any_device(tmp_path: Path) -> None:
    engine = _engine("cuda:0")
    want = engine(X.to("cuda:0")).cpu()
    regraft.save(engine, tmp_path / "m.rgf")
    loaded = regraft.load(tmp_path / "m.rgf", device="cuda:1")
    assert loaded.device == torch.device("cuda:1")
    assert support.same_bits(loaded(X.to("cuda:1")).cpu(), want)


def test_both_devices_at_once() -> None:
    """Calls and refits of two engines from two threads: neither sees the other's device."""
    engines = [_engine("cuda:0"), _engine("cuda:1")]
    states = [[_net(s, str(e.device)).state_dict() for s in (0, 1)] for e in engines]
    known: list[list[torch.Tensor]] = []
    for engine, own in zip(engines, states, strict=True):
        answers = []
        for state in own:
            engine.refit(state)
            answers.append(engine(X.to(engine.device)).cpu())
        known.append(answers)
    assert not support.same_bits(known[0][0], known[0][1])
    problems: list[str] = []

    def serve(i: int) -> None:
        engine, x = engines[i], X.to(engines[i].device)
        for step in range(60):
            engine.refit(states[i][step % 2], in_place=step % 3 == 0)
            if not support.same_bits(engine(x).cpu(), known[i][step % 2]):
                problems.append(f"{engine.device}, step {step}")

    threads = [threading.Thread(target=serve, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems

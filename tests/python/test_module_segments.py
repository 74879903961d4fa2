"""PyTorch segments of a module: what depends on weights alone, and what is around a call."""

from __future__ import annotations

from collections.abc import Callable

import partial
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import regraft

OPS = ("aten::linalg_matrix_exp", "aten::special_i0")


class Rotated(nn.Module):
    """A weight is computed in PyTorch before an engine reads it, and products run in both."""

    def __init__(self) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.randn(4, 4))
        self.cell = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        turn = torch.linalg.matrix_exp(self.angles - self.angles.t())
        return torch.special.i0(self.cell(x @ turn))


def rotated(seed: int) -> Rotated:
    torch.manual_seed(seed)
    return Rotated().eval().requires_grad_(False)


def _runs_in_torch(call: Callable[[], object]) -> list[str]:
    """Which ops without a kernel a call runs."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        call()
    ran = {event.name for event in profiled.events()}
    return [op for op in OPS if op in ran]


def test_what_depends_on_weights_alone_runs_once_per_generation() -> None:
    x, models = torch.randn(2, 4), [rotated(0), rotated(1)]
    module = regraft.compile(models[0], (x,), backend="cpu")
    assert isinstance(module, regraft.Module)
    for model, in_place in ((models[0], None), (models[1], False), (models[0], True)):
        if in_place is not None:
            module.refit(model, in_place=in_place)
        assert _runs_in_torch(lambda: module(x)) == list(OPS)
        assert _runs_in_torch(lambda: module(x)) == [OPS[1]]
        partial.close(module(x), model(x))
    fork = module.fork()
    fork.refit(models[1])
    partial.close(fork(x), models[1](x))
    partial.close(module(x), models[0](x))


def test_what_is_random_runs_in_every_call() -> None:
    class Noisy(Rotated):
        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x + torch.bernoulli(torch.special.i0(self.angles)[:1] * 0.1))

    x = torch.zeros(64, 4)
    module = regraft.compile(Noisy().eval(), (x,), backend="cpu")
    assert len({tuple(module(x)[0].tolist()) for _ in range(20)}) > 1


def test_autocast_around_a_call_changes_nothing() -> None:
    x, model = torch.randn(2, 3, 4), nn.GRU(4, 4, batch_first=True).eval()
    module = regraft.compile(model, (x,), backend="cpu")
    assert isinstance(module, regraft.Module)
    want = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        have = module(x)
    assert all(map(torch.equal, have, want))


def test_ops_of_others_may_give_something_else_in_every_call() -> None:
    @torch.library.custom_op("regraft_tests::noise", mutates_args=())
    def noise(weight: Tensor) -> Tensor:
        return torch.randn_like(weight)

    noise.register_fake(torch.empty_like)

    class Noise(Rotated):
        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x + noise(self.angles))

    module = regraft.compile(Noise().eval(), (torch.zeros(4, 4),), backend="cpu")
    assert len({tuple(module(torch.zeros(4, 4))[0].tolist()) for _ in range(3)}) == 3


def test_memory_counts_what_is_computed_once() -> None:
    x, model = torch.randn(2, 4), rotated(0)
    module = regraft.compile(model, (x,), backend="cpu")
    before = module.memory().constants
    module(x)
    assert module.memory().constants == before + model.angles.nbytes


def test_what_is_larger_than_the_weights_is_not_kept() -> None:
    class Wide(Rotated):
        def forward(self, x: Tensor) -> Tensor:
            many = torch.linalg.matrix_exp(self.angles.expand(100, 4, 4))
            return self.cell(x @ many)

    x, model = torch.randn(2, 4), Wide().eval()
    module = regraft.compile(model, (x,), backend="cpu")
    for _ in range(2):
        assert _runs_in_torch(lambda: module(x)) == [OPS[0]]
    partial.close(module(x), model(x))

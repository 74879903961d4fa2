"""Engines on a GPU: models against PyTorch, laws, streams, errors. Skipped without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import regraft
import support
from models import zoo

pytestmark = pytest.mark.cuda

LAWS = ["tiny_resnet18", "tiny_mobilenet_v3_large", "tiny_bert", "tiny_gpt2", "tiny_llama"]
PRECISIONS = ["f32", "bf16", "f16"]


def _engine(name: str, precision: str = "f32", **options: object) -> regraft.Engine:
    program = support.program(name, "raw")
    return regraft.compile(program, backend="cuda", precision=precision, **options)


def _inputs(name: str, batch: int = 3, sequence: int | None = None) -> tuple[torch.Tensor, ...]:
    inputs = zoo.example_inputs(name, batch, seed=9, sequence=sequence)
    return tuple(x.cuda() for x in inputs)


def _run(engine: regraft.Engine, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(x.clone() for x in support.flat(engine(*inputs)))


def _same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
    return all(support.same_bits(x, y) for x, y in zip(a, b, strict=True))


def _state(name: str, seed: int) -> dict[str, torch.Tensor]:
    model = support.model(name, seed)
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    return {key: value.detach().cuda() for key, value in tensors.items()}


def _check(name: str, precision: str) -> None:
    engine = _engine(name, precision)
    gate = "f32" if precision == "f32" else "bf16"
    for batch, sequence in ((2, None), (3, 7)):
        inputs = zoo.example_inputs(name, batch, seed=5, sequence=sequence)
        on_device = tuple(x.cuda() for x in inputs)
        want = support.truth_of(name, 0, batch, sequence)
        # The first run is enqueued step by step, later ones are one recorded graph.
        first = _run(engine, on_device)
        for _ in range(3):
            assert _same(first, _run(engine, on_device))
        support.check_outputs(gate, [x.cpu() for x in first], want)
    report = engine.refit(_state(name, 1))
    assert report.updated
    want = support.truth_of(name, 1, batch, sequence)
    for _ in range(3):
        have = [x.cpu() for x in support.flat(engine(*on_device))]
        support.check_outputs(gate, have, want)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", zoo.names(tiny=True))
def test_tiny_model(name: str, precision: str) -> None:
    _check(name, precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", zoo.names(tiny=False))
def test_published_size(name: str, precision: str) -> None:
    _check(name, precision)


def _launches(run: Callable[[], object]) -> int:
    """Kernels that a call launches one by one, rather than as a recorded graph."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    return sum(e.count for e in profile.key_averages() if "LaunchKernel" in e.key)


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_bert"])
def test_what_is_repeated_is_recorded_before_the_flip(name: str) -> None:
    engine, inputs = _engine(name), _inputs(name)
    states = [_state(name, seed) for seed in (0, 1)]
    assert _launches(lambda: engine(*inputs)) > 1
    outputs = [_run(engine, inputs) for _ in range(6)]
    del outputs[:-1]
    assert _launches(lambda: engine(*inputs)) == 0
    for step in range(1, 4):
        engine.refit(states[step % 2])
        assert _launches(lambda: engine(*inputs)) == 0
    fresh = _engine(name)
    fresh.refit(states[1])
    assert _same(_run(fresh, inputs), _run(engine, inputs))


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_l1_there_and_back(name: str, precision: str) -> None:
    engine = _engine(name, precision)
    inputs = _inputs(name)
    first = _run(engine, inputs)
    constants = engine.constant_values()
    engine.refit(_state(name, 1))
    assert not _same(first, _run(engine, inputs))
    engine.refit(support.model(name, 0))  # From host memory.
    assert _same(first, _run(engine, inputs))
    for key, value in engine.constant_values().items():
        assert support.same_bits(value, constants[key]), key


_BUILD = """
import sys, torch, regraft
from models import zoo
name, precision, plan, out = sys.argv[1:]
model, inputs = zoo.build(name, 1), zoo.example_inputs(name)
program = zoo.export_model(model, inputs, "raw", zoo.dynamic_shapes(name))
engine = regraft.compile(program, backend="cuda", precision=precision, realised=open(plan).read())
inputs = [x.cuda() for x in zoo.example_inputs(name, 3, seed=9)]
outputs = [x.cpu() for x in torch.utils._pytree.tree_leaves(engine(*inputs))]
torch.save((outputs, engine.constant_values()), out)
"""


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_bert"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_l1_refit_equals_build_in_another_process(
    name: str, precision: str, tmp_path: Path
) -> None:
    engine = _engine(name, precision)
    engine.refit(_state(name, 1))
    (tmp_path / "plan").write_text(engine.realised_plan())
    command = [sys.executable, "-c", _BUILD, name, precision, tmp_path / "plan", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run(command, check=True, env=environment)
    outputs, constants = torch.load(tmp_path / "out")
    have = tuple(x.cpu() for x in _run(engine, _inputs(name)))
    assert _same(have, tuple(outputs))
    for key, value in engine.constant_values().items():
        assert support.same_bits(value, constants[key]), key


_CHOOSE = """
import sys, regraft
from models import zoo
model, inputs = zoo.build("tiny_resnet18", 0), zoo.example_inputs("tiny_resnet18")
program = zoo.export_model(model, inputs, "raw", None)
print(regraft.compile(program, backend="cuda", precision="bf16").realised_plan())
"""


def test_choices_are_shared_by_the_timing_cache(tmp_path: Path) -> None:
    def choose(**variables: str) -> str:
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), **variables}
        command = [sys.executable, "-c", _CHOOSE]
        return subprocess.run(
            command, check=True, env=environment, capture_output=True, text=True
        ).stdout

    cache = tmp_path / "cache"
    first = choose(REGRAFT_CUDA_TIMING_CACHE=str(cache))
    files = sorted(cache.iterdir())
    times = [file.stat().st_mtime_ns for file in files]
    assert files
    assert all(file.read_text().splitlines()[-1] in first for file in files)
    assert choose(REGRAFT_CUDA_TIMING_CACHE=str(cache)) == first
    assert [file.stat().st_mtime_ns for file in sorted(cache.iterdir())] == times
    none = tmp_path / "none"
    choose(REGRAFT_CUDA_TIMING_CACHE=str(none), REGRAFT_CUDA_TACTICS="heuristic")
    assert not none.exists()


@pytest.mark.parametrize("name", LAWS)
def test_l3_partial_refit_changes_what_depends_on_it(name: str) -> None:
    engine, inputs = _engine(name), _inputs(name)
    one = next(iter(engine.parameter_infos())).spec.name
    other = _state(name, 1)
    report = engine.refit({one: other[one]}, partial=True)
    assert 0 < len(report.updated) < len(report.updated) + report.untouched
    mixed = {**_state(name, 0), one: other[one]}
    fresh = _engine(name)
    fresh.refit(mixed)
    assert _same(_run(engine, inputs), _run(fresh, inputs))


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_non_finite_elements_are_counted_exactly(name: str, precision: str) -> None:
    # Elements are counted by whichever kernel reads them, in vectors, in tiles or on their own.
    engine, state = _engine(name, precision), _state(name, 1)
    generator = torch.Generator().manual_seed(3)
    want = {}
    for parameter in engine.parameter_infos():
        tensor = state[parameter.spec.name]
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        bad = torch.rand(tensor.shape, generator=generator) < 0.1
        bad.view(-1)[-1] = True
        values = torch.tensor([float("nan"), float("inf"), -float("inf")])
        which = torch.randint(0, 3, tensor.shape, generator=generator)
        tensor.copy_(torch.where(bad.cuda(), values[which].cuda(), tensor))
        for alias in parameter.aliases:
            state[alias] = tensor
        want[parameter.spec.name] = int(bad.sum())
    assert dict(engine.refit(state).non_finite) == want
    assert dict(engine.refit(state, in_place=True).non_finite) == want
    on_host = {key: value.cpu() for key, value in state.items()}
    assert dict(engine.refit(on_host).non_finite) == want
    one = next(reversed(want))
    assert dict(engine.refit({one: state[one]}, partial=True).non_finite) == {one: want[one]}
    assert not engine.refit(_state(name, 0)).non_finite


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_llama"])
def test_l4_a_failed_refit_leaves_the_old_weights(name: str) -> None:
    engine, inputs = _engine(name), _inputs(name)
    first = _run(engine, inputs)
    state = _state(name, 1)
    names = list(state)
    state[names[0]] = state[names[0]].flatten()[:1].clone()
    state["nobody"] = torch.zeros(2, device="cuda")
    with pytest.raises(regraft.MismatchError) as caught:
        engine.refit(state)
    assert names[0] in str(caught.value)
    assert "nobody" in str(caught.value)
    assert _same(first, _run(engine, inputs))


def test_l5_runs_see_one_generation() -> None:
    name = "tiny_bert"
    engine, inputs = _engine(name), _inputs(name)
    states = [_state(name, seed) for seed in (0, 1)]
    wanted = []
    for state in states:
        engine.refit(state)
        wanted.append(_run(engine, inputs))
    stop, wrong = threading.Event(), []

    def serve() -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            while not stop.is_set():
                have = _run(engine, inputs)
                stream.synchronize()
                if not any(_same(have, want) for want in wanted):
                    wrong.append(have)

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(40):
        engine.refit(states[i % 2], in_place=i % 5 == 4)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", LAWS)
def test_l6_in_place_keeps_addresses(name: str) -> None:
    engine, inputs = _engine(name), _inputs(name)
    before = [constant.address for constant in engine.constants()]
    engine.refit(_state(name, 1), in_place=True)
    assert [constant.address for constant in engine.constants()] == before
    fresh = _engine(name)
    fresh.refit(_state(name, 1))
    assert _same(_run(engine, inputs), _run(fresh, inputs))


def test_a_recorded_graph_follows_refits_in_place() -> None:
    name = "tiny_resnet18"
    engine, inputs = _engine(name), _inputs(name)
    first = _run(engine, inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            engine(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = support.flat(engine(*inputs))
    graph.replay()
    assert _same(first, tuple(x.clone() for x in outputs))
    with pytest.raises(regraft.StateError, match="in_place"):
        engine.refit(_state(name, 1))
    engine.refit(_state(name, 1), in_place=True)
    graph.replay()
    fresh = _engine(name)
    fresh.refit(_state(name, 1))
    assert _same(_run(fresh, inputs), tuple(x.clone() for x in outputs))


def test_a_recording_has_any_number_of_calls() -> None:
    name = "tiny_resnet18"
    engine, inputs = _engine(name), _inputs(name)
    other = tuple(2 * x for x in inputs)
    for _ in range(3):
        wanted = [_run(engine, inputs), _run(engine, other)]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = [support.flat(engine(*x)) for x in (inputs, other)]
    graph.replay()
    for want, have in zip(wanted, found, strict=True):
        assert _same(want, tuple(x.clone() for x in have))
    # Refused without harm to what was recorded.
    on_host = tuple(x.cpu() for x in inputs)
    with pytest.raises(regraft.StateError, match="rolled back"):
        engine.rollback()
    with (
        pytest.raises(regraft.MismatchError, match="have cpu"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        engine(*on_host)
    engine.refit(_state(name, 1), in_place=True)
    graph.replay()
    fresh = _engine(name)
    fresh.refit(_state(name, 1))
    for x, have in zip((inputs, other), found, strict=True):
        assert _same(_run(fresh, x), tuple(y.clone() for y in have))


class _Positions(nn.Module):
    """What is added depends on the length and on parameters alone."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.table = nn.Parameter(torch.rand(32, 4, generator=generator))
        self.scale = nn.Parameter(torch.rand(4, generator=generator))
        self.weight = nn.Parameter(torch.rand(4, 4, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + (self.table[: x.shape[1]] * self.scale).exp()) @ self.weight


def test_recorded_graphs_keep_what_depends_on_shapes() -> None:
    model, x = _Positions().eval().cuda(), torch.rand(2, 5, 4).cuda()
    length = torch.export.Dim("length", min=2, max=32)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {1: length}})
    engine = regraft.compile(program, backend="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            engine(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = engine(x)
    with pytest.raises(regraft.StateError, match="recorded"):
        engine.refit({"scale": torch.rand(4).cuda()}, partial=True, in_place=True)
    # Others take the place of its shapes, and memory comes and goes.
    for size in range(2, 30):
        engine(torch.rand(2, size, 4).cuda())
    with torch.no_grad():
        model.weight.mul_(2)
    engine.refit({"weight": model.weight}, partial=True, in_place=True)
    for size in range(2, 30):
        engine(torch.rand(2, size, 4).cuda())
    graph.replay()
    fresh = regraft.compile(program, backend="cuda")
    fresh.refit(model)
    assert support.same_bits(out, fresh(x))


def test_files_rollback_and_forks(tmp_path: Path) -> None:
    name = "tiny_mobilenet_v3_large"
    engine, inputs = _engine(name), _inputs(name)
    first = _run(engine, inputs)
    engine.save(tmp_path / "e.rgf")
    loaded = regraft.load(tmp_path / "e.rgf")
    assert loaded.device == torch.device("cuda", 0)
    assert _same(first, _run(loaded, inputs))
    fork = engine.fork()
    fork.refit(_state(name, 1))
    assert _same(first, _run(engine, inputs))
    second = _run(fork, inputs)
    engine.refit(_state(name, 1))
    assert _same(second, _run(engine, inputs))
    engine.rollback()
    assert _same(first, _run(engine, inputs))
    engine.save(tmp_path / "i.rgf", immutable=True)
    assert _same(first, _run(regraft.load(tmp_path / "i.rgf"), inputs))
    values = engine.state_dict()
    for key, value in _state(name, 0).items():
        if key in values:
            assert support.same_bits(values[key], value.cpu()), key


@pytest.mark.parametrize("shape", ["linear", "convolution"])
def test_tf32_is_for_those_who_ask(shape: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    if shape == "linear":
        model: torch.nn.Module = torch.nn.Linear(512, 384)
        x = torch.randn(256, 512)
    else:
        model = torch.nn.Conv2d(64, 96, 3, padding=1)
        x = torch.randn(4, 64, 28, 28)
    with torch.no_grad():
        want = model.eval().double()(x.double())
    model.float()
    errors = []
    for allowed in (False, True):
        engine = regraft.compile(model, (x,), backend="cuda", allow_tf32=allowed)
        have = engine(x.cuda())
        errors.append(support.relative_error(have.cpu().double(), want))
        engine.save(tmp_path / "m.rgf")
        assert support.same_bits(regraft.load(tmp_path / "m.rgf", device="cuda")(x.cuda()), have)
    assert errors[0] < 2e-6
    assert 2e-5 < errors[1] < 2e-3


def test_profile_times_the_kernels_of_every_step() -> None:
    engine = _engine("tiny_bert", "bf16")
    inputs = _inputs("tiny_bert")
    first = _run(engine, inputs)
    for profile in (engine.profile(*inputs, runs=5), engine.profile(runs=5)):
        assert profile.device == "cuda:0"
        # Where the driver lets nobody look, events tell the time.
        assert profile.clock in ("CUPTI", "CUDA events")
        assert all(0 < step.seconds < 1e-2 for step in profile.steps)
        assert 0.2 * profile.run_seconds < profile.steps_seconds < 20 * profile.run_seconds
        peaks = {peak.of: peak.per_second for peak in profile.peaks}
        assert peaks["copy"] > 1e11
        assert peaks["bf16"] > 1e13
    assert _same(first, _run(engine, inputs))


def test_strided_and_changing_inputs() -> None:
    name = "tiny_resnet18"
    engine = _engine(name)
    x = _inputs(name)[0]
    want = _run(engine, (x,))
    strided = x.contiguous(memory_format=torch.channels_last)
    assert _same(want, _run(engine, (strided,)))
    kept = []
    for _ in range(20):  # Operands that lie elsewhere each time.
        y = x.clone()
        kept.append((y, engine(y)))
    for y, outputs in kept:
        assert y is not None
        assert _same(want, support.flat(outputs))


def test_what_does_not_fit_is_said() -> None:
    name = "tiny_resnet18"
    engine = _engine(name)
    x = _inputs(name)[0]
    with pytest.raises(regraft.MismatchError, match="want cuda:0, have cpu"):
        engine(x.cpu())
    with pytest.raises(regraft.MismatchError, match="f32"):
        engine(x.double())
    with pytest.raises(regraft.StateError, match="requires grad"):
        engine(x.clone().requires_grad_())
    with pytest.raises(regraft.InvalidArgumentError, match="cuda:99"):
        _engine(name, device="cuda:99")


def test_modules_on_the_device_are_compiled_where_they_are() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))
    model = model.eval().cuda()
    x = torch.randn(3, 8, device="cuda")
    engine = regraft.compile(model, (x,), backend="cuda")
    with torch.no_grad():
        want = model(x)
        assert support.relative_error(engine(x), want) < support.F32_TOLERANCE
        for parameter in model.parameters():
            parameter.mul_(0.5)
        engine.refit(model)
        assert support.relative_error(engine(x), model(x)) < support.F32_TOLERANCE

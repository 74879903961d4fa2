"""The laws of refit on real models. Runtime-level tests of the same laws are in tests/refit."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import regraft
import support
from models import zoo

MODELS = ["tiny_resnet18", "tiny_mobilenet_v3_large", "tiny_bert", "tiny_gpt2", "tiny_llama"]
PRECISIONS = ["f32", "bf16"]


def _engine(name: str, precision: str = "f32") -> regraft.Engine:
    return support.compiled(name, "raw", backend="cpu", precision=precision)


def _inputs(name: str) -> tuple[torch.Tensor, ...]:
    return zoo.example_inputs(name, 3, seed=9)


def _run(engine: regraft.Engine, name: str) -> tuple[torch.Tensor, ...]:
    return support.flat(engine(*_inputs(name)))


def _same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
    return all(support.same_bits(x, y) for x, y in zip(a, b, strict=True))


# Builds from the second weights in a process that knows nothing but realised plans.
_BUILDER = """
import functools, json, sys
import torch, regraft
from models import zoo

@functools.lru_cache(maxsize=1)
def program(name):
    shapes = zoo.dynamic_shapes(name)
    return zoo.export_model(zoo.build(name, 1), zoo.example_inputs(name), "raw", shapes)

for line in sys.stdin:
    name, precision, plan, out = json.loads(line)
    text = open(plan).read()
    engine = regraft.compile(program(name), backend="cpu", precision=precision, realised=text)
    torch.save(torch.utils._pytree.tree_leaves(engine(*zoo.example_inputs(name, 3, seed=9))), out)
    print("built", flush=True)
"""


@pytest.fixture(scope="module")
def build_elsewhere() -> Iterator[Callable[..., list[torch.Tensor]]]:
    """Builds in another process, one for all tests: importing PyTorch takes longer than a build."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BUILDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def build(name: str, precision: str, plan: Path, out: Path) -> list[torch.Tensor]:
        process.stdin.write(json.dumps([name, precision, str(plan), str(out)]) + "\n")
        process.stdin.flush()
        assert "built\n" in process.stdout, "the other process ended"
        built: list[torch.Tensor] = torch.load(out)
        return built

    yield build
    process.stdin.close()
    assert process.wait(60) == 0


@pytest.mark.xdist_group("elsewhere")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_l1_refit_equals_build_in_another_process(
    name: str, precision: str, tmp_path: Path, build_elsewhere: Callable[..., list[torch.Tensor]]
) -> None:
    engine = _engine(name, precision)
    engine.refit(support.model(name, 1))
    (tmp_path / "plan").write_text(engine.realised_plan())
    built = build_elsewhere(name, precision, tmp_path / "plan", tmp_path / "out.pt")
    refitted = _run(engine, name)
    assert _same(refitted, tuple(built))
    support.check_outputs(precision, refitted, support.truth(support.model(name, 1), _inputs(name)))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_l1_there_and_back(name: str, in_place: bool) -> None:
    engine = _engine(name)
    first = _run(engine, name)
    engine.refit(support.model(name, 1), in_place=in_place)
    second = _run(engine, name)
    assert not _same(first, second)
    engine.refit(support.model(name, 0), in_place=in_place)
    assert _same(first, _run(engine, name))


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_mobilenet_v3_large"])
def test_l3_one_running_var_touches_one_fold(name: str) -> None:
    engine = _engine(name)
    state = dict(support.model(name, 0).state_dict())
    target = [n for n in state if n.endswith("running_var")][2]
    state[target] = state[target] * 1.5
    before = {c.spec.name: c.address for c in engine.constants()}
    report = engine.refit({target: state[target]}, partial=True)
    assert report.parameters == [target]
    assert 1 <= len(report.updated) <= 2, report.updated
    changed = {c.spec.name for c in engine.constants() if before[c.spec.name] != c.address}
    assert changed == set(report.updated)
    full = _engine(name)
    full.refit(state, allow_unexpected=True)
    assert _same(_run(engine, name), _run(full, name))


def test_l3_tied_weight_by_one_of_its_names() -> None:
    name = "tiny_gpt2"
    engine = _engine(name)
    tied = [info for info in engine.parameter_infos() if info.aliases]
    assert tied, "the model has no tied weights"
    alias = tied[0].aliases[0]
    value = torch.randn_like(engine.parameter(alias))
    engine.refit({alias: value}, partial=True)
    assert torch.equal(engine.parameter(tied[0].spec.name), value)
    with pytest.raises(regraft.MismatchError, match="is the same tensor as"):
        engine.refit({alias: value, tied[0].spec.name: value + 1}, partial=True)


def test_l4_a_failed_refit_lists_all_and_changes_nothing() -> None:
    name = "tiny_resnet18"
    engine = _engine(name)
    before = _run(engine, name)
    state = dict(support.model(name, 1).state_dict())
    state["conv1.weigth"] = state.pop("conv1.weight")
    state["fc.bias"] = state["fc.bias"][:-1]
    state["bn1.bias"] = state["bn1.bias"].double()
    with pytest.raises(regraft.MismatchError) as error:
        engine.refit(state)
    for word in ("conv1.weight", "conv1.weigth", "fc.bias", "bn1.bias"):
        assert word in str(error.value)
    assert engine.generation == 1
    assert _same(before, _run(engine, name))


@pytest.mark.parametrize("in_place", [False, True])
def test_l5_every_output_belongs_to_one_generation(in_place: bool) -> None:
    name = "tiny_resnet18"
    engine = _engine(name)
    inputs = _inputs(name)
    states = [dict(support.model(name, seed).state_dict()) for seed in (0, 1)]
    expected = []
    for state in states:
        engine.refit(state, in_place=in_place)
        expected.append(_run(engine, name))
    stop = threading.Event()
    strays: list[int] = []

    def run() -> None:
        while not stop.is_set():
            output = support.flat(engine(*inputs))
            if not any(_same(output, want) for want in expected):
                strays.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(40):
        engine.refit(states[i % 2], in_place=in_place)
    stop.set()
    for thread in threads:
        thread.join()
    assert not strays


def test_l6_in_place_keeps_addresses() -> None:
    engine = _engine("tiny_bert")
    before = [c.address for c in engine.constants()]
    engine.refit(support.model("tiny_bert", 1), in_place=True)
    assert before == [c.address for c in engine.constants()]


def _filled(name: str, fill: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    model = zoo.build(name, 0)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.data.copy_(fill(tensor))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_l8_files_depend_on_values_by_their_bytes_only(name: str, tmp_path: Path) -> None:
    def saved(engine: regraft.Engine, **options: bool) -> bytes:
        engine.save(tmp_path / "m.rgf", **options)
        return (tmp_path / "m.rgf").read_bytes()

    inputs, shapes = zoo.example_inputs(name), zoo.dynamic_shapes(name)
    models = [_filled(name, fill) for fill in (torch.zeros_like, torch.randn_like, torch.clone)]
    programs = [zoo.export_model(model, inputs, "raw", shapes) for model in models]
    for precision in PRECISIONS:
        engines = [regraft.compile(p, backend="cpu", precision=precision) for p in programs]
        assert len({saved(engine, strip_weights=True) for engine in engines}) == 1
        files = [saved(engine) for engine in engines]
        assert len(set(files)) == 3
        # The file of the one is the file of the other once it has its weights.
        engines[0].refit(models[2])
        assert saved(engines[0]) == files[2]

"""Modules of several engines and PyTorch segments: one bank, one transaction (laws L1 to L6)."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import partial
import pytest
import torch
from partial import X
from torch.export import Dim

import regraft
from regraft._compile import compile_module
from regraft.module.gate import Gate
from regraft.settings import make_settings


def test_l1_refit_equals_a_build_and_there_and_back() -> None:
    module, other = partial.module(0), partial.module(1)
    first = module(X)
    report = module.refit(partial.layers_program(1))
    assert report.generation == 2
    assert partial.same(module(X), other(X))
    partial.close(module(X), partial.layers(1)(X))
    module.refit(partial.layers_program(0))
    assert partial.same(module(X), first)


@pytest.mark.parametrize("form", ["program", "module", "mapping", "safetensors"])
@pytest.mark.parametrize("in_place", [False, True])
def test_every_form_of_weights(form: str, in_place: bool, tmp_path) -> None:  # type: ignore[no-untyped-def]
    module = partial.module(0)
    model = partial.layers(1)
    if form == "program":
        weights = partial.layers_program(1)
    elif form == "module":
        weights = model
    elif form == "mapping":
        weights = partial.tensors(model)
    else:
        from safetensors.torch import save_file

        weights = tmp_path / "w.safetensors"
        tensors = partial.tensors(model)
        tensors["tied.weight"] = tensors["tied.weight"].clone()
        save_file(tensors, weights)
    module.refit(weights, in_place=in_place)
    partial.close(module(X), model(X))


def test_a_state_dict_leaves_what_it_does_not_have() -> None:
    module, model = partial.module(0), partial.layers(1)
    hidden = module.parameter("hidden")
    module.load_state_dict(model.state_dict())
    assert torch.equal(module.parameter("hidden"), hidden)
    model.hidden = hidden
    partial.close(module(X), model(X))


def test_reports_count_what_moved() -> None:
    module = partial.module(0)
    in_torch = module.refit({"shift": torch.ones(6)}, partial=True)
    assert in_torch.bytes_in == in_torch.bytes_out == 6 * 4
    in_engine = module.refit({"norm.running_var": torch.ones(6)}, partial=True)
    assert in_engine.bytes_in == 6 * 4
    assert in_engine.bytes_out == in_engine.engines["engine_0"].bytes_out > 0
    full = module.refit(partial.layers_program(1))
    assert full.bytes_out > in_engine.bytes_out
    assert len({len(r.updated) + r.untouched for r in (in_torch, in_engine, full)}) == 1


def test_l3_partial_refit_touches_what_depends_on_it() -> None:
    module = partial.module(0)
    report = module.refit({"shift": torch.ones(6)}, partial=True)
    assert report.updated == ["shift"]
    assert not report.engines
    report = module.refit({"norm.running_var": torch.ones(6)}, partial=True)
    assert set(report.engines) == {"engine_0"}
    assert all(name.startswith("engine_0: ") for name in report.updated)
    model = partial.layers(0)
    model.shift.fill_(1.0)
    model.norm.running_var.fill_(1.0)
    partial.close(module(X), model(X))


def test_ties_stay_tied_across_engines_and_segments() -> None:
    module = partial.module(0, torch_executed_ops=["aten.relu", "aten.matmul"])
    (tied,) = [p for p in module.parameter_infos() if p.aliases]
    assert len(tied.engines) == 2
    assert tied.in_torch
    value = torch.randn(6, 6)
    module.refit({tied.aliases[0]: value}, partial=True)
    model = partial.layers(0)
    model.first.weight.copy_(value)
    partial.close(module(X), model(X))
    for name in (tied.spec.name, *tied.aliases):
        assert torch.equal(module.parameter(name), value)
    with pytest.raises(regraft.MismatchError, match="is the same tensor as"):
        module.refit({tied.aliases[0]: value, tied.spec.name: value + 1}, partial=True)


@pytest.mark.parametrize("in_place", [False, True])
def test_l4_a_failed_refit_lists_all_and_changes_nothing(in_place: bool) -> None:
    module = partial.module(0)
    before = module(X)
    weights = partial.tensors(partial.layers(1))
    weights["first.weigth"] = weights.pop("first.weight")
    del weights["tied.weight"]
    weights["shift"] = weights["shift"][:5]
    weights["last.bias"] = weights["last.bias"].double()
    weights["scale"] = "no tensor"  # type: ignore[assignment]
    with pytest.raises(regraft.MismatchError) as error:
        module.refit(weights, in_place=in_place)
    for text in (
        "first.weigth: the module has no such parameter (nearest: first.weight)",
        "first.weight: want f32[6,6], have nothing of that name",
        "shift: want f32[6], have f32[5]",
        "last.bias: want f32[3], have f64[3] (cast converts it)",
        "scale: want a tensor, have str",
    ):
        assert text in str(error.value)
    assert module.generation == 1
    assert partial.same(before, module(X))


@pytest.mark.parametrize("fails_at", [0, 1, 2])
@pytest.mark.parametrize("stage", ["prepare", "publish"])
def test_l4_an_engine_that_fails_leaves_all_engines_as_they_were(
    stage: str, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = partial.module(0)
    before = module(X)
    engines = module.engines
    calls = 0

    class Failing:
        def __init__(self, prepared: object) -> None:
            self._prepared = prepared

        def __getattr__(self, name: str) -> object:
            return getattr(self._prepared, name)

        def publish(self) -> object:
            fail()
            return self._prepared.publish()  # type: ignore[attr-defined]

    def fail() -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at + 1:
            raise regraft.OutOfMemoryError("[refit] injected")

    from regraft.module.source import MappingSource

    real = MappingSource.prepare

    def prepare(self: MappingSource, *args: object) -> object:
        if stage == "prepare":
            fail()
            return real(self, *args)  # type: ignore[arg-type]
        return Failing(real(self, *args))  # type: ignore[arg-type]

    monkeypatch.setattr(MappingSource, "prepare", prepare)
    with pytest.raises(regraft.OutOfMemoryError, match="injected"):
        module.refit(partial.layers_program(1))
    monkeypatch.undo()
    assert module.generation == 1
    assert partial.same(before, module(X))
    for engine in engines:  # Also below the bank nothing stayed behind.
        assert torch.equal(
            engine.parameter(engine.parameter_infos()[0].spec.name),
            module.parameter(engine.parameter_infos()[0].spec.name),
        )
    module.refit(partial.layers_program(1))
    partial.close(module(X), partial.layers(1)(X))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_l5_every_call_sees_one_generation(in_place: bool, whole: bool) -> None:
    module: regraft.Module
    if whole:
        module = partial.whole_module(partial.Generations().eval(), torch.zeros(8))
        assert module.whole is module.engines[0]
    else:
        module = regraft.compile(
            partial.Generations().eval(), (torch.zeros(8),), torch_executed_ops=["aten.maximum"]
        )
        assert len(module.engines) == 4
        assert len(module.layout.segments) == 7
        assert len(module.cells()) == 3
        assert module.whole is None
    stop = threading.Event()
    mixed: list[torch.Tensor] = []
    backwards: list[float] = []
    runs = [0, 0, 0]

    def run(which: int) -> None:
        last = 0.0
        while not stop.is_set():
            out = module(torch.zeros(8))
            value = float(out[0, 0])
            if not torch.equal(out, torch.full_like(out, value)):
                mixed.append(out)
            if value < last:
                backwards.append(value)
            last = value
            runs[which] += 1

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for generation in range(2, 60):
        before = sum(runs)
        module.refit(partial.generations_state(generation), in_place=in_place)
        while sum(runs) == before:
            time.sleep(0)
    stop.set()
    for thread in threads:
        thread.join()
    assert not mixed
    assert not backwards
    assert min(runs) > 0
    assert float(module(torch.zeros(8))[3, 0]) == 59.0


def test_l6_in_place_keeps_addresses() -> None:
    module = partial.module(0)

    def addresses() -> list[int]:
        bank = module.bank
        assert bank is not None
        return [
            *(c.address for engine in module.engines for c in engine.constants()),
            *(tensor.data_ptr() for tensor in bank.tensors.values()),
        ]

    before = addresses()
    module.refit(partial.layers_program(1), in_place=True)
    assert addresses() == before
    partial.close(module(X), partial.layers(1)(X))
    with pytest.raises(regraft.StateError, match="no weights to roll back to"):
        module.rollback()


def test_rollback_there_and_back() -> None:
    module = partial.module(0)
    first = module(X)
    with pytest.raises(regraft.StateError, match="no weights to roll back to"):
        module.rollback()
    module.refit({"shift": torch.ones(6), "norm.bias": torch.ones(6)}, partial=True)
    second = module(X)
    assert module.rollback() == 1
    assert partial.same(module(X), first)
    assert module.rollback() == 2
    assert partial.same(module(X), second)
    module.trim()
    with pytest.raises(regraft.StateError, match="no weights to roll back to"):
        module.rollback()
    assert partial.same(module(X), second)


def test_a_rollback_that_one_engine_cannot_do_is_done_by_none() -> None:
    module = partial.module(0)
    module.refit(partial.layers_program(1))
    second = module(X)
    module.engines[1].forget_previous()
    with pytest.raises(regraft.StateError):
        module.rollback()
    assert module.generation == 2
    assert partial.same(module(X), second)
    # A partial refit starts from what the engines have.
    module.refit({"norm.bias": torch.zeros(6)}, partial=True)
    model = partial.layers(1)
    model.norm.bias.zero_()
    partial.close(module(X), model(X))


def test_forks_share_until_refitted() -> None:
    module = partial.module(0)
    first = module(X)
    fork = copy.deepcopy(module)
    assert fork.bank is not None
    assert module.bank is not None
    assert fork.bank.tensors["shift"] is module.bank.tensors["shift"]
    with pytest.raises(regraft.StateError, match="shared with a fork"):
        module.refit({"shift": torch.ones(6)}, partial=True, in_place=True)
    with pytest.raises(regraft.StateError, match="shared with a fork"):
        module.refit({"norm.bias": torch.ones(6)}, partial=True, in_place=True)
    assert partial.same(module(X), first)
    fork.refit(partial.layers_program(1))
    assert partial.same(module(X), first)
    partial.close(fork(X), partial.layers(1)(X))
    del fork
    module.refit(partial.layers_program(1), in_place=True)
    partial.close(module(X), partial.layers(1)(X))


def test_options_of_a_refit() -> None:
    module = partial.module(0)
    weights = {name: t.double() for name, t in partial.tensors(partial.layers(1)).items()}
    weights["stranger"] = torch.zeros(3)
    report = module.refit(weights, cast=True, allow_unexpected=True, dry_run=True)
    assert report.dry_run
    assert report.unused == ["stranger", "norm.num_batches_tracked"] or set(report.unused) == {
        "stranger",
        "norm.num_batches_tracked",
    }
    assert module.generation == 1
    module.refit(weights, cast=True, allow_unexpected=True)
    partial.close(module(X), partial.layers(1)(X))
    bad = torch.full((6,), float("nan"))
    with pytest.raises(regraft.MismatchError) as error:
        module.refit({"shift": bad, "norm.bias": bad}, partial=True, non_finite="reject")
    assert "shift: 6 elements are not finite" in str(error.value)
    assert "norm.bias: 6 elements are not finite" in str(error.value)
    report = module.refit({"shift": bad, "norm.bias": bad}, partial=True)
    assert dict(report.non_finite) == {"shift": 6, "norm.bias": 6}


def test_in_place_gives_up_when_calls_do_not_end() -> None:
    module = partial.module(0)
    module.gate.enter()
    try:
        with pytest.raises(regraft.StateError, match="did not end within"):
            module.refit(partial.layers_program(1), in_place=True, wait_seconds=0.05)
    finally:
        module.gate.leave()
    partial.close(module(X), partial.layers(0)(X))
    pin = module.engines[0].core.weights()
    with pytest.raises(regraft.StateError, match="did not end within"):
        module.refit(partial.layers_program(1), in_place=True, wait_seconds=0.05)
    del pin
    partial.close(module(X), partial.layers(0)(X))
    module.refit(partial.layers_program(1), in_place=True)
    partial.close(module(X), partial.layers(1)(X))


def test_modes() -> None:
    immutable = partial.module(0, immutable_weights=True)
    partial.close(immutable(X), partial.layers(0)(X))
    with pytest.raises(regraft.StateError, match="immutable weights"):
        immutable.refit(partial.layers_program(1))

    stripped = partial.module(0, strip_engine_weights=True)
    assert stripped.generation == 0
    with pytest.raises(regraft.StateError, match="no weights yet"):
        stripped(X)
    with pytest.raises(regraft.MismatchError, match="shift: want"):
        stripped.refit({"first.weight": torch.zeros(6, 6)})
    stripped.refit(partial.layers(1).state_dict())
    model = partial.layers(1)
    model.hidden = partial.layers(0).hidden  # No state_dict has it: it came with the program.
    partial.close(stripped(X), model(X))

    identical = partial.module(0, refit_identical_engine_weights=True)
    identical.refit(partial.layers_program(0))
    with pytest.raises(regraft.MismatchError, match="shift: want the value it was compiled with"):
        identical.refit(partial.layers_program(1))
    partial.close(identical(X), partial.layers(0)(X))


def test_modes_of_a_whole_engine() -> None:
    model, other = torch.nn.Linear(4, 4).eval(), torch.nn.Linear(4, 4).eval()
    x = torch.randn(2, 4)
    engine = regraft.compile(model, (x,), immutable_weights=True)
    assert engine.is_immutable
    partial.close(engine(x), model(x).detach())
    with pytest.raises(regraft.StateError, match="immutable"):
        engine.refit(other)
    engine = regraft.compile(model, (x,), strip_engine_weights=True)
    with pytest.raises(regraft.StateError, match="no weights yet"):
        engine(x)
    engine.refit(other)
    partial.close(engine(x), other(x).detach())
    engine = regraft.compile(model, (x,), refit_identical_engine_weights=True)
    engine.refit(model)
    with pytest.raises(regraft.MismatchError, match="weight: want the value it was compiled with"):
        engine.refit(other)


def test_a_module_of_one_engine(tmp_path: Path) -> None:
    model, other = partial.small(0), partial.small(1)
    x = torch.randn(3, 4)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim("n", min=2, max=9)},))
    module: Any = compile_module(program, make_settings({}))
    engine = regraft.compile(program)
    assert isinstance(module, torch.fx.GraphModule)
    assert [node.op for node in module.graph.nodes].count("call_module") == 1

    def same(have: regraft.Module, want: regraft.Engine) -> None:
        assert partial.same(have(x), want(x))
        assert have.generation == have.whole.generation
        have_state, want_state = have.state_dict(), want.state_dict()
        assert have_state.keys() == want_state.keys()
        assert all(torch.equal(have_state[name], want_state[name]) for name in want_state)

    same(module, engine)
    assert module.outline == engine.outline
    assert repr(module.signature().symbols[0]) != ""
    for size in (2, 9):
        partial.close(module(torch.ones(size, 4)), model(torch.ones(size, 4)))
    with pytest.raises(regraft.MismatchError, match="want"):
        module(torch.ones(10, 4))
    with pytest.raises(regraft.StateError, match="requires grad"):
        module(torch.ones(3, 4, requires_grad=True))
    calls: list[int] = []
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    module(x)
    handle.remove()
    assert calls == [1]

    module.save(tmp_path / "m")
    fork, loaded = module.fork(), regraft.load(tmp_path / "m")
    assert isinstance(loaded, regraft.Module)
    assert loaded.whole is not None
    for which in (loaded, fork, module):
        same(which, engine)
    engine.refit(other)
    for which in (loaded, fork):
        which.refit(torch.export.export(other, (x,)))
        same(which, engine)
    partial.close(module(x), model(x))  # The fork has weights of its own.
    refitted = regraft.refit_module_weights(
        module,
        torch.export.export(other, (x,)),
        [x],
        verify_output=True,
        use_weight_map_cache=False,
    )
    same(refitted, engine)
    module.refit(other, in_place=False)
    same(module, engine)
    module.rollback()
    partial.close(module(x), model(x))
    before = module.lora.load(
        "a", {"0.lora_A.weight": torch.ones(2, 4), "0.lora_B.weight": torch.ones(4, 2)}
    )
    assert before.parameters == ["0.weight"]
    module.lora.unload("a")
    partial.close(module(x), model(x))
    with pytest.raises(regraft.MismatchError, match="another architecture"):
        regraft.refit_module_weights(
            module, torch.export.export(torch.nn.Sequential(other[0], torch.nn.Tanh()), (x,))
        )


def test_a_stripped_module_of_one_engine() -> None:
    model, x = partial.small(0), torch.randn(3, 4)
    module = partial.whole_module(model, x, strip_engine_weights=True)
    with pytest.raises(regraft.StateError, match="no weights yet"):
        module(x)
    module.refit(model)
    partial.close(module(x), model(x))
    identical = partial.whole_module(model, x, refit_identical_engine_weights=True)
    with pytest.raises(regraft.MismatchError, match="want the value it was compiled with"):
        identical.refit(partial.small(1))
    identical.refit(model)
    partial.close(identical(x), model(x))


def test_in_place_waits_for_calls_of_a_module_of_one_engine() -> None:
    model, x = partial.small(0), torch.randn(3, 4)
    module = partial.whole_module(model, x)
    pin = module.engines[0].core.weights()
    with pytest.raises(regraft.StateError, match="did not end within"):
        module.refit(partial.small(1), in_place=True, wait_seconds=0.05)
    partial.close(module(x), model(x))
    del pin
    module.refit(partial.small(1), in_place=True)
    partial.close(module(x), partial.small(1)(x))


def test_facts() -> None:
    module = partial.module(0)
    assert "engine_0" in module.refit_map()
    assert "@shift: f32[6]\n  -> torch_5" in module.refit_map()
    assert "special_i0" in module.steps()
    assert module.memory().constants > 0
    assert module.signature().inputs[0].dtype == "f32"
    assert "torch_1" in repr(module)
    state = module.state_dict()
    assert torch.equal(state["tied.weight"], state["first.weight"])
    with pytest.raises(regraft.NotFoundError):
        module.parameter("nothing")
    with pytest.raises(TypeError, match=r"regraft\.save"):
        pickle.dumps(module)


def test_the_users_tensors_are_not_kept() -> None:
    model = partial.layers(0)
    module = regraft.compile(model, (torch.randn(4, 6),))
    before = module(X)
    weights = partial.tensors(model)
    for tensor in model.state_dict().values():
        tensor.zero_()
    assert partial.same(module(X), before)
    module.refit(weights)
    for tensor in weights.values():
        tensor.zero_()
    assert partial.same(module(X), before)
    gc.collect()


def test_the_gate() -> None:
    gate = Gate()
    gate.enter()
    order: list[str] = []

    def writer() -> None:
        with gate.exclusive(10):
            order.append("alone")

    thread = threading.Thread(target=writer)
    thread.start()
    time.sleep(0.05)
    late = threading.Thread(target=lambda: (gate.enter(), order.append("late"), gate.leave()))
    late.start()
    time.sleep(0.05)
    assert order == []
    gate.leave()
    thread.join()
    late.join()
    assert order == ["alone", "late"]

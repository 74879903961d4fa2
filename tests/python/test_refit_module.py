"""refit_module_weights and construct_refit_mapping: what they do and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import partial
import pytest
import torch
from torch import Tensor, nn

import regraft
import support
from models import zoo
from regraft import _regraft
from regraft._compile import open_program

X = torch.linspace(-2, 2, 24).reshape(4, 6)


class Whole(nn.Module):
    """Everything an engine takes: a fold, a tie, two outputs, a keyword."""

    def __init__(self, activation: Any = torch.relu, p: float = 1e-5) -> None:
        super().__init__()
        self.first, self.norm, self.last = (
            nn.Linear(6, 6),
            nn.BatchNorm1d(6, eps=p),
            nn.Linear(6, 6),
        )
        self.last.weight = self.first.weight
        self.activation = activation

    def forward(self, x: Tensor, *, bias: Tensor) -> tuple[Tensor, Tensor]:
        y = self.activation(self.norm(self.first(x)))
        return y, self.last(y) + bias


def whole(seed: int, **options: Any) -> Whole:
    torch.manual_seed(seed)
    model = Whole(**options)
    for value in (model.norm.running_mean, model.norm.running_var):
        assert value is not None
        value.copy_(torch.rand(6) + 0.5)
    return model.eval().requires_grad_(False)


KWARGS = {"bias": torch.ones(6)}


def whole_program(seed: int, **options: Any) -> torch.export.ExportedProgram:
    return torch.export.export(whole(seed, **options), (X,), KWARGS)


def _compiled(kind: str) -> Any:
    if kind == "module":
        return regraft.compile(partial.layers_program(0))
    if kind == "loaded":
        return regraft.exported.from_bytes(
            regraft.exported.to_bytes(regraft.compile(partial.layers_program(0)))
        )
    return regraft.compile(whole_program(0))


def _case(kind: str) -> tuple[Any, Any, tuple[Any, ...], dict[str, Any], Any]:
    """The compiled program, the new one, inputs, and the new module."""
    if kind == "engine":
        return _compiled(kind), whole_program(1), (X,), KWARGS, whole(1)
    return _compiled(kind), partial.layers_program(1), (X,), {}, partial.layers(1)


KINDS = ["engine", "module", "loaded"]


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_place_leaves_the_original(kind: str) -> None:
    compiled, program, args, kwargs, model = _case(kind)
    before = compiled(*args, **kwargs)
    refitted = regraft.refit_module_weights(compiled, program, args, kwargs, verify_output=True)
    assert refitted is not compiled
    partial.close(refitted(*args, **kwargs), model(*args, **kwargs))
    assert partial.same(compiled(*args, **kwargs), before)
    assert compiled.generation == 1
    # And may be refitted in place beside it.
    regraft.refit_module_weights(compiled, program, in_place=True)
    assert partial.same(compiled(*args, **kwargs), refitted(*args, **kwargs))


@pytest.mark.parametrize("kind", KINDS)
def test_in_place_keeps_addresses(kind: str) -> None:
    compiled, program, args, kwargs, model = _case(kind)
    engines = [compiled] if kind == "engine" else compiled.engines
    before = [c.address for engine in engines for c in engine.constants()]
    out = regraft.refit_module_weights(
        compiled, program, inputs=args, kwarg_inputs=kwargs, verify_output=True, in_place=True
    )
    assert out is compiled
    assert [c.address for engine in engines for c in engine.constants()] == before
    partial.close(compiled(*args, **kwargs), model(*args, **kwargs))


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_made_anew_gives_the_same(kind: str) -> None:
    compiled, program, args, kwargs, _ = _case(kind)
    cached = regraft.refit_module_weights(compiled, program)
    anew = regraft.refit_module_weights(compiled, program, use_weight_map_cache=False)
    assert partial.same(cached(*args, **kwargs), anew(*args, **kwargs))
    with pytest.raises(regraft.InvalidArgumentError, match="pass an ExportedProgram"):
        regraft.refit_module_weights(compiled, dict(program.state_dict), use_weight_map_cache=False)


@pytest.mark.parametrize("form", ["module", "state_dict", "safetensors"])
def test_weights_in_other_forms(form: str, tmp_path: Any) -> None:
    compiled, model = _compiled("engine"), whole(1)
    weights: Any = model
    if form == "state_dict":
        weights = model.state_dict()
    if form == "safetensors":
        from safetensors.torch import save_file

        weights = tmp_path / "w.safetensors"
        save_file({k: v.clone() for k, v in model.state_dict().items()}, weights)
    refitted = regraft.refit_module_weights(compiled, weights)
    partial.close(refitted(X, **KWARGS), model(X, **KWARGS))


@pytest.mark.parametrize("in_place", [False, True])
def test_verification_compares_every_output_and_publishes_nothing(in_place: bool) -> None:
    # The second output alone is wrong.
    compiled = regraft.compile(whole_program(0))
    before = compiled(X, **KWARGS)
    model = whole(1)

    class Crooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
            return self.model.named_parameters(*args, **kwargs)

        def named_buffers(self, *args: Any, **kwargs: Any) -> Any:
            return self.model.named_buffers(*args, **kwargs)

        def forward(self, x: Tensor, *, bias: Tensor) -> tuple[Tensor, Tensor]:
            first, second = self.model(x, bias=bias)
            second = second.clone()
            second[1, 2] += 0.75
            return first, second

    with pytest.raises(regraft.VerificationError) as error:
        regraft.refit_module_weights(
            compiled, Crooked(), (X,), KWARGS, verify_output=True, in_place=in_place
        )
    assert "output 1: 1 of 24 elements differ, by at most 0.75" in str(error.value)
    assert "rtol 0.005, atol 0.005" in str(error.value)
    first, second = error.value.figures
    assert (first.outside, second.outside) == (0, 1)
    assert second.max_absolute == pytest.approx(0.75, rel=1e-3)
    assert partial.same(compiled(X, **KWARGS), before)
    assert compiled.generation == 1
    regraft.refit_module_weights(
        compiled, Crooked(), (X,), KWARGS, verify_output=True, in_place=in_place, atol=1.0
    )


def test_verification_needs_inputs_and_a_program() -> None:
    compiled = _compiled("engine")
    with pytest.raises(regraft.InvalidArgumentError, match="needs arg_inputs or kwarg_inputs"):
        regraft.refit_module_weights(compiled, whole_program(1), verify_output=True)
    with pytest.raises(regraft.InvalidArgumentError, match="needs a program to compare with"):
        regraft.refit_module_weights(
            compiled, whole(1).state_dict(), (X,), KWARGS, verify_output=True
        )
    with pytest.raises(regraft.InvalidArgumentError, match="are the same; pass one"):
        regraft.refit_module_weights(compiled, whole(1), (X,), inputs=(X,))
    assert compiled.generation == 1


def test_not_a_number_is_a_difference() -> None:
    compiled = _compiled("engine")
    model = whole(1)
    model.last.bias[0] = float("nan")
    # NaN where NaN is wanted is right; beside a number it is wrong.
    regraft.refit_module_weights(compiled, model, (X,), KWARGS, verify_output=True)
    engine = regraft.compile(whole(1), (X,), KWARGS)
    with pytest.raises(regraft.VerificationError):
        regraft.refit.verify(engine, model, (X,), KWARGS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activation": torch.tanh}, "want relu, have tanh"),
        ({"p": 1e-3}, "has other arguments than it was compiled with"),
        ({"activation": lambda x: torch.relu(x).neg()}, "want nothing, have neg"),
    ],
)
def test_another_architecture_is_refused(options: dict[str, Any], said: str) -> None:
    compiled = _compiled("engine")
    before = compiled(X, **KWARGS)
    with pytest.raises(regraft.MismatchError, match="another architecture") as error:
        regraft.refit_module_weights(compiled, whole_program(1, **options), in_place=True)
    assert said in str(error.value)
    assert partial.same(compiled(X, **KWARGS), before)


def test_other_parameters_are_refused_by_name() -> None:
    compiled = regraft.compile(partial.layers_program(0))
    model = partial.layers(1)
    model.last = nn.Linear(6, 5)
    with pytest.raises(regraft.MismatchError) as error:
        regraft.refit_module_weights(compiled, model)
    for text in (
        "last.weight: want f32[3,6], have f32[5,6]",
        "last.bias: want f32[3], have f32[5]",
    ):
        assert text in str(error.value)


def test_another_batch_size_and_dialect_are_the_same_architecture() -> None:
    compiled = regraft.compile(partial.layers_program(0))
    static = partial.layers_program(1, dynamic=False)
    for program in (static, static.run_decompositions({})):
        refitted = regraft.refit_module_weights(compiled, program, (X,), verify_output=True)
        partial.close(refitted(X), partial.layers(1)(X))


def test_a_program_in_another_dialect_is_the_same_architecture() -> None:
    programs = {d: support.program("tiny_resnet18", d) for d in zoo.DIALECTS}
    x = zoo.example_inputs("tiny_resnet18")
    for compiled_from in zoo.DIALECTS:
        engine = regraft.compile(programs[compiled_from])
        regraft.refit_module_weights(engine, programs["raw"], x, verify_output=True)
        regraft.refit_module_weights(engine, programs[compiled_from], x, verify_output=True)


@pytest.mark.parametrize("name", ["tiny_vit_b_16", "tiny_bert", "tiny_gpt2", "tiny_llama_masked"])
def test_outlines_know_neither_sizes_nor_dialect(name: str) -> None:
    static = torch.export.export(support.model(name, 1), zoo.example_inputs(name, 1))
    programs = [support.program(name, "raw"), support.program(name, "functional"), static]
    first, *others = [_regraft.outline(open_program(p, name).core, {}) for p in programs]
    assert all(other == first for other in others)


def test_an_exported_program_that_holds_one(tmp_path: Any) -> None:
    compiled = regraft.compile(partial.layers_program(0))
    torch.export.save(regraft.to_exported_program(compiled), tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2")
    partial.close(program.module()(X), partial.layers(0)(X))
    refitted = regraft.refit_module_weights(
        program, partial.layers_program(1), (X,), verify_output=True
    )
    assert isinstance(refitted, regraft.Module)
    partial.close(refitted(X), partial.layers(1)(X))
    partial.close(program.module()(X), partial.layers(0)(X))
    again = regraft.refit_module_weights(
        program, partial.layers_program(1), (X,), verify_output=True, in_place=True
    )
    assert again is program
    partial.close(program.module()(X), partial.layers(1)(X))
    torch.export.save(program, tmp_path / "n.pt2")
    partial.close(torch.export.load(tmp_path / "n.pt2").module()(X), partial.layers(1)(X))
    module = program.module()
    refitted = regraft.refit_module_weights(module, partial.layers_program(0))
    partial.close(refitted(X), partial.layers(0)(X))


def test_what_is_not_compiled_is_refused() -> None:
    for thing in (whole(0), whole_program(0), 3, None):
        with pytest.raises(TypeError, match=r"want a regraft\.Module, a regraft\.Engine"):
            regraft.refit_module_weights(thing, whole_program(1))
    with pytest.raises(TypeError, match="want a mapping"):
        regraft.refit_module_weights(_compiled("engine"), 3)  # type: ignore[arg-type]


def test_immutable_modules_are_refused() -> None:
    module = regraft.compile(partial.layers_program(0), immutable_weights=True)
    with pytest.raises(regraft.StateError, match="immutable"):
        regraft.refit_module_weights(module, partial.layers_program(1))


def test_the_mapping_of_an_engine() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    conv, norm = model[0], model[1]
    norm.running_mean.copy_(torch.randn(4))
    norm.running_var.copy_(torch.rand(4) + 0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(4) + 0.5)
        norm.bias.copy_(torch.randn(4))
    graph = torch.export.export(model, (torch.randn(1, 3, 8, 8),)).module()
    mapping = regraft.construct_refit_mapping(graph, (torch.randn(1, 3, 8, 8),))
    assert all(isinstance(value, np.ndarray) for value in mapping.values())
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.weight * scale.reshape(-1, 1, 1, 1)
        bias = (conv.bias - norm.running_mean) * scale + norm.bias
    (folded,) = [v for v in mapping.values() if v.ndim == 4]
    np.testing.assert_allclose(folded, weight, rtol=1e-5, atol=1e-6)
    (folded_bias,) = [v for v in mapping.values() if v.shape == (4,)]
    np.testing.assert_allclose(folded_bias, bias, rtol=1e-5, atol=1e-6)


def test_the_mapping_of_a_module() -> None:
    program = partial.layers_program(0)
    mapping = regraft.construct_refit_mapping(program, ())
    model = partial.layers(0)
    np.testing.assert_array_equal(mapping["shift"], model.shift.numpy())
    assert any(name.startswith("engine_0: ") for name in mapping)
    settings = regraft.CompilationSettings(precision="bf16")
    low = regraft.construct_refit_mapping(program, (), settings)
    assert all(value.dtype != np.dtype("V2") for value in low.values())


def test_the_native_map_names_types_and_steps() -> None:
    text = _compiled("engine").refit_map()
    assert "@first.weight: f32[6,6] = @last.weight\n" in text
    assert "@norm.running_var: f32[6]\n  -> $" in text
    assert " through " in text
    assert "  <- @norm.running_var\n" in text

"""The mirror module: names, options and files of Torch-TensorRT over Regraft."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import BUILD, ROOT
from torch import Tensor, nn

import regraft
import regraft.torch_tensorrt as torchtrt
import support
from regraft.torch_tensorrt import _options
from regraft.torch_tensorrt.dynamo._engine_cache import BaseEngineCache
from regraft.torch_tensorrt.dynamo._refit import construct_refit_mapping


class Net(nn.Module):
    """A fold whose weights are four tensors, and a tied layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Linear(4, 4)
        self.second = self.first
        with torch.no_grad():
            assert self.norm.running_mean is not None
            assert self.norm.running_var is not None
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.second(torch.tanh(self.first(y)))


class Sum(nn.Module):
    """Two inputs whose batch must be the same."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(4, 4)
        self.eval()

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.linear(x) + other


SHAPE = (2, 3, 8, 8)


def image(seed: int = 3) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def answer(module: nn.Module, *args: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = module(*args)
    return out


def check(have: Tensor, want: Tensor) -> None:
    assert support.relative_error(have, want) < support.F32_TOLERANCE


# ---- compilation ----


@pytest.mark.parametrize(("ir", "spelling"), [("default", "inputs"), ("dynamo", "arg_inputs")])
def test_compile_takes_modules(ir: str, spelling: str) -> None:
    given: dict[str, Any] = {spelling: [image()]}
    compiled = torchtrt.compile(Net(), ir=ir, min_block_size=1, **given)
    assert isinstance(compiled, torch.fx.GraphModule)
    assert compiled.whole is not None
    check(compiled(image(4)), answer(Net(), image(4)))


def test_compile_by_keyword_inputs() -> None:
    inputs = {"x": torch.randn(2, 4), "other": torch.randn(2, 4)}
    compiled = torchtrt.compile(Sum(), kwarg_inputs=inputs, min_block_size=1)
    check(compiled(**inputs), answer(Sum(), *inputs.values()))


def test_small_blocks_run_in_pytorch_by_default() -> None:
    inputs = (torch.randn(2, 4), torch.randn(2, 4))
    compiled = torchtrt.compile(Sum(), inputs=inputs)
    assert isinstance(compiled, regraft.Module)
    assert not compiled.engines
    full = torchtrt.compile(Sum(), inputs=inputs, require_full_compilation=True)
    assert isinstance(full, torch.fx.GraphModule)
    assert full.whole is not None


def test_other_irs_are_refused() -> None:
    with pytest.raises(regraft.InvalidArgumentError, match="want 'dynamo' or 'torch_compile'"):
        torchtrt.compile(Net(), ir="ts", inputs=[image()])


def test_dynamo_compile_checks_inputs_against_the_program() -> None:
    program = torch.export.export(Net(), (image(),))
    with pytest.raises(regraft.MismatchError, match=r"input 'x': want .*\[2, 3, 8, 8\].*\(1, 3"):
        torchtrt.dynamo.compile(program, [torchtrt.Input((1, 3, 8, 8))])
    with pytest.raises(regraft.MismatchError, match="takes 1, have 2"):
        torchtrt.dynamo.compile(program, [image(), image()])
    with pytest.raises(TypeError, match="want an ExportedProgram"):
        torchtrt.dynamo.compile(Net(), [image()])
    with pytest.raises(regraft.InvalidArgumentError, match="inputs and arg_inputs"):
        torchtrt.dynamo.compile(program, [image()], arg_inputs=[image()])


@pytest.mark.parametrize(
    ("enabled", "precision"),
    [
        ({torch.float}, "f32"),
        ({torch.float, torchtrt.dtype.half}, "f16"),
        ({torch.bfloat16}, "bf16"),
        ({torchtrt.dtype.bf16, torch.half}, "bf16"),
    ],
)
def test_enabled_precisions(enabled: set[Any], precision: str) -> None:
    program = torch.export.export(Net(), (image(),))
    mine = torchtrt.dynamo.compile(
        program, [image()], enabled_precisions=enabled, require_full_compilation=True
    )
    native = regraft.compile(program, precision=precision)
    assert support.same_bits(mine(image(4)), native(image(4)))
    exact = support.same_bits(mine(image(4)), regraft.compile(program)(image(4)))
    assert exact == (precision == "f32")


def test_truncate_double_computes_in_float32() -> None:
    def truncated(seed: int, **options: Any) -> Any:
        return torchtrt.compile(
            Net(seed).double(), inputs=[image().double()], truncate_double=True, **options
        )

    x = image(4).double()
    single = torchtrt.compile(Net(), inputs=[image()], require_full_compilation=True)
    for options in ({"require_full_compilation": True}, {"torch_executed_ops": {"aten.tanh"}}):
        compiled = truncated(0, **options)
        assert compiled(x).dtype is torch.float64
        check(compiled(x), answer(Net(), x.float()))
        assert not support.same_bits(compiled(x), answer(Net().double(), x))
        # Weights come in the dtype they have in the program.
        other = torch.export.export(Net(1).double(), (x,))
        refitted = torchtrt.dynamo.refit_module_weights(
            compiled, other, (x,), verify_output=True, use_weight_map_cache=False
        )
        assert support.same_bits(refitted(x), truncated(1, **options)(x))
    assert support.same_bits(
        truncated(0, require_full_compilation=True)(x), single(x.float()).double()
    )


def test_truncate_double_with_ranges_and_constants(tmp_path: Path) -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            steps = torch.arange(x.shape[0], dtype=torch.float64) + 1.5
            return x, (x.double() * steps[:, None]).sum(0), n + 1

    given = torchtrt.Input(
        min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4), dtype=torch.float64, name="x"
    )
    program = torchtrt.dynamo.trace(Steps().eval(), [given, torch.arange(3)])
    path = tmp_path / "steps.pt2"
    torch.export.save(program, path)
    for model in (program, path):
        compiled = regraft.compile(model, truncate_double=True)
        for size in (1, 5):
            x, n = torch.randn(size, 4, dtype=torch.float64), torch.arange(3)
            first, second, third = compiled(x, n)
            assert support.same_bits(first, x)
            assert second.dtype is torch.float64
            want = answer(Steps(), x, n)[1]
            assert support.relative_error(second, want) < support.F32_TOLERANCE
            assert not support.same_bits(second, want)
            assert third.equal(n + 1)


def test_truncate_double_refuses_control_flow() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))
            return out

    with pytest.raises(regraft.UnsupportedError, match=r"truncate_double: control flow .*true_gr"):
        regraft.compile(Branch().eval(), (torch.ones(2).double(),), truncate_double=True)
    single = regraft.compile(Branch().eval(), (torch.ones(2),), truncate_double=True)
    check(single(torch.ones(2)), torch.ones(2).sin())


def test_truncate_double_in_torch_compile_and_mutable_modules() -> None:
    torch._dynamo.reset()
    x, options = image().double(), {"truncate_double": True, "min_block_size": 1}
    first, second = Net().double(), Net().double()
    compiled = torch.compile(first, backend="torch_tensorrt", options=options)
    mutable = torchtrt.MutableTorchTensorRTModule(second, **options)
    for model, module in ((first, compiled), (second, mutable)):
        with torch.no_grad():
            check(module(x), answer(Net(), image()))
            assert not support.same_bits(module(x), answer(Net().double(), x))
            model.load_state_dict(Net(1).double().state_dict())
            check(module(x), answer(Net(1), image()))


def test_precisions_that_do_not_fit() -> None:
    program = torch.export.export(Net(), (image(),))
    with pytest.raises(regraft.InvalidArgumentError, match=r"have torch\.int8"):
        torchtrt.dynamo.compile(program, enabled_precisions={torch.int8, torch.half})
    with pytest.raises(regraft.InvalidArgumentError, match="use_explicit_typing"):
        torchtrt.dynamo.compile(program, enabled_precisions={torch.half}, use_explicit_typing=True)


def test_torch_executed_ops_with_their_full_names() -> None:
    compiled = torchtrt.compile(
        Net(),
        inputs=[image()],
        min_block_size=1,
        torch_executed_ops={"torch.ops.aten.tanh.default", torch.ops.aten.relu},
    )
    inside = [str(n.target) for s in compiled.torch_segments.values() for n in s.graph.nodes]
    assert "aten.tanh.default" in inside
    assert "aten.relu.default" in inside
    check(compiled(image(4)), answer(Net(), image(4)))


def test_dryrun_says_what_would_run_where(tmp_path: Path) -> None:
    report = torchtrt.compile(Sum(), inputs=[torch.randn(2, 4)] * 2, dryrun=True)
    assert "fewer than min_block_size 5" in report
    path = tmp_path / "report.txt"
    torchtrt.compile(Sum(), inputs=[torch.randn(2, 4)] * 2, dryrun=str(path))
    assert path.read_text().strip() == report.strip()


# ---- options ----


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"'imutable_weights' \(nearest: 'immutable_weights'\)"):
        torchtrt.compile(Net(), inputs=[image()], imutable_weights=False)
    with pytest.raises(TypeError, match=r"'enabled_precision' \(nearest: 'enabled_precisions'\)"):
        torchtrt.MutableTorchTensorRTModule(Net(), enabled_precision={torch.half})
    with pytest.raises(TypeError, match="nearest: 'workspace_size'"):
        torchtrt.dynamo.CompilationSettings(workspace_sise=1)


def test_ignored_options_are_listed_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_options, "_listed", set())
    options: dict[str, Any] = {
        "workspace_size": 1 << 30,
        "optimization_level": 5,
        "use_python_runtime": True,
        "sparse_weights": False,  # The default says nothing.
    }
    with caplog.at_level(logging.WARNING, "regraft"):
        for _ in range(2):
            torchtrt.dynamo.CompilationSettings(**options)
    (message,) = [m for m in caplog.messages if "without meaning" in m]
    assert message.endswith(": optimization_level, use_python_runtime, workspace_size")


def test_tf32_is_disabled_by_name() -> None:
    for disabled, allowed in ((False, True), (True, False)):
        settings = _options.settings_of({"disable_tf32": disabled, "device": "cuda"})
        assert settings["allow_tf32"] is allowed
        assert _options.settings_of({"disable_tf32": disabled})["allow_tf32"] is allowed
        on_host = _options.settings_of({"disable_tf32": disabled, "device": "cpu"})
        assert on_host["allow_tf32"] is False
    with pytest.raises(TypeError, match="disable_tf32: want True or False, have int"):
        _options.settings_of({"disable_tf32": 1})


def test_devices_are_those_of_backends() -> None:
    compiled = torchtrt.compile(
        Net(), inputs=[image()], device=torch.device("cpu"), require_full_compilation=True
    )
    assert compiled.backend == "cpu"
    with pytest.raises(regraft.InvalidArgumentError, match="no backend for 'xpu'"):
        torchtrt.compile(Net(), inputs=[image()], device=torch.device("xpu"))
    for device in ("cuda:1", torch.device("cuda", 1), 1):
        assert _options.settings_of({"device": device})["device"] == "cuda:1"
    assert _options.settings_of({"device": "cuda"})["device"] == "cuda"
    assert "device" not in _options.settings_of({"device": "cpu"})
    with pytest.raises(regraft.InvalidArgumentError, match=r"want a torch\.device"):
        torchtrt.compile(Net(), inputs=[image()], device="gpu!")


@pytest.mark.parametrize("old", ["make_refittable", "refit"])
def test_older_names_of_immutable_weights(old: str) -> None:
    options: dict[str, Any] = {"inputs": [image()], "require_full_compilation": True}
    assert not torchtrt.compile(Net(), **options).is_immutable
    assert not torchtrt.compile(Net(), **options, **{old: True}).is_immutable
    frozen = torchtrt.compile(Net(), **options, **{old: False})
    with pytest.raises(regraft.StateError):
        frozen.refit(Net(1))
    with pytest.raises(regraft.InvalidArgumentError, match="contradict"):
        torchtrt.compile(Net(), **options, **{old: True}, immutable_weights=True)


def test_debug_is_for_one_compilation() -> None:
    before = torchtrt.logging.get_reportable_log_level()
    torchtrt.compile(Net(), inputs=[image()], debug=True)
    assert torchtrt.logging.get_reportable_log_level() == before
    with torchtrt.logging.errors():
        assert torchtrt.logging.get_reportable_log_level() == torchtrt.logging.Level.ERROR
    assert torchtrt.logging.get_reportable_log_level() == before


def test_signatures_show_the_options() -> None:
    shown = inspect.signature(torchtrt.dynamo.compile).parameters
    assert shown["min_block_size"].default == 5
    assert shown["immutable_weights"].default is False
    assert shown["workspace_size"].default == 0
    assert list(inspect.signature(torchtrt.compile).parameters)[:5] == [
        "module",
        "ir",
        "inputs",
        "arg_inputs",
        "kwarg_inputs",
    ]


# ---- Input ----


def test_input_ranges_become_dynamic_sizes() -> None:
    def ranged(name: str) -> torchtrt.Input:
        return torchtrt.Input(
            min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4), dtype=torch.float32, name=name
        )

    # Two sizes that the module wants to be one.
    compiled = torchtrt.compile(Sum(), inputs=[ranged("x"), ranged("other")], min_block_size=1)
    (symbol,) = compiled.signature().symbols
    assert (symbol.min, symbol.max, symbol.optimum) == (1, 8, 3)
    for size in (1, 3, 8):
        x, other = torch.randn(size, 4), torch.randn(size, 4)
        check(compiled(x, other), answer(Sum(), x, other))
    with pytest.raises(regraft.MismatchError):
        compiled(torch.randn(9, 4), torch.randn(9, 4))


def test_input_ranges_in_nested_and_keyword_inputs() -> None:
    class Nested(nn.Module):
        def forward(self, xs: list[Tensor], scale: Any = None, *, k: Tensor) -> Tensor:
            return xs[0] * xs[1] + k

    def ranged() -> torchtrt.Input:
        return torchtrt.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))

    compiled = torchtrt.compile(
        Nested().eval(),
        inputs=[[ranged(), ranged()], None],
        kwarg_inputs={"k": ranged()},
        min_block_size=1,
    )
    x = torch.randn(5, 4)
    check(compiled([x, x], None, k=x), x * x + x)
    program = torchtrt.dynamo.trace(Sum(), [torch.ones(2, 4)] * 2)
    with pytest.raises(regraft.MismatchError, match=r"input 'x'.*; input 'other'"):
        torchtrt.dynamo.compile(program, [ranged(), ranged()])


def test_a_range_that_the_module_does_not_take() -> None:
    x = torchtrt.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))
    with pytest.raises(regraft.InvalidArgumentError, match="does not take these ranges"):
        torchtrt.compile(Sum(), inputs=[x, torch.randn(3, 4)])


def test_inputs_say_what_is_wrong() -> None:
    with pytest.raises(regraft.InvalidArgumentError, match="want shape, or all of"):
        torchtrt.Input()
    with pytest.raises(regraft.InvalidArgumentError, match="have min_shape, max_shape"):
        torchtrt.Input(min_shape=(1,), max_shape=(2,))
    with pytest.raises(regraft.InvalidArgumentError, match="Input 'x': want min_shape <= opt_sha"):
        torchtrt.Input(min_shape=(2,), opt_shape=(1,), max_shape=(2,), name="x")
    with pytest.raises(regraft.InvalidArgumentError, match=r"want a torch\.dtype"):
        torchtrt.Input((1,), dtype="f32")


def test_inputs_make_examples() -> None:
    given = torchtrt.Input(
        (1, 3, 4, 4), dtype=torchtrt.dtype.half, format=torchtrt.TensorFormat.channels_last
    )
    example = given.example_tensor()
    assert example.dtype is torch.float16
    assert example.is_contiguous(memory_format=torch.channels_last)
    ranged = torchtrt.Input({"min_shape": (1, 2), "opt_shape": (2, 2), "max_shape": (4, 2)})
    assert ranged.example_tensor("max_shape").shape == (4, 2)
    assert torchtrt.Input.from_tensor(example).format is torch.channels_last
    assert torchtrt.dtype._from(torch.int64) is torchtrt.dtype.long
    assert torchtrt.dtype.fp32.to(torch.dtype) is torch.float32


# ---- weights ----


def test_refit_of_saved_programs(tmp_path: Path) -> None:
    program = torch.export.export(Net(), (image(),))
    compiled = torchtrt.dynamo.compile(program, [image()], min_block_size=1)
    path = tmp_path / "compiled.ep"
    torchtrt.save(compiled, str(path), inputs=[image()])
    loaded = torchtrt.load(str(path))
    assert isinstance(loaded, torch.export.ExportedProgram)
    assert support.same_bits(loaded.module()(image(4)), compiled(image(4)))
    other = torch.export.export(Net(1), (image(),))
    refitted = torchtrt.dynamo.refit_module_weights(
        loaded, other, arg_inputs=(image(),), verify_output=True
    )
    fresh = torchtrt.dynamo.compile(other, [image()], min_block_size=1)
    assert support.same_bits(refitted(image(4)), fresh(image(4)))
    assert support.same_bits(loaded.module()(image(4)), compiled(image(4)))


def test_files_that_are_refused(tmp_path: Path) -> None:
    compiled = torchtrt.compile(Net(), inputs=[image()], require_full_compilation=True)
    for output_format in ("torchscript", "aot_inductor", "executorch"):
        with pytest.raises(regraft.UnsupportedError, match=f"have '{output_format}'"):
            torchtrt.save(compiled, tmp_path / "x", output_format=output_format)
    with pytest.raises(regraft.InvalidArgumentError, match="want file_path"):
        torchtrt.save(compiled)
    with pytest.raises(FileNotFoundError):
        torchtrt.load(tmp_path / "missing.ep")
    assert not list(tmp_path.iterdir())


def test_files_of_regraft_load_too(tmp_path: Path) -> None:
    compiled = torchtrt.compile(Net(), inputs=[image()], require_full_compilation=True)
    compiled.save(tmp_path / "net.rgf")
    assert support.same_bits(torchtrt.load(tmp_path / "net.rgf")(image()), compiled(image()))
    parts = torchtrt.compile(
        Net(), inputs=[image()], min_block_size=1, torch_executed_ops={"aten.tanh"}
    )
    regraft.save(parts, tmp_path / "parts.rgm")
    assert support.same_bits(torchtrt.load(tmp_path / "parts.rgm")(image()), parts(image()))


def test_engine_bytes() -> None:
    program = torch.export.export(Net(), (image(),))
    data = torchtrt.dynamo.convert_exported_program_to_serialized_trt_engine(program, [image()])
    same = torchtrt.convert_method_to_trt_engine(Net(), inputs=[image()])
    for blob in (data, same):
        check(regraft.Engine.deserialize(blob)(image(4)), answer(Net(), image(4)))
    stripped = torchtrt.convert_method_to_trt_engine(
        Net(), inputs=[image()], strip_engine_weights=True
    )
    with pytest.raises(regraft.StateError):
        regraft.Engine.deserialize(stripped)(image())
    with pytest.raises(regraft.UnsupportedError, match="want 'forward'"):
        torchtrt.convert_method_to_trt_engine(Net(), "other", inputs=[image()])


def test_construct_refit_mapping() -> None:
    settings = torchtrt.dynamo.CompilationSettings(require_full_compilation=True)
    mapping = construct_refit_mapping(Net(), [torchtrt.Input(SHAPE)], settings)
    native = regraft.compile(Net(), (image(),)).constant_values()
    assert sorted(mapping) == sorted(native)
    assert all((mapping[name] == native[name].numpy()).all() for name in native)


class MemoryCache(BaseEngineCache):
    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    def save(self, key: str, blob: bytes) -> None:
        self.entries[key] = blob

    def load(self, key: str) -> bytes | None:
        return self.entries.get(key)


def test_engine_cache_options() -> None:
    options: dict[str, Any] = {
        "inputs": [image()],
        "require_full_compilation": True,
        "cache_built_engines": True,
        "reuse_cached_engines": True,
        "custom_engine_cache": MemoryCache(),
    }
    assert not torchtrt.compile(Net(), **options).from_cache
    hit = torchtrt.compile(Net(1), **options)
    assert hit.from_cache
    check(hit(image()), answer(Net(1), image()))


# ---- while running ----


@pytest.mark.parametrize("by_name", [True, False])
def test_torch_compile(by_name: bool) -> None:
    torch._dynamo.reset()
    model, options = Net(), {"min_block_size": 1, "enabled_precisions": {torch.float}}
    if by_name:
        compiled = torch.compile(model, backend="torch_tensorrt", options=options)
    else:
        compiled = torchtrt.compile(model, ir="torch_compile", inputs=[image()], **options)
    with torch.no_grad():
        check(compiled(image()), answer(model, image()))
        model.load_state_dict(Net(1).state_dict())
        check(compiled(image()), answer(Net(1), image()))


def test_torch_compile_refuses_unknown_options() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(Net(), backend="torch_tensorrt", options={"min_block_sise": 1})
    with pytest.raises(TypeError, match="min_block_size"), torch.no_grad():
        compiled(image())


def test_mutable_module() -> None:
    settings = torchtrt.dynamo.CompilationSettings(
        min_block_size=1, immutable_weights=False, workspace_size=1 << 20
    )
    for mutable in (
        torchtrt.MutableTorchTensorRTModule(Net(), min_block_size=1),
        torchtrt.MutableTorchTensorRTModule(Net(), config=settings),
    ):
        with torch.no_grad():
            check(mutable(image()), answer(Net(), image()))
            mutable.load_state_dict(Net(1).state_dict())
            check(mutable(image()), answer(Net(1), image()))
            engines = mutable.engines
        assert len(engines) == 1
    with pytest.raises(regraft.InvalidArgumentError, match="want False"):
        torchtrt.MutableTorchTensorRTModule(Net(), immutable_weights=True)
    with pytest.raises(regraft.InvalidArgumentError, match="not both"):
        torchtrt.MutableTorchTensorRTModule(Net(), config=settings, min_block_size=1)


def test_mutable_modules_as_files(tmp_path: Path) -> None:
    mutable = torchtrt.MutableTorchTensorRTModule(
        Net(), min_block_size=1, enabled_precisions={torch.bfloat16}
    )
    path = tmp_path / "mutable.zip"
    with torch.no_grad():
        want = mutable(image())
        torchtrt.MutableTorchTensorRTModule.save(mutable, path)
        loaded = torchtrt.MutableTorchTensorRTModule.load(path, Net())
        assert support.same_bits(loaded(image()), want)
        alone = torchtrt.MutableTorchTensorRTModule.load(path)
        assert support.same_bits(alone(image()), want)
        alone.load_state_dict(Net(1).state_dict())
        mutable.load_state_dict(Net(1).state_dict())
        assert support.same_bits(alone(image()), mutable(image()))
        assert isinstance(alone, torchtrt.MutableTorchTensorRTModule)
        options = {"enabled_precisions": {torch.float}}
        single = torchtrt.MutableTorchTensorRTModule.load(path, Net(), **options)
        check(single(image()), answer(Net(), image()))


def test_torch_compile_lists_what_it_cannot_do(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_options, "_listed", set())
    with caplog.at_level(logging.WARNING, "regraft"):
        torchtrt.compile(Net(), ir="torch_compile", dryrun=True, strip_engine_weights=True)
    assert any(m.endswith(": dryrun, strip_engine_weights") for m in caplog.messages)


# ---- the tutorial ----


def test_the_tutorial(tmp_path: Path) -> None:
    import torchvision

    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    state = torchvision.models.resnet18(weights=None).state_dict()
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    torch.save(state, checkpoints / url.rsplit("/", 1)[1])
    script = ROOT / "examples/refit_tutorial.py"
    result = subprocess.run(
        [sys.executable, script, "--size", "32"],
        env={**os.environ, "TORCH_HOME": str(tmp_path), "PYTHONPATH": str(BUILD / "python")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "refitted in" in result.stdout
    assert "in place" in result.stdout

"""The options of Torch-TensorRT, and what they are called in Regraft."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch

from regraft import _regraft
from regraft._want import want_type
from regraft.cache import DEFAULT_SIZE
from regraft.errors import InvalidArgumentError
from regraft.settings import want_known
from regraft.torch_tensorrt._enums import torch_dtype

_logger = logging.getLogger("regraft")

Function = TypeVar("Function", bound=Callable[..., Any])

# What does here what it says.
USED: dict[str, Any] = {
    "device": None,
    "disable_tf32": False,
    "enabled_precisions": frozenset({torch.float32}),
    "truncate_double": False,
    "require_full_compilation": False,
    "min_block_size": 5,
    "torch_executed_ops": (),
    "dryrun": False,
    "debug": False,
    "use_explicit_typing": False,
    "immutable_weights": False,
    "strip_engine_weights": False,
    "refit_identical_engine_weights": False,
    "cache_built_engines": False,
    "reuse_cached_engines": False,
    "engine_cache_dir": None,
    "engine_cache_size": DEFAULT_SIZE,
    "custom_engine_cache": None,
}

# Older names: the meaning is that of immutable_weights, the other way round.
OLD = ("make_refittable", "make_refitable", "refit")

# What has no meaning here: accepted, and listed in one line of the log.
IGNORED: dict[str, Any] = {
    "allow_shape_tensors": False,
    "assume_dynamic_shape_support": False,
    "attn_bias_is_causal": True,
    "autocast_calibration_dataloader": None,
    "autocast_excluded_nodes": None,
    "autocast_excluded_ops": None,
    "autocast_low_precision_type": None,
    "autocast_max_depth_of_reduction": None,
    "autocast_max_output_threshold": 512,
    "calibrator": None,
    "cpu_memory_budget": None,
    "cross_compile_for_windows": False,
    "decompose_attention": False,
    "disabled_constant_fold_exclusions": None,
    "dla_global_dram_size": 536870912,
    "dla_local_dram_size": 1073741824,
    "dla_sram_size": 1048576,
    "dynamically_allocate_resources": False,
    "enable_autocast": False,
    "enable_cross_compile_for_windows": False,
    "enable_experimental_decompositions": False,
    "enable_resource_partitioning": False,
    "enable_weight_streaming": False,
    "engine_capability": None,
    "hardware_compatible": False,
    "input_binding_names": None,
    "l2_limit_for_tiling": -1,
    "lazy_engine_init": False,
    "max_aux_streams": None,
    "num_avg_timing_iters": 1,
    "offload_module_to_cpu": False,
    "optimization_level": None,
    "output_binding_names": None,
    "pass_through_build_failures": False,
    "sparse_weights": False,
    "tiling_optimization_level": "none",
    "timing_cache_path": None,
    "torch_executed_modules": None,
    "use_aot_joint_export": True,
    "use_distributed_mode_trace": False,
    "use_fast_partitioner": True,
    "use_fp32_acc": False,
    "use_python_runtime": False,
    "version_compatible": False,
    "workspace_size": 0,
}

_UNCHANGED = (
    "truncate_double",
    "require_full_compilation",
    "immutable_weights",
    "strip_engine_weights",
    "refit_identical_engine_weights",
    "cache_built_engines",
    "reuse_cached_engines",
    "engine_cache_dir",
    "engine_cache_size",
    "custom_engine_cache",
)
_lock = threading.Lock()
_listed: set[str] = set()


def settings_of(options: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """Settings for ``regraft.compile`` from options of Torch-TensorRT.

    Args:
        options: Those that were given.
        *others: Names that are options too, for the caller to take.

    Raises:
        TypeError: Unknown names; each with the nearest one.
        InvalidArgumentError: Values that do not fit.
    """
    want_known(options, [*USED, *OLD, *IGNORED, *others])
    list_ignored({n: v for n, v in options.items() if n in IGNORED and v != IGNORED[n]})
    given = _without_old({n: v for n, v in options.items() if n in USED or n in OLD})
    full = {**USED, **given}
    settings = {name: full[name] for name in _UNCHANGED}
    settings["backend"] = backend_of(full["device"])
    if settings["backend"] == "cuda":
        settings["device"] = device_of(full["device"])
    settings["precision"] = _precision(full["enabled_precisions"], full["use_explicit_typing"])
    want_type("[torch_tensorrt] disable_tf32", full["disable_tf32"], bool)
    settings["allow_tf32"] = settings["backend"] in (None, "cuda") and not full["disable_tf32"]
    settings["torch_executed_ops"] = _ops(full["torch_executed_ops"])
    # A whole program is no block, and 0 says the same as 1.
    want_type("[torch_tensorrt] min_block_size", full["min_block_size"], int)
    blocks = 1 if full["require_full_compilation"] else full["min_block_size"]
    settings["min_block_size"] = max(blocks, 1)
    settings["dryrun"] = bool(full["dryrun"])
    return settings


def device_of(device: Any) -> str:
    """What PyTorch calls a CUDA device, which may be given by its number."""
    return f"cuda:{device}" if isinstance(device, int) else str(torch.device(device))


def backend_of(device: Any) -> str | None:
    """The backend for a device; None without one, for that of the model's tensors.

    Raises:
        InvalidArgumentError: It is no device, or no backend of this build runs there.
    """
    if device is None:
        return None
    try:
        kind = "cuda" if isinstance(device, int) else torch.device(device).type
    except (TypeError, RuntimeError) as error:
        raise InvalidArgumentError(
            f"[torch_tensorrt] device: want a torch.device or its name, have {device!r}"
        ) from error
    if kind not in _regraft.backends():
        raise InvalidArgumentError(
            f"[torch_tensorrt] device: this build has no backend for {kind!r}; it has "
            f"{', '.join(_regraft.backends())}"
        )
    return kind


def _without_old(given: dict[str, Any]) -> dict[str, Any]:
    for name in (*OLD, "immutable_weights"):
        want_type(f"[torch_tensorrt] {name}", given.get(name, False), bool)
    said = {name: not given.pop(name) for name in OLD if name in given}
    if "immutable_weights" in given:
        said["immutable_weights"] = given["immutable_weights"]
    if len(set(said.values())) > 1:
        raise InvalidArgumentError(
            f"[torch_tensorrt] {', '.join(said)} contradict each other; pass immutable_weights"
        )
    if said:
        given["immutable_weights"] = next(iter(said.values()))
    return given


def _precision(enabled: Any, is_explicit: bool) -> str:
    if isinstance(enabled, torch.dtype) or not hasattr(enabled, "__iter__"):
        enabled = [enabled]
    kinds = {torch_dtype(value) for value in enabled}
    allowed = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
    others = sorted(str(kind) for kind in kinds - allowed)
    if others:
        raise InvalidArgumentError(
            "[torch_tensorrt] enabled_precisions: want float32, float16 or bfloat16, have "
            + ", ".join(others)
        )
    # Both are allowed where both are named: bfloat16 cannot overflow where float32 does not.
    low = next((k for k in (torch.bfloat16, torch.float16) if k in kinds), None)
    if low is not None and is_explicit:
        raise InvalidArgumentError(
            f"[torch_tensorrt] use_explicit_typing computes in the program's own dtypes; "
            f"enabled_precisions must not name {low}"
        )
    return {None: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}[low]


def _ops(ops: Any) -> tuple[Any, ...]:
    if isinstance(ops, str) or not isinstance(ops, Iterable | None):
        raise InvalidArgumentError(
            f"[torch_tensorrt] torch_executed_ops: want a collection of ops, have {ops!r}"
        )
    return tuple(op.removeprefix("torch.ops.") if isinstance(op, str) else op for op in ops or ())


def list_ignored(given: Mapping[str, Any]) -> None:
    """Says once of every option that it has no meaning here."""
    with _lock:
        new = sorted(set(given) - _listed)
        _listed.update(new)
    if new:
        _logger.warning("[torch_tensorrt] options without meaning here: %s", ", ".join(new))


def with_options(function: Function) -> Function:
    """Shows the options in a function's signature instead of ``**options``."""
    own = inspect.signature(function)
    fixed = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = {p.name for p in fixed}
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in {**USED, **IGNORED}.items()
        if name not in taken
    ]
    target: Any = function
    target.__signature__ = own.replace(parameters=[*fixed, *named])
    return function

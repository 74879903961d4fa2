"""What a compilation is asked for."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from regraft._want import RETAIN, have, want_choice, want_type
from regraft.cache import DEFAULT_SIZE, BaseEngineCache, want_cache
from regraft.errors import InvalidArgumentError

Progress: TypeAlias = Callable[[str, str, float, Callable[[], str]], None]

PRECISIONS = ("f32", "bf16", "f16")


@dataclass(frozen=True)
class CompilationSettings:
    """Options of ``regraft.compile``; each is a keyword argument there.

    Attributes:
        backend: One of ``regraft.backends()``. By default that of ``device``, or of the model:
            "cuda" where its tensors are on a GPU, and "cpu" for other models and for files.
        device: Where a "cuda" engine runs: "cuda:1". By default, PyTorch's current device where
            ``backend`` is given, and otherwise where the model is.
        precision: What is computed where the program says float32: "f32", "bf16" or "f16". Inputs
            and outputs keep their dtypes; weights are folded in float32 and rounded once.
        allow_tf32: Products and convolutions of float32 may be calculated in TF32, as with
            ``torch.backends.cuda.matmul.allow_tf32`` and ``torch.backends.cudnn.allow_tf32``:
            operands with 10 bits of mantissa, sums in float32. "cuda" does so; other backends stay
            in float32.
        truncate_double: Compute float64 in float32. Inputs, outputs and weights keep their dtypes.
        optimum: Sizes to tune for: tensors of the flat inputs, or sizes by symbol of the signature.
        name: For messages; the module's class name by default.
        min_block_size: An engine of fewer nodes is not worth its call; they run in PyTorch.
        torch_executed_ops: Ops that run in PyTorch: "aten.relu", "aten::relu.default" or the op
            itself.
        require_full_compilation: Raise instead of running anything in PyTorch.
        dryrun: Return the text that says what would run where, and compile nothing.
        immutable_weights: Keep the final constants only; refits are refused.
        strip_engine_weights: Leave the weights out; the result must be refitted before it runs.
        refit_identical_engine_weights: Accept only weights that are bit for bit those compiled.
        retain: Which parameters stay at hand for partial refits and saving: "auto", "host", "none".
        realised: Text of ``Engine.realised_plan()`` whose choices to repeat.
        disabled_passes: Names out of ``regraft.pass_names()``.
        cache_built_engines: Leave every engine that is built in the cache.
        reuse_cached_engines: Look engines up in the cache before building them.
        engine_cache_dir: Folder of the cache; the user's cache folder by default.
        engine_cache_size: Bytes that the cache may take.
        custom_engine_cache: A cache of one's own, instead of the folder.
    """

    backend: str | None = None
    device: str | torch.device | None = None
    precision: str = "f32"
    allow_tf32: bool = False
    truncate_double: bool = False
    optimum: tuple[torch.Tensor, ...] | Mapping[str, int] | None = None
    name: str | None = None
    min_block_size: int = 1
    torch_executed_ops: tuple[Any, ...] = ()
    require_full_compilation: bool = False
    dryrun: bool = False
    immutable_weights: bool = False
    strip_engine_weights: bool = False
    refit_identical_engine_weights: bool = False
    retain: str = "auto"
    realised: str = ""
    disabled_passes: tuple[str, ...] = ()
    cache_built_engines: bool = False
    reuse_cached_engines: bool = False
    engine_cache_dir: str | os.PathLike[str] | None = None
    engine_cache_size: int = DEFAULT_SIZE
    custom_engine_cache: BaseEngineCache | None = None

    def __post_init__(self) -> None:
        self._want_types()
        object.__setattr__(self, "torch_executed_ops", op_names(self.torch_executed_ops))
        object.__setattr__(self, "disabled_passes", tuple(self.disabled_passes))
        if self.min_block_size < 1:
            raise InvalidArgumentError(
                f"[partitioning] min_block_size: want at least 1, have {self.min_block_size}"
            )
        exclusive = [
            name
            for name in (
                "immutable_weights",
                "strip_engine_weights",
                "refit_identical_engine_weights",
            )
            if getattr(self, name)
        ]
        if self.immutable_weights and len(exclusive) > 1:
            raise InvalidArgumentError(
                f"[pipeline] {' and '.join(exclusive)} exclude each other: immutable weights "
                "cannot be refitted"
            )

    def _want_types(self) -> None:
        want_type("[pipeline] realised", self.realised, str)
        for field in dataclasses.fields(self):
            if isinstance(field.default, bool):
                want_type(f"[pipeline] {field.name}", getattr(self, field.name), bool)
        want_choice("[pipeline] precision", self.precision, PRECISIONS)
        want_choice("[pipeline] retain", self.retain, RETAIN)
        want_type("[partitioning] min_block_size", self.min_block_size, int)
        for name in ("backend", "name"):
            if getattr(self, name) is not None:
                want_type(f"[pipeline] {name}", getattr(self, name), str)
        if not isinstance(self.device, str | torch.device | None):
            raise TypeError(f"[pipeline] device: want a device, have {have(self.device)}")
        passes = self.disabled_passes
        if isinstance(passes, str) or not isinstance(passes, Iterable):
            raise TypeError(f"[compilation] disabled_passes: want names, have {have(passes)}")
        if not isinstance(self.optimum, tuple | Mapping | None):
            raise TypeError(
                "[pipeline] optimum: want a tuple of tensors or sizes by symbol, have "
                f"{have(self.optimum)}"
            )
        want_cache(self.engine_cache_dir, self.engine_cache_size, self.custom_engine_cache)


# Those that decide what is compiled; others are about one process.
_STORED = (
    "backend",
    "precision",
    "allow_tf32",
    "truncate_double",
    "min_block_size",
    "torch_executed_ops",
    "require_full_compilation",
    "disabled_passes",
)


def settings_text(settings: CompilationSettings) -> str:
    """What decides what is compiled, as JSON."""
    return json.dumps({name: getattr(settings, name) for name in _STORED})


def restored_settings(text: str, **others: Any) -> CompilationSettings:
    """Settings of ``settings_text``, and others."""
    stored = {k: v for k, v in json.loads(text).items() if k in _STORED}
    return make_settings({**stored, **others})


def make_settings(options: Mapping[str, Any]) -> CompilationSettings:
    """Settings of keyword arguments.

    Raises:
        TypeError: An option does not exist; names the nearest one.
    """
    want_known(options, [field.name for field in dataclasses.fields(CompilationSettings)])
    return CompilationSettings(**options)


def want_known(options: Mapping[str, Any], known: list[str]) -> None:
    """Raises a TypeError that names every option which is not in ``known``."""
    problems = []
    for name in options:
        if name in known:
            continue
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        problems.append(f"{name!r}" + (f" (nearest: {near[0]!r})" if near else ""))
    if problems:
        raise TypeError(f"unknown option {', '.join(problems)}; have {', '.join(sorted(known))}")


def op_names(ops: Any) -> tuple[str, ...]:
    """Names of ops given as text or as the ops themselves."""
    if isinstance(ops, str):
        raise TypeError("torch_executed_ops: want a collection of ops, have one string")
    if not isinstance(ops, Iterable):
        raise TypeError(f"torch_executed_ops: want a collection of ops, have {have(ops)}")
    names = []
    unknown = []
    for op in ops:
        if isinstance(op, str):
            names.append(op)
            if not _exists(op):
                unknown.append(op)
        elif isinstance(op, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
            names.append(str(op).replace("::", "."))
        else:
            raise TypeError(
                f"torch_executed_ops: want names or torch ops, have {type(op).__name__} {op!r}"
            )
    if unknown:
        raise InvalidArgumentError(
            f"[partitioning] torch_executed_ops: PyTorch has no {', '.join(map(repr, unknown))}"
        )
    return tuple(sorted(set(names)))


def _exists(name: str) -> bool:
    """Whether a name is that of an op, "aten.relu" or "aten::relu.default"."""
    library, _, rest = name.removeprefix("torch.ops.").replace("::", ".").partition(".")
    op, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, library), op, None) if library and op else None
    return packet is not None and (not overload or hasattr(packet, overload))

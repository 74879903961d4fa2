"""Hands an ExportedProgram to the core: its graph as JSON, its tensors by address."""

from __future__ import annotations

import copy
import io
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from regraft import _regraft
from regraft._tracing import tracing_lock
from regraft.errors import UnsupportedError

Row = tuple[str, int, str, Sequence[int], Sequence[int]]

_DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.bool: "bool",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float32: "f32",
    torch.float64: "f64",
    torch.complex64: "c64",
    torch.complex128: "c128",
    torch.float8_e4m3fn: "f8e4m3fn",
    torch.float8_e5m2: "f8e5m2",
}
# None of them is a fake or a lazy tensor.
ORDINARY = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
# By the core's words.
DTYPES = {name: dtype for dtype, name in _DTYPE_NAMES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """The core's word for a dtype; PyTorch's own where the core has none."""
    return _DTYPE_NAMES.get(dtype, str(dtype))


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of the core's word for it."""
    return DTYPES[name]


@dataclass
class Handover:
    """What the core needs of a program.

    Attributes:
        program: As it was exported, or as PyTorch made it functional.
        json: The serialised graph (``models/model.json`` of a ``.pt2``), without weights.
        tensors: Parameters, buffers and lifted constants by FQN; kept alive by this object.
        in_spec, out_spec: Serialised pytrees of the call.
    """

    program: ExportedProgram
    json: bytes
    tensors: dict[str, torch.Tensor]
    in_spec: str
    out_spec: str
    rows: list[Row] = field(default_factory=list)


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as strided host memory without autograd; no copy where it already is."""
    tensor = resolved(tensor)
    return tensor if tensor.device.type == "cpu" else tensor.cpu()


def resolved(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as strided memory where it is, without autograd.

    Raises:
        TypeError: It is none.
    """
    if tensor.layout != torch.strided or tensor.is_nested or isinstance(tensor, FakeTensor):
        raise TypeError(unreadable(tensor))
    tensor = tensor.detach()
    if not tensor.is_meta and tensor.data_ptr() == 0 and tensor.numel():
        raise TypeError(unreadable(tensor))  # Copying it would end the process.
    if tensor.is_conj():
        tensor = tensor.resolve_conj()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return tensor


def unreadable(value: Any) -> str:
    """Why a value is no tensor whose elements can be read; empty where it is one."""
    if (
        type(value) in ORDINARY
        and value.dtype in _DTYPE_NAMES
        and value.layout is torch.strided
        and not value.is_nested
        and not value.is_meta
        and (value.data_ptr() or not value.numel())
    ):
        return ""
    return _why_unreadable(value)


def _why_unreadable(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"want a tensor, have {type(value).__name__}"
    if torch.nn.parameter.is_lazy(value):
        return "is a parameter that has no sizes yet: call the module once before"
    if value.is_nested:
        return "want one tensor, have a nested one"
    if value.layout != torch.strided:
        return f"want a strided tensor, have layout {value.layout}"
    if value.is_meta:
        return "is a meta tensor and has no values"
    if value.dtype not in _DTYPE_NAMES:
        return f"dtype {value.dtype} is not supported"
    if value.numel() and (isinstance(value, FakeTensor) or not value.data_ptr()):
        return "has no memory: its storage was freed, or it is a fake tensor"
    return ""


def _is_plain(tensor: torch.Tensor, ordinal: int) -> bool:
    # The ordinal of the host is -1.
    return (
        (tensor.is_cpu or (tensor.is_cuda and tensor.get_device() == ordinal))
        and tensor.layout is torch.strided
        and not tensor.is_neg()
        and not tensor.is_conj()
        and not tensor.is_nested
    )


def rows_of(
    tensors: Mapping[str, torch.Tensor], device: torch.device | None = None
) -> tuple[list[Row], list[torch.Tensor]]:
    """Addresses of tensors for the core, and the tensors that must be kept alive meanwhile.

    Tensors of ``device`` stay there; others are brought to the host.

    Raises:
        TypeError: A value is not a tensor the core can read; lists every such name.
    """
    rows: list[Row] = []
    kept: list[torch.Tensor] = []
    bad: list[str] = []
    copies: dict[tuple[Any, ...], torch.Tensor] = {}
    ordinal = ordinal_of(device)
    for name, value in tensors.items():
        # Most of the time of a small refit: no detach() where none is needed.
        if type(value) in ORDINARY and _is_plain(value, ordinal) and type(name) is str:
            dtype = _DTYPE_NAMES.get(value.dtype)
            address = value.data_ptr()
            if dtype is not None and (address or not value.numel()):
                kept.append(value)
                rows.append((name, address, dtype, value.shape, value.stride()))
                continue
        if type(name) is not str:
            bad.append(f"{name!r}: want a name, have {type(name).__name__}")
            continue
        if problem := unreadable(value):
            bad.append(f"{name}: {problem}")
            continue
        # Tensors that share their memory share the copy: ties are seen by addresses.
        place = _place(value)
        tensor = copies.get(place)
        if tensor is None:
            is_near = device is not None and value.device == device
            tensor = copies[place] = resolved(value) if is_near else plain(value)
        kept.append(tensor)
        dtype = _DTYPE_NAMES[value.dtype]
        rows.append((name, tensor.data_ptr(), dtype, tensor.shape, tensor.stride()))
    if bad:
        raise TypeError("these weights cannot be read:\n  " + "\n  ".join(bad))
    return rows, kept


def source_of(
    tensors: Mapping[str, torch.Tensor], device: torch.device | None = None
) -> tuple[_regraft.WeightSource, Any]:
    """A source of tensors for the core, and what must be kept alive while it is used.

    Tensors of ``device`` stay there; others are brought to the host.

    Raises:
        TypeError: As ``rows_of``.
    """
    # A copy, as the mapping may change meanwhile; by items(), which subclasses of dict may make up.
    kept = dict(tensors if type(tensors) in (dict, OrderedDict) else tensors.items())
    source = _regraft.try_source(kept, ordinal_of(device))
    if source is not None:
        return source, kept
    rows, copies = rows_of(kept, device)
    return _regraft.rows_source(rows), copies


def table_of(
    tensors: Sequence[torch.Tensor], device: torch.device | None = None
) -> tuple[_regraft.Table, Any]:
    """Tensors for the core one after the other, and what must be kept alive while it reads them.

    Raises:
        TypeError: As ``rows_of``.
    """
    named = {str(i): tensor for i, tensor in enumerate(tensors)}
    table = _regraft.try_table(named, ordinal_of(device))
    if table is not None:
        return table, None
    rows, kept = rows_of(named, device)
    return _regraft.rows_table(rows), kept


def ordinal_of(device: torch.device | None) -> int:
    """The number of a GPU; -1 for the host."""
    return -1 if device is None or device.type != "cuda" else device.index or 0


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are one."""
    flags = (tensor.is_conj(), tensor.is_neg())
    layout = (tensor.dtype, tensor.shape, tensor.stride())
    return (tensor.device, tensor.data_ptr(), *layout, *flags)


def tensors_of(program: ExportedProgram) -> dict[str, torch.Tensor]:
    """Every tensor a program owns: parameters, buffers of both kinds, lifted constants."""
    tensors: dict[str, torch.Tensor] = dict(program.state_dict)
    constants: Iterable[tuple[str, Any]] = program.constants.items()
    tensors.update({k: v for k, v in constants if isinstance(v, torch.Tensor)})
    return tensors


def _without_values(program: ExportedProgram) -> ExportedProgram:
    # Weights as fake tensors: the archive then holds the graph and no bytes.
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode()
    shallow = copy.copy(program)
    fakes: dict[str, torch.Tensor] = {}
    for name, tensor in program.state_dict.items():
        fake: torch.Tensor = mode.from_tensor(tensor.detach())
        if isinstance(tensor, torch.nn.Parameter):
            fake = torch.nn.Parameter(fake, requires_grad=tensor.requires_grad)
        fakes[name] = fake
    shallow._state_dict = fakes
    return shallow


def is_functional(program: ExportedProgram) -> bool:
    """Whether a program has no in-place ops: PyTorch has decomposed it already."""
    return not any(verifier.dialect == "TRAINING" for verifier in program.verifiers)


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program without in-place ops, of any library.

    Raises:
        UnsupportedError: PyTorch cannot take them out.
    """
    if is_functional(program):
        return program
    try:
        with tracing_lock():
            return program.run_decompositions({})
    except Exception as error:
        raise UnsupportedError(
            f"[program] PyTorch cannot make it functional: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    """Others are a traceback."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def hand_over(program: ExportedProgram) -> Handover:
    """Prepares a program for the core without copying its weights.

    Raises:
        UnsupportedError: PyTorch cannot serialise it.
    """
    tensors = tensors_of(program)
    buffer = io.BytesIO()
    with tracing_lock(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.save(_without_values(program), buffer)
        except Exception as error:
            raise UnsupportedError(
                f"[program] PyTorch cannot serialise it: {_first_line(error)}"
            ) from error
    with zipfile.ZipFile(buffer) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("models/model.json")]
        json = archive.read(name)
    return Handover(
        program=program,
        json=json,
        tensors=tensors,
        in_spec=pytree.treespec_dumps(program.call_spec.in_spec),
        out_spec=pytree.treespec_dumps(program.call_spec.out_spec),
    )

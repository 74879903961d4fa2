"""Hands an ExportedProgram to the core: its graph as JSON, its tensors by address."""

from __future__ import annotations

import copy
import io
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

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
}
_DTYPES = {name: dtype for dtype, name in _DTYPE_NAMES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """The core's word for a dtype; PyTorch's own where the core has none."""
    return _DTYPE_NAMES.get(dtype, str(dtype))


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of the core's word for it."""
    return _DTYPES[name]


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
    """The tensor as strided memory where it is, without autograd."""
    tensor = tensor.detach()
    if tensor.is_conj():
        tensor = tensor.resolve_conj()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.layout != torch.strided:
        raise TypeError(f"want a strided tensor, have layout {tensor.layout}")
    return tensor


def _is_plain(tensor: torch.Tensor, ordinal: int) -> bool:
    # The ordinal of the host is -1.
    return (
        (tensor.is_cpu or (tensor.is_cuda and tensor.get_device() == ordinal))
        and tensor.layout is torch.strided
        and not tensor.is_neg()
        and not tensor.is_conj()
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
    ordinal = -1 if device is None or device.type != "cuda" else device.index or 0
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            bad.append(f"{name}: want a tensor, have {type(value).__name__}")
            continue
        dtype = _DTYPE_NAMES.get(value.dtype)
        if dtype is None:
            bad.append(f"{name}: dtype {value.dtype} is not supported")
            continue
        if value.is_meta:
            bad.append(f"{name}: is a meta tensor and has no values")
            continue
        # Most of the time of a small refit: no detach() where none is needed.
        if _is_plain(value, ordinal):
            tensor = value
        elif device is not None and value.device == device:
            tensor = resolved(value)
        else:
            tensor = plain(value)
        kept.append(tensor)
        rows.append((name, tensor.data_ptr(), dtype, tensor.shape, tensor.stride()))
    if bad:
        raise TypeError("these weights cannot be read:\n  " + "\n  ".join(bad))
    return rows, kept


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
    """The program without in-place ops, of any library."""
    return program if is_functional(program) else program.run_decompositions({})


def hand_over(program: ExportedProgram) -> Handover:
    """Prepares a program for the core without copying its weights."""
    tensors = tensors_of(program)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(_without_values(program), buffer)
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

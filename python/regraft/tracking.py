"""Which weights changed since an engine last took them: cheap enough to ask before every call.

What PyTorch leaves a trace of is found without reading a byte: in-place operations count up a
tensor's version, replaced tensors are other objects, ``p.data = other`` moves the address. A tensor
and its storage are held, so no new tensor can pass for an old one at a reused address.

Writes through ``p.data`` views, NumPy or raw pointers leave no trace in PyTorch. Digests of the
bytes find them, at the price of reading all weights; see ``docs/torch_compile.md``.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from regraft import _regraft
from regraft._handover import plain
from regraft._merges import watch_merges
from regraft._optimizers import watch_optimizers
from regraft._want import have
from regraft.errors import InvalidArgumentError, NotFoundError

TRACK = ("version", "digest", "none")

# The class of all tensors that is written in C.
_TENSOR = torch.Tensor.__bases__[0]

Digest: TypeAlias = tuple[int, int]
_Layout: TypeAlias = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]


# Running statistics: PyTorch's batch and instance norm write them without counting a version. They
# are small, so their bytes are compared before every call.
_UNTRACED = ("running_mean", "running_var")


class _Hashed:
    """Digests of the values of tensors in logical order, and of the memory behind them."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        given = [tensor.detach() for tensor in tensors]
        self._kept = [plain(tensor).contiguous() for tensor in given]
        pairs = zip(given, self._kept, strict=True)
        self._copied = any(a.data_ptr() != b.data_ptr() for a, b in pairs)
        self._core = _regraft.Digests(
            [(t.data_ptr(), t.numel() * t.element_size()) for t in self._kept]
        )

    @property
    def values(self) -> list[Digest]:
        return self._core.values

    def same(self) -> bool:
        """Whether nothing was written to the tensors; False also when only reading tells."""
        return not self._copied and self._core.same()


def digests(tensors: Iterable[torch.Tensor]) -> list[Digest]:
    """XXH3 digests (128 bits) of the values of tensors in logical order, on all threads."""
    return _Hashed(tensors).values


@dataclass(frozen=True)
class _State:
    """What a list of tensors was at one moment; keeps tensors and storages alive."""

    tensors: list[torch.Tensor]
    stamps: _regraft.TensorStamps
    layouts: list[_Layout]
    storages: list[torch.UntypedStorage]
    hashed: _Hashed | None
    digests: dict[int, Digest]


class WeightTracker:
    """Tells which of its tensors changed since ``accept``.

    Not thread-safe. The order of calls is ``changed`` (remembers what it saw), reading the weights,
    ``accept`` (what was seen becomes the past): a write between the first two is found next time.

    Args:
        names: What ``changed`` calls the tensors.
        tensors: The tensors, in the order of ``names``.
        track: "version" (identity, version counter, address, layout), "digest" (these and the
            bytes), "none" (only what ``notify`` says).

    Raises:
        InvalidArgumentError: ``track`` is none of these.
    """

    def __init__(
        self, names: Sequence[str], tensors: Sequence[torch.Tensor], track: str = "version"
    ) -> None:
        if track not in TRACK:
            raise InvalidArgumentError(
                f"[tracking] track: want one of {', '.join(map(repr, TRACK))}, have {track!r}"
            )
        if len(names) != len(tensors):
            raise InvalidArgumentError(
                f"[tracking] want a tensor per name, have {len(tensors)} of {len(names)}"
            )
        watch_optimizers()
        self._sees_merges = watch_merges()
        self._names = list(names)
        self._track = track
        self._announced: set[str] = set()
        self._has_looked = False
        # From here on, other threads announce: nothing is missed between this look and the next.
        _trackers.add(self)
        self._past = self._look(list(tensors))
        self._seen = self._past
        self._guard = _layout_guard(self._past.tensors)
        self._has_looked = True

    def changed(self, tensors: list[torch.Tensor] | None = None) -> list[str]:
        """Names of the tensors that changed, in order.

        Args:
            tensors: The tensors now in the places of the names; by default those of before.
        """
        now = self._past.tensors if tensors is None else tensors
        if self._track == "none":
            return self._announced_of(now)
        if not self._sees_merges and "peft" in sys.modules:
            # Whatever was merged since PEFT was imported is not known.
            self._sees_merges = watch_merges()
            self.notify()
        if (
            not self._announced
            and self._past.stamps.same(now)
            and self._guard(now)
            and (self._past.hashed is None or self._past.hashed.same())
        ):
            return []
        return self._compare(list(now))

    def accept(self) -> None:
        """What ``changed`` last saw is from now on the past."""
        if self._seen is not self._past:
            self._past = self._seen
            self._guard = _layout_guard(self._past.tensors)
        self._announced.clear()

    def notify(self, names: Collection[str] | None = None) -> None:
        """Announces writes that leave no trace; ``changed`` reports them until ``accept``.

        Args:
            names: Of the tensors written to; None means all.

        Raises:
            NotFoundError: Names that are not tracked; lists every one.
        """
        if names is None:
            self._announced.update(self._names)
            return
        unknown = sorted(set(names) - set(self._names))
        if unknown:
            raise NotFoundError(f"[tracking] no weight is named {', '.join(unknown)}")
        self._announced.update(names)

    def notify_tensors(self, tensors: Iterable[torch.Tensor]) -> None:
        """Announces writes to whatever of ``tensors`` is tracked, views of it included."""
        if not self._has_looked:  # Whose memory is whose is not known yet.
            self.notify()
            return
        # Sparse tensors have none; what is tracked has one.
        strided = (t for t in tensors if t.layout == torch.strided and not t.is_nested)
        storages = {tensor.untyped_storage()._cdata for tensor in strided}
        for name, storage in zip(self._names, self._past.storages, strict=True):
            if storage._cdata in storages:
                self._announced.add(name)

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return list(self._names)

    def _announced_of(self, now: list[torch.Tensor]) -> list[str]:
        if self._announced:
            self._seen = self._look(now)
        return [name for name in self._names if name in self._announced]

    def _look(self, tensors: list[torch.Tensor]) -> _State:
        try:
            stamps = _regraft.TensorStamps(tensors, _TENSOR)
        except (TypeError, RuntimeError):
            _want_strided(self._names, tensors)
            raise
        # Stamps before digests: a write in between is found next time.
        at = [i for i, tensor in enumerate(tensors) if self._is_hashed(self._names[i], tensor)]
        hashed = _Hashed(tensors[i] for i in at) if at else None
        return _State(
            tensors,
            stamps,
            [(t.shape, t.stride(), t.dtype, t.device) for t in tensors],
            [t.untyped_storage() for t in tensors],
            hashed,
            dict(zip(at, hashed.values, strict=True)) if hashed else {},
        )

    def _is_hashed(self, name: str, tensor: torch.Tensor) -> bool:
        if self._track != "version":
            return self._track == "digest"
        return tensor.is_inference() or name.endswith(_UNTRACED)

    def _compare(self, now: list[torch.Tensor]) -> list[str]:
        past, seen = self._past, self._look(now)
        self._seen = seen
        versions = zip(past.stamps.versions, seen.stamps.versions, strict=True)
        addresses = zip(past.stamps.addresses, seen.stamps.addresses, strict=True)
        written: list[int] = []
        for i, (version, address) in enumerate(zip(versions, addresses, strict=True)):
            if past.layouts[i] != seen.layouts[i]:
                written.append(i)
            elif i in past.digests and i in seen.digests:
                if past.digests[i] != seen.digests[i]:
                    written.append(i)
            elif now[i] is not past.tensors[i] or len({*version}) > 1 or len({*address}) > 1:
                written.append(i)
        # Two tensors over one storage may count versions apart: a write to one is one to both.
        storages = {seen.storages[i].data_ptr() for i in written if i not in seen.digests}
        changed = {
            *written,
            *(i for i, s in enumerate(seen.storages) if storages and s.data_ptr() in storages),
        }
        names = [n for i, n in enumerate(self._names) if i in changed or n in self._announced]
        if not names:
            # A digest said that nothing happened, or only the mode of the guard changed.
            self.accept()
        return names


def _want_strided(names: Sequence[str], tensors: Sequence[Any]) -> None:
    """Raises a TypeError that lists what cannot be tracked."""
    problems = [
        f"{name}: want a tensor, have {have(tensor)}"
        if not isinstance(tensor, torch.Tensor)
        else f"{name}: want a strided tensor, have layout {tensor.layout}"
        for name, tensor in zip(names, tensors, strict=True)
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided
    ]
    if problems:
        raise TypeError("[tracking] " + "; ".join(problems))


_trackers: weakref.WeakSet[WeightTracker] = weakref.WeakSet()


def notify_weights_changed(
    weights: torch.nn.Module
    | torch.Tensor
    | Mapping[str, torch.Tensor]
    | Iterable[torch.Tensor]
    | None = None,
) -> None:
    """Announces writes that leave no trace in PyTorch (through ``p.data`` views, NumPy, pointers).

    Every compiled graph and mutable module that holds the weights takes them before its next run.

    Args:
        weights: A module, a ``state_dict`` or tensors that were written to; None means all weights
            of the process.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(weights, torch.nn.Module):
        weights = [*weights.parameters(), *weights.buffers()]
    elif isinstance(weights, torch.Tensor):
        weights = [weights]
    elif isinstance(weights, Mapping):
        weights = list(weights.values())
    elif not isinstance(weights, Iterable | None):
        raise TypeError(f"[tracking] want a module or tensors, have {have(weights)}")
    tensors = None if weights is None else list(weights)
    if wrong := [have(t) for t in tensors or () if not isinstance(t, torch.Tensor)]:
        raise TypeError(f"[tracking] want a module or tensors, have {', '.join(wrong[:3])}")
    for tracker in list(_trackers):
        if tensors is None:
            tracker.notify()
        else:
            tracker.notify_tensors(tensors)


def _layout_guard(tensors: list[torch.Tensor]) -> Callable[[list[torch.Tensor]], bool]:
    """A function that tells whether tensors still have these sizes, strides and dtypes.

    ``p.data = p.data.t()`` changes nothing but the layout. PyTorch's own guard answers for two
    hundred tensors in a few microseconds; it also looks at grad and inference mode, and a wrong
    "no" only costs the slow comparison.
    """
    try:
        from torch._C._dynamo.guards import TensorGuards

        guards: Any = TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
    except Exception:
        layouts = [(t.shape, t.stride(), t.dtype) for t in tensors]
        return lambda now: [(t.shape, t.stride(), t.dtype) for t in now] == layouts
    check: Callable[..., bool] = guards.check
    return lambda now: check(*now)

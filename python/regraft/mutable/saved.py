"""Mutable modules without the module they were made from: the weights and engines of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from regraft._handover import dtype_name
from regraft.errors import MismatchError, StateError
from regraft.module.table import spec_text
from regraft.mutable.calls import Call, CallKind
from regraft.mutable.follower import Follower
from regraft.mutable.program import Compiled


@dataclass(frozen=True)
class SavedWeight:
    """A tensor under its name in a module.

    Attributes:
        tensor: Names of one tensor share the object.
        is_parameter: Or else a buffer.
        is_persistent: A state_dict has it.
    """

    tensor: torch.Tensor
    is_parameter: bool
    is_persistent: bool
    requires_grad: bool


@dataclass(frozen=True)
class SavedProgram:
    """What one engine answers.

    Attributes:
        key: Of the engine.
        kind, sizes, ranges: As of ``Compiled``; sizes that are no numbers are text.
        places: Name of a weight in the program -> name in the module.
    """

    key: str
    kind: CallKind
    sizes: tuple[tuple[int | str, ...], ...]
    ranges: Mapping[str, tuple[int, int]]
    places: Mapping[str, str]


class SavedModule(nn.Module):
    """Parameters and buffers under their names; what is computed of them is in engines."""

    @staticmethod
    def of(weights: Mapping[str, SavedWeight], aliases: Mapping[str, str]) -> SavedModule:
        """The tree that the dots in the names say.

        Args:
            weights: By name.
            aliases: Other path -> path of modules that are in several places.

        Raises:
            ValueError: A module would lie in itself, or hide a weight.
        """
        root = SavedModule()
        made: dict[int, nn.Parameter] = {}
        for name, weight in weights.items():
            path, _, own = name.rpartition(".")
            module = _module_at(root, path)
            # Not registered: the names of tensors in plain objects may be those of methods.
            if weight.is_parameter:
                parameter = nn.Parameter(weight.tensor, requires_grad=weight.requires_grad)
                module._parameters[own] = made.setdefault(id(weight.tensor), parameter)
            else:
                module._buffers[own] = weight.tensor
                if not weight.is_persistent:
                    module._non_persistent_buffers_set.add(own)
        for alias, path in aliases.items():
            parent, _, own = alias.rpartition(".")
            holder, module = _module_at(root, parent), _module_at(root, path)
            if any(inner is holder for inner in module.modules()):
                raise ValueError(f"the module {path!r} would lie in itself, as {alias!r}")
            holder._modules[own] = module
        for name in weights:
            path, _, own = name.rpartition(".")
            holder = _module_at(root, path)
            if own in holder._modules or not (own in holder._parameters or own in holder._buffers):
                raise ValueError(f"a module lies at the place of {name!r}")
        root.eval()
        return root

    def __getitem__(self, key: int | str) -> Any:
        """What has a number, or another name, in sequences and lists."""
        try:
            return getattr(self, str(key))
        except AttributeError:
            raise IndexError(f"[mutable] the saved module has no {key}") from None


def _module_at(root: nn.Module, path: str) -> nn.Module:
    module = root
    for part in path.split(".") if path else ():
        child = module._modules.setdefault(part, SavedModule())
        assert child is not None
        module = child
    return module


def weights_of(follower: Follower) -> dict[str, SavedWeight]:
    """The weights of a followed module; adapters are merged into them."""
    module = follower.module
    state = module.state_dict(keep_vars=True)
    parameters = {id(parameter) for parameter in module.parameters()}
    merged = follower.merged()
    weights: dict[str, SavedWeight] = {}
    by_tensor: dict[int, torch.Tensor] = {}
    for slot, tensor in follower.weights():
        value = by_tensor.setdefault(id(tensor), merged.get(slot.name, tensor))
        is_parameter, is_persistent = id(tensor) in parameters, slot.user_name in state
        weights[slot.name] = SavedWeight(value, is_parameter, is_persistent, tensor.requires_grad)
    return weights


def aliases_of(follower: Follower) -> dict[str, str]:
    """Other path -> path of modules that are in several places."""
    weights = follower.weights()
    slots = {slot.name for slot, _ in weights}
    first = {id(tensor): slot.name for slot, tensor in reversed(weights)}
    state = follower.module.state_dict(keep_vars=True)
    aliases = {}
    for user_name, name in follower.base_names().items():
        known = first.get(id(state.get(user_name)))
        if name not in slots and known is not None:
            aliases[name.rpartition(".")[0]] = known.rpartition(".")[0]
    return aliases


def programs_of(follower: Follower) -> list[SavedProgram]:
    """The programs in use."""
    names = [slot.name for slot, _ in follower.weights()]
    return [
        SavedProgram(
            key=program.key,
            kind=program.kind,
            sizes=tuple(
                tuple(size if isinstance(size, int) else str(size) for size in sizes)
                for sizes in program.sizes
            ),
            ranges={str(symbol): bounds for symbol, bounds in program.ranges.items()},
            places={name: names[place] for name, place in program.places.items()},
        )
        for program in follower.programs
    ]


class SavedFollower(Follower):
    """Answers the calls of saved programs; others, and another structure, need the module.

    Args:
        module: Changes of its weights are followed; nothing else of it means anything.
        programs, engines: Of the file; the engines by key.
    """

    def __init__(
        self,
        module: SavedModule,
        settings: dict[str, Any],
        programs: Sequence[SavedProgram],
        engines: Mapping[str, Any],
        **options: Any,
    ) -> None:
        self._saved = list(programs)
        self._first_build: list[Any] | None = None
        super().__init__(module, settings, **options)
        self.kept = dict(engines)
        self._restore()

    def copied(self, module: nn.Module) -> SavedFollower:
        assert isinstance(module, SavedModule)
        engines = {key: engine.fork() for key, engine in self.kept.items()}
        return SavedFollower(module, self.settings, self._saved, engines, **self.options())

    def _begin(self) -> None:
        super()._begin()
        self._restore()

    def _restore(self) -> None:
        """Puts the programs in use again, if the weights are what they were made for."""
        names = self._watch.slots_named()
        build = [*zip(names, self._build, strict=True)]
        if self._first_build is None:
            self._first_build = build
        if build != self._first_build:
            return
        self._programs = [
            Compiled(
                self.kept[saved.key],
                saved.kind,
                saved.sizes,
                saved.ranges,
                {name: names.index(place) for name, place in saved.places.items()},
                saved.key,
                pending=set(range(len(names))),
            )
            for saved in self._saved
            if saved.key in self.kept
        ]

    def _compile(
        self,
        call: Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        scale: float,
        is_fixed: bool,
    ) -> Compiled:
        self._want_same_weights()
        known = sorted({f"{p.kind.leaves} of sizes {p.sizes}" for p in self._programs})
        raise StateError(
            f"[mutable] the module was loaded without its code and has no program for the call "
            f"{call.kind.leaves} of sizes {call.shapes}; pass the module to load(). Have:\n  "
            + "\n  ".join(known)
        )

    def _want_same_weights(self) -> None:
        assert self._first_build is not None
        want = _described(self._first_build)
        have = _described(zip(self._watch.slots_named(), self._build, strict=True))
        problems = [
            f"{name}: want {want.get(name, 'nothing')}, have {have.get(name, 'nothing')}"
            for name in dict.fromkeys([*want, *have])
            if want.get(name) != have.get(name)
        ]
        if problems:
            raise MismatchError(
                "[mutable] the module was loaded without its code, and its weights are others "
                "than its programs were made for:\n  " + "\n  ".join(problems)
            )


def _described(build: Iterable[tuple[str, Any]]) -> dict[str, str]:
    names: list[str] = []
    out = {}
    for name, (shape, dtype, first) in build:
        names.append(name)
        tie = "" if names[first] == name else f", the tensor {names[first]}"
        out[name] = spec_text(dtype_name(dtype), shape) + tie
    return out

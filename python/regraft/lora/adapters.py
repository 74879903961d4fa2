"""The adapters of a compiled program, from a user's point of view."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regraft._want import finite, have, want_flags, want_mapping, want_type
from regraft.errors import InvalidArgumentError, MismatchError, NotFoundError, StateError
from regraft.lora.adapter import Adapter
from regraft.lora.base_view import AdapterView
from regraft.lora.forms import take
from regraft.lora.memory import owned_adapter
from regraft.lora.read import (
    LoraConfig,
    find_file,
    read_config,
    read_tensors,
)
from regraft.lora.transition import Target, parameters_of, plan
from regraft.lora.want import want_fitting


@dataclass(frozen=True)
class LoraReport:
    """What a change of adapters took.

    Attributes:
        parameters: Canonical names of the parameters that got new values, and no others.
        adapter_bytes: Read of adapters.
        base_bytes: Read of the base weights they touch.
        refit: The report of the one refit; None when nothing changed.
        unused: Parameters that adapters of a module change and the program does not read.
    """

    parameters: list[str] = field(default_factory=list)
    adapter_bytes: int = 0
    base_bytes: int = 0
    refit: Any = None
    unused: list[str] = field(default_factory=list)

    @property
    def bytes_read(self) -> int:
        """Of adapters and touched base weights."""
        return self.adapter_bytes + self.base_bytes

    def __str__(self) -> str:
        return (
            f"{len(self.parameters)} parameters changed, {self.adapter_bytes / 1e6:.2f} MB of "
            f"adapters and {self.base_bytes / 1e6:.2f} MB of base weights read"
        )


class LoraAdapters:
    """Adapters of an ``Engine`` or a ``Module``: ``compiled.lora``.

    A parameter's value is ``W + sum(scale * B @ A)`` over the active adapters, in the order of
    their names, computed from the base value W, which is kept. Every change is one partial refit of
    exactly the parameters whose value changes; without adapters they have their base bits again.
    Nothing is compiled. A change that fails leaves everything as it was.

    Thread-safety: any methods may be called from several threads.
    """

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def active(self) -> dict[str, float]:
        """Name and scale of the active adapters."""
        return dict(self._target.lora_slot.state.scales)

    @property
    def loaded(self) -> list[str]:
        """Names of all adapters, active or not."""
        return list(self._target.lora_slot.state.adapters)

    def load(
        self,
        name: str,
        source: Mapping[str, Any] | str | os.PathLike[str],
        scale: float = 1.0,
        *,
        alpha: float | None = None,
        use_rslora: bool | None = None,
        fan_in_fan_out: bool | None = None,
        config: Mapping[str, Any] | None = None,
        prefix: str = "",
        in_place: bool = False,
    ) -> LoraReport:
        """Loads an adapter and makes it active beside those that are; replaces one of its name.

        Args:
            source: A state_dict in the form of PEFT, diffusers or kohya (alphas may be numbers), a
                ``.safetensors`` file of one, or a folder with ``adapter_model.safetensors`` or
                ``pytorch_lora_weights.safetensors``. ``adapter_config.json`` beside the file is
                read, or else the metadata that diffusers writes into the file's header. The
                tensors are copied.
            scale: Comes on top of alpha / r.
            alpha: Of every layer that brings none. State dicts in PEFT's form need this or a
                configuration; others have alpha = r.
            use_rslora: Scale by alpha / sqrt(r).
            fan_in_fan_out: Weights are stored [in, out] (GPT-2). Those that fit only the other way
                are taken so, as PEFT does for the linears of such a model.
            config: The fields of PEFT's LoraConfig, instead of a file.
            prefix: Takes only the names that begin with it (``"unet."``), without it.
            in_place: As for ``refit``.

        Raises:
            MismatchError: Names that match nothing, shapes or ranks that do not fit; lists all.
            UnsupportedError: DoRA and other things that are no plain LoRA.
            InvalidArgumentError: Alpha is not known, or the file is no adapter.
            StateError: The program is immutable or a base value was not retained.
        """
        self._want_mutable()
        _want_name(name)
        want_type("[lora] prefix", prefix, str)
        want_flags("lora", in_place=in_place)
        factor = finite(f"[lora] {name}: scale", scale)
        tensors, read = _read(source, config, prefix)
        read = read.overridden(alpha=alpha, use_rslora=use_rslora, fan_in_fan_out=fan_in_fan_out)
        with self._target.lora_slot.lock:
            device = self._target.weights_device
            slot = self._target.lora_slot
            parameters = parameters_of(self._target)
            own = take(slot.forms, name, tensors, read, parameters, prefix, device)
            state = slot.state
            adapters = {**state.adapters, name: own}
            return self._change(adapters, {**state.scales, name: factor}, in_place)

    def set(self, scales: Mapping[str, float], *, in_place: bool = False) -> LoraReport:
        """Makes exactly these adapters active, with these scales. The others stay loaded.

        Raises:
            NotFoundError: An adapter is not loaded.
        """
        want_mapping("[lora] scales", scales)
        want_flags("lora", in_place=in_place)
        with self._target.lora_slot.lock:
            state = self._target.lora_slot.state
            wanted = _scales(scales, state.adapters)
            return self._change(state.adapters, wanted, in_place)

    def unload(self, name: str, *, in_place: bool = False) -> LoraReport:
        """Forgets an adapter.

        Raises:
            NotFoundError: It is not loaded.
        """
        _want_name(name)
        want_flags("lora", in_place=in_place)
        with self._target.lora_slot.lock:
            state = self._target.lora_slot.state
            _want_loaded([name], state.adapters)
            adapters = {k: v for k, v in state.adapters.items() if k != name}
            scales = {k: v for k, v in state.scales.items() if k != name}
            return self._change(adapters, scales, in_place)

    def replace(
        self,
        adapters: Mapping[str, Adapter],
        scales: Mapping[str, float] | None = None,
        *,
        in_place: bool = False,
    ) -> LoraReport:
        """Exactly these adapters instead of those loaded, in one refit; all active by default.

        Layers whose tensors and scales equal those in use to the bit are not touched. The tensors
        are copied.

        Raises:
            MismatchError: Parameters, shapes or ranks do not fit; lists all.
            UnsupportedError: A parameter is tied under names that are not changed alike.
        """
        self._want_mutable()
        want_mapping("[lora] adapters", adapters)
        for name, adapter in adapters.items():
            _want_name(name)
            if not isinstance(adapter, Adapter):
                raise TypeError(f"[lora] {name}: want an Adapter, have {have(adapter)}")
        with self._target.lora_slot.lock:
            state = self._target.lora_slot.state
            parameters = parameters_of(self._target)
            taken = {
                name: owned_adapter(
                    want_fitting(name, adapter, parameters),
                    state.adapters.get(name),
                    self._target.weights_device,
                )
                for name, adapter in adapters.items()
            }
            wanted = dict.fromkeys(adapters, 1.0) if scales is None else _scales(scales, adapters)
            return self._change(taken, wanted, in_place)

    def follow(
        self, view: AdapterView, *, scale: float = 1.0, in_place: bool = False
    ) -> LoraReport:
        """``replace`` with the adapters of the module that was compiled, as it is now. Changes of
        parameters that the program does not read are left out: PyTorch does not run them either.

        Args:
            view: Of that module.
            scale: Multiplies the scales of its layers.

        Raises:
            MismatchError: As for ``replace``; also when the program has no weight of the module.
        """
        if not isinstance(view, AdapterView):
            raise TypeError(f"[lora] want the view of a module, have {have(view)}")
        read = parameters_of(self._target)
        if view.adapters and read and not read.keys() & set(view.names.values()):
            raise MismatchError(
                f"[lora] the program is not of this module: want {', '.join([*read][:3])}, ..., "
                f"have {', '.join([*view.names.values()][:3])}, ..."
            )
        adapters = {
            name: Adapter(
                {n: delta for n, delta in adapter.deltas.items() if n in read},
                {n: value for n, value in adapter.replaced.items() if n in read},
            )
            for name, adapter in view.scaled_adapters(scale).items()
        }
        unread = {n for a in view.adapters.values() for n in (*a.deltas, *a.replaced)} - read.keys()
        report = self.replace(adapters, in_place=in_place)
        return dataclasses.replace(report, unused=sorted(unread))

    def _want_mutable(self) -> None:
        if self._target.is_immutable:
            raise StateError("[lora] the program has immutable weights: it takes no adapters")

    def _change(
        self, adapters: Mapping[str, Adapter], scales: Mapping[str, float], in_place: bool
    ) -> LoraReport:
        target = self._target
        self._want_mutable()
        way = plan(target, adapters, scales)
        report = target.refit_merged(way.merges, in_place) if way.merges else None
        if report is None:
            target.lora_slot.state = way.state
        else:
            target.lora_slot.publish(way.state)
        return LoraReport(way.changed, way.adapter_bytes, way.base_bytes, report)

    def __repr__(self) -> str:
        active = ", ".join(f"{name}: {scale:g}" for name, scale in self.active.items())
        return f"LoraAdapters(active={{{active}}}, loaded={self.loaded})"


def _read(
    source: Mapping[str, Any] | str | os.PathLike[str],
    config: Mapping[str, Any] | None,
    prefix: str,
) -> tuple[Mapping[str, Any], LoraConfig]:
    given = None if config is None else LoraConfig.of(config)
    if not isinstance(source, str | os.PathLike):
        if not isinstance(source, Mapping):
            raise TypeError(f"[lora] want a state_dict or a path, have {have(source)}")
        return source, given or LoraConfig()
    file = find_file(source)
    tensors = read_tensors(file)
    return tensors, given or read_config(source, file, prefix)


def _want_name(name: Any) -> None:
    want_type("[lora] name of an adapter", name, str)
    if not name:
        raise InvalidArgumentError("[lora] name of an adapter: want a name, have none")


def _want_loaded(names: Iterable[Any], loaded: Mapping[str, Adapter]) -> None:
    if unknown := [str(name) for name in names if name not in loaded]:
        raise NotFoundError(
            f"[lora] no adapter {', '.join(unknown)}; have {', '.join(loaded) or 'none'}"
        )


def _scales(scales: Mapping[str, Any], loaded: Mapping[str, Adapter]) -> dict[str, float]:
    _want_loaded(scales, loaded)
    return {name: finite(f"[lora] {name}: scale", scale) for name, scale in scales.items()}

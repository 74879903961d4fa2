"""What PEFT's layers say about themselves. The only file that knows PEFT."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

from regraft.lora.adapter import Delta, Replacement

Changes = tuple[str, dict[str, Delta], dict[str, Replacement]]


def imported() -> Peft | None:
    """PEFT, if the process uses it."""
    return _peft() if "peft" in sys.modules else None


def wrapped_by(module: nn.Module) -> tuple[str, nn.Module] | None:
    """Name and module of what a layer or model of PEFT stands around; None of all else."""
    peft = imported()
    return peft.inner(module) if peft is not None and peft.is_wrapper(module) else None


def innermost(module: nn.Module) -> nn.Module:
    """The module of the base that PEFT's layers stand around, or the module itself."""
    while (wrapped := wrapped_by(module)) is not None:
        module = wrapped[1]
    return module


class Peft:
    """The classes of PEFT, and questions to their objects."""

    def __init__(self) -> None:
        peft: Any = importlib.import_module("peft")
        layer: Any = importlib.import_module("peft.tuners.lora.layer")
        other: Any = importlib.import_module("peft.utils.other")
        tuners: Any = importlib.import_module("peft.tuners.tuners_utils")
        self._models = (peft.PeftModel, tuners.BaseTuner)
        self._lora = layer.LoraLayer
        self._plain = (layer.Linear, layer.Embedding, layer.Conv1d, layer.Conv2d, layer.Conv3d)
        self._embedding = layer.Embedding
        self._tuner_layer = tuners.BaseTunerLayer
        self._auxiliary = other.AuxiliaryTrainingWrapper
        self._saved = other.ModulesToSaveWrapper
        # By class: some of them answer isinstance slowly.
        self._wrappers: dict[type, bool] = {}

    def is_wrapper(self, module: nn.Module) -> bool:
        """Whether the module stands around another that the base model has."""
        kind = type(module)
        if (known := self._wrappers.get(kind)) is None:
            known = issubclass(kind, (*self._models, self._tuner_layer, self._auxiliary))
            self._wrappers[kind] = known
        return known

    def inner(self, wrapper: Any) -> tuple[str, nn.Module]:
        """Name and module of what a wrapper stands around."""
        if isinstance(wrapper, self._auxiliary):
            return "original_module", wrapper.original_module
        if isinstance(wrapper, self._models):
            # A tuner passes unknown attributes on to its model: `base_model` would be the model's.
            name = "base_model" if isinstance(wrapper, self._models[0]) else "model"
            return name, getattr(wrapper, name)
        return "base_layer", wrapper.base_layer

    def refusal(self, module: Any) -> str:
        """Why the layer cannot be seen through; empty when it can."""
        if isinstance(module, self._models[0]) and module.active_peft_config.is_prompt_learning:
            return "prompts are no change of weights"
        if isinstance(module, self._auxiliary) and not isinstance(module, self._saved):
            return f"{type(module).__name__} is no plain LoRA"
        if self.is_wrapper(module) and _is_hooked(module):
            return "has hooks or a forward of its own"
        if not isinstance(module, self._tuner_layer):
            return ""
        if type(module) not in self._plain:
            return f"{type(module).__module__}.{type(module).__name__} is no plain LoRA layer"
        if module.merged and module.disable_adapters:
            return "its adapters are merged and disabled: unmerge or enable them"
        active = _active(module)
        if any(module.use_dora.get(name) for name in active):
            return "DoRA is not supported; merge it in PEFT"
        if any(name in module.lora_variant for name in active):
            return "a variant of LoRA that is not supported; merge it in PEFT"
        if any(module.lora_bias.get(name) for name in active):
            return "has a bias of B, which is not supported"
        if active and getattr(module.get_base_layer(), "groups", 1) != 1:
            return "LoRA on grouped convolutions is not supported; merge it in PEFT"
        return ""

    def changes(self, module: Any, path: str) -> Iterator[Changes]:
        """Adapter, deltas and replaced parameters that a layer at ``path`` has active."""
        if isinstance(module, self._saved):
            yield from _saved_changes(module, path)
        elif isinstance(module, self._lora):
            for name in _active(module):
                weight = f"{path}.weight" if path else "weight"
                is_embedding = isinstance(module, self._embedding)
                if is_embedding:
                    a, b = module.lora_embedding_A[name], module.lora_embedding_B[name]
                else:
                    a, b = module.lora_A[name].weight, module.lora_B[name].weight
                turned = is_embedding or bool(getattr(module, "fan_in_fan_out", False))
                delta = Delta(a.detach(), b.detach(), float(module.scaling[name]), turned)
                yield name, {weight: delta}, {}


@functools.cache
def _peft() -> Peft:
    return Peft()


def _is_hooked(wrapper: nn.Module) -> bool:
    return bool(wrapper._forward_hooks or wrapper._forward_pre_hooks or "forward" in vars(wrapper))


def _active(layer: Any) -> list[str]:
    """Adapters that the layer adds to its base; none where they are merged or disabled."""
    if layer.merged or layer.disable_adapters:
        return []
    own = {*layer.lora_A, *layer.lora_embedding_A}
    return [name for name in layer.active_adapters if name in own]


def _saved_changes(wrapper: Any, path: str) -> Iterator[Changes]:
    active = wrapper.active_adapters
    if wrapper.disable_adapters or not active or active[0] not in wrapper.modules_to_save:
        return
    module = wrapper.modules_to_save[active[0]]
    tensors = [*module.named_parameters(), *module.named_buffers()]
    prefix = f"{path}." if path else ""
    yield active[0], {}, {f"{prefix}{n}": Replacement(t.detach()) for n, t in tensors}

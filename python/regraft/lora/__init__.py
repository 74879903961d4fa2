"""LoRA without recompiling: adapters as changes of the base model's weights."""

from regraft.lora.adapter import Adapter, Delta, Replacement
from regraft.lora.adapters import LoraAdapters, LoraReport
from regraft.lora.base_view import BaseView, base_view, has_adapters

__all__ = [
    "Adapter",
    "BaseView",
    "Delta",
    "LoraAdapters",
    "LoraReport",
    "Replacement",
    "base_view",
    "has_adapters",
]

"""Names in adapters' state dicts, and the parameters they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What libraries put before the path of a layer.
_PREFIXES = (
    "base_model.model.",
    "unet.",
    "transformer.",
    "text_encoder.",
    "text_encoder_2.",
    "diffusion_model.",
    "model.",
)
_KOHYA = re.compile(r"lora_(?:unet|transformer|te\d?)_(?P<flat>[^.]+)$")
_FACTOR = re.compile(
    r"(?P<path>.+?)\.(?P<side>lora_A|lora_B|lora_embedding_A|lora_embedding_B"
    r"|lora\.down|lora\.up|lora_down|lora_up|lora_linear_layer\.down|lora_linear_layer\.up)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.(?P<what>weight|bias))?$"
)
# How diffusers first named the layers of attention, and still does when it converts kohya's files.
_PROCESSOR = re.compile(r"\.processor\.(?P<layer>to_q|to_k|to_v|to_out)_lora\.(?=down|up)")
_ALPHA = re.compile(r"(?P<path>.+?)(?:\.lora(?:_A|_down|\.down)?(?:\.weight)?)?\.alpha$")
_SAVED = re.compile(r"(?P<head>.+)\.modules_to_save\.(?P<adapter>[^.]+)\.(?P<tail>.+)$")


@dataclass(frozen=True)
class Key:
    """A name of a state dict, understood.

    Attributes:
        kind: "a", "b", "alpha", "value" (a replaced parameter), "ignored", or why it cannot be
            taken.
        path: Of the layer; of a value, the name of the parameter.
        adapter: The adapter the name gives, if it does.
    """

    kind: str
    path: str
    adapter: str | None = None
    embedding: bool = False


def understand(name: str) -> Key:
    """What a name of a state dict in the form of PEFT, diffusers or kohya stands for."""
    if "lora_magnitude_vector" in name or name.endswith("dora_scale"):
        return Key("has a magnitude vector: DoRA is not supported; merge it in PEFT", name)
    name = _PROCESSOR.sub(_attention_layer, name)
    if alpha := _ALPHA.match(name):
        return Key("alpha", alpha["path"])
    if factor := _FACTOR.match(name):
        if factor["what"] == "bias":
            return Key("is a bias of B, which is not supported", name)
        side = factor["side"]
        kind = "a" if side.endswith(("A", "down")) else "b"
        return Key(kind, factor["path"], factor["adapter"], "embedding" in side)
    if ".base_layer." in name or ".original_module." in name:
        return Key("ignored", name)
    if saved := _SAVED.match(name):
        return Key("value", f"{saved['head']}.{saved['tail']}", saved["adapter"])
    if "token_adapter" in name or "lora_" in name.rsplit(".", 1)[-1]:
        return Key("is nothing of a plain LoRA", name)
    return Key("value", name)


def _attention_layer(match: re.Match[str]) -> str:
    layer = match["layer"]
    return f".{'to_out.0' if layer == 'to_out' else layer}.lora."


class Finder:
    """Finds the parameters that adapters name."""

    def __init__(self, parameters: Iterable[str]) -> None:
        self._known = set(parameters)
        self._flat = {
            name.removesuffix(".weight").replace(".", "_"): name
            for name in self._known
            if name.endswith(".weight")
        }

    def weight(self, path: str) -> str | None:
        """The weight of the layer at ``path``."""
        if kohya := _KOHYA.match(path):
            return self._flat.get(kohya["flat"])
        return self.parameter(f"{path}.weight")

    def parameter(self, name: str) -> str | None:
        """The parameter of this name, or of what is left without the libraries' prefixes."""
        while name not in self._known:
            prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
            if prefix is None:
                return None
            name = name.removeprefix(prefix)
        return name

"""Trees of calls as text, which files hold: read without importing or calling what it names."""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Any

from torch.utils import _pytree as pytree

from regraft.errors import CorruptError, UnsupportedError


def tree_from_text(text: str) -> pytree.TreeSpec:
    """What ``pytree.treespec_dumps`` wrote; ``treespec_loads`` alone imports any module.

    Raises:
        CorruptError: It names what is neither an enum nor a class that makes default values.
        UnsupportedError: It names what is of a module that is not imported, or a class that is not
            registered.
    """
    _, root = json.loads(text)
    _want_classes(root)
    try:
        return pytree.treespec_loads(text)
    except NotImplementedError as error:
        raise UnsupportedError(
            f"[engine] the call has values of a class that is not registered here: {error}"
        ) from error


def _want_classes(node: dict[str, Any]) -> None:
    context = node["context"]
    if isinstance(context, dict) and "default_factory_module" in context:
        module, name = context["default_factory_module"], context["default_factory_name"]
        _want_class(module, name, object)
    elif isinstance(context, str) and node["type"] in pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE:
        kind = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE[node["type"]]
        if pytree.SUPPORTED_SERIALIZED_TYPES[kind].from_dumpable_context is None:
            json.loads(context, object_hook=_want_enum)
    for child in node["children_spec"]:
        _want_classes(child)


def _want_enum(value: dict[str, Any]) -> None:
    if "__enum__" in value:
        module, _, name = value["fqn"].partition(":")
        _want_class(module, name, Enum)


def _want_class(module: str, name: str, base: type) -> None:
    if module not in sys.modules:
        raise UnsupportedError(
            f"[engine] the call has values of {module[:100]!r}, which is not imported here"
        )
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, base):
        raise CorruptError(f"[engine] the call: {module[:100]}.{name[:100]} is no {base.__name__}")

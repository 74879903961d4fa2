"""Options together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regraft.settings import CompilationSettings as NativeSettings
from regraft.torch_tensorrt._options import USED, settings_of


class CompilationSettings:
    """Options of ``compile``, checked; each is an attribute.

    Raises:
        TypeError: Unknown options; each with the nearest one.
        InvalidArgumentError: Values that do not fit.
    """

    def __init__(self, **options: Any) -> None:
        self._native = settings_of(options)
        self._options = dict(options)

    def __getattr__(self, name: str) -> Any:
        options = self.__dict__.get("_options", {})
        if name in options or name in USED:
            return options.get(name, USED.get(name))
        raise AttributeError(f"no option is named {name!r}")

    def options(self) -> Mapping[str, Any]:
        """Those that were given."""
        return dict(self._options)

    def native(self) -> NativeSettings:
        """The same for ``regraft.compile``."""
        return NativeSettings(**self._native)

    def __repr__(self) -> str:
        return f"CompilationSettings({', '.join(f'{k}={v!r}' for k, v in self._options.items())})"

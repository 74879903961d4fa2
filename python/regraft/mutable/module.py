"""The module that stands in for one that keeps changing."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from types import MethodType
from typing import Any

import torch

from regraft._want import have, want_flags
from regraft.errors import InvalidArgumentError, StateError
from regraft.mutable import files
from regraft.mutable.follower import Follower
from regraft.mutable.saved import SavedFollower
from regraft.settings import make_settings, settings_text


class MutableModule:
    """A module that runs as engines and follows every change of the module it wraps.

    Whatever is done to the wrapped module, through this object or directly, is found before the
    next call by the rules of ``docs/torch_compile.md``, without running it and without tolerances:
    changed values are refitted, and only they; another structure, other attributes or shapes are
    compiled, engine cache first. Attributes, methods and items are those of the wrapped module, and
    ``isinstance`` sees its class; so is ``forward``, and only calling this object runs engines.

    Thread-safety: calls may run concurrently, changes of the module may not run beside them.

    Args:
        pytorch_model: The module; in evaluation mode when it is called.
        strict: As of ``torch.export.export``.
        track: How writes are found: "version", "digest" (also those without a trace) or "none".
        max_engines: How many engines to keep, each with its weights: for calls of other kinds and
            sizes, and for structures that may come back.
        **settings: As for ``regraft.compile``.

    Raises:
        TypeError: ``pytorch_model`` is not a module, or a setting does not exist.
        InvalidArgumentError: Settings that leave weights no way to change.
    """

    _regraft: Follower

    def __init__(
        self,
        pytorch_model: torch.nn.Module,
        *,
        strict: bool = False,
        track: str = "version",
        max_engines: int = 4,
        **settings: Any,
    ) -> None:
        if not isinstance(pytorch_model, torch.nn.Module):
            raise TypeError(
                f"[mutable] want a torch.nn.Module, have {type(pytorch_model).__name__}"
            )
        make_settings(settings)
        follower = Follower(
            pytorch_model, settings, track=track, strict=strict, max_engines=max_engines
        )
        object.__setattr__(self, "_regraft", follower)

    # In graphs of torch.compile a call is a break: how engines follow the module is not traced.
    @torch._disable_dynamo  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module as it is now.

        Raises:
            InvalidArgumentError: Something must be compiled and the module is in training mode.
            StateError: An input requires grad outside ``torch.no_grad()``.
        """
        return self._regraft.run(args, kwargs)

    @property
    def forward(self) -> Callable[..., Any]:
        """The wrapped module's own, which runs in PyTorch and is what programs are exported from.
        Setting it sets that one, and the next call compiles anew; deleting it undoes that."""
        forward: Callable[..., Any] = self._regraft.module.forward
        return forward

    # ---- steering ----

    def set_expected_dynamic_shape_range(
        self, args_dynamic_shape: tuple[Any, ...], kwargs_dynamic_shape: dict[str, Any]
    ) -> None:
        """Says which sizes may vary, so that the first program answers all of them.

        Without it, sizes that differ between calls become free at the second.

        Args:
            args_dynamic_shape: Per positional argument as in ``torch.export.export``, say
                ``{0: Dim("batch", min=1, max=8)}`` or None.
            kwargs_dynamic_shape: The same by keyword; arguments that are None may be left out.

        Raises:
            TypeError: Not a tuple and a dict.
        """
        if not isinstance(args_dynamic_shape, tuple) or not isinstance(kwargs_dynamic_shape, dict):
            raise TypeError(
                "[mutable] dynamic shapes: want a tuple and a dict, have "
                f"{type(args_dynamic_shape).__name__} and {type(kwargs_dynamic_shape).__name__}"
            )
        self._regraft.set_hints((args_dynamic_shape, kwargs_dynamic_shape))

    def notify_weights_changed(self, names: Collection[str] | None = None) -> None:
        """Announces writes that leave no trace; None means all weights.

        Raises:
            NotFoundError: Names that the module does not have; lists every one.
        """
        if isinstance(names, str) or not isinstance(names, Iterable | None):
            raise TypeError(f"[mutable] want names of weights, have {have(names)}")
        self._regraft.notify(None if names is None else list(names))

    @property
    def original_model(self) -> torch.nn.Module:
        """The wrapped module."""
        return self._regraft.module

    @property
    def engines(self) -> list[Any]:
        """The engines in use, the one used last at the end."""
        return self._regraft.engines

    @property
    def last_refit(self) -> Any:
        """Report of the last refit, or None."""
        return self._regraft.last_refit

    @property
    def compilations(self) -> int:
        """How often something was compiled, or found in the engine cache; refits do not count."""
        return self._regraft.compilations

    # ---- files ----

    @staticmethod
    def save(
        module: MutableModule, path: str | os.PathLike[str], *, strip_weights: bool = False
    ) -> None:
        """Writes the engines, the settings and the weights; of the wrapped module no code.

        Args:
            module: Has run at least once, or there is nothing but settings and weights to save.
            path: Of the file; written atomically.
            strip_weights: Leave the weights out: kilobytes; ``load`` then needs the module.
        """
        if not issubclass(type(module), MutableModule):
            raise TypeError(f"[mutable] want a MutableModule, have {type(module).__name__}")
        want_flags("mutable", strip_weights=strip_weights)
        files.save(module._regraft, path, strip_weights)

    @staticmethod
    def load(
        path: str | os.PathLike[str], module: torch.nn.Module | None = None, **settings: Any
    ) -> MutableModule:
        """What ``save`` wrote.

        Args:
            path: Of the file.
            module: Brings code and weights: saved engines are used wherever their programs are the
                module's, and it is compiled where it differs. Without it, the weights are the
                file's, under their names; their changes are followed, and calls of the kinds and
                sizes that were saved are answered. Adapters were merged into them.
            **settings: Replace saved ones; saved engines that others would compile are not used.

        Raises:
            CorruptError, MissingFileError, VersionError: Not a file this build reads.
            StateError: The file has no weights, and there is no module.
            InvalidArgumentError: Settings to compile with, and no module.
        """
        return MutableModule._wrapping(_load(path, module, settings))

    @classmethod
    def _wrapping(cls, follower: Follower) -> MutableModule:
        made = object.__new__(cls)
        object.__setattr__(made, "_regraft", follower)
        return made

    # ---- passing through ----

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._regraft.module)

    def __getattr__(self, name: str) -> Any:
        module = object.__getattribute__(self, "_regraft").module
        value = getattr(module, name)
        if isinstance(value, MethodType) and value.__self__ is module:
            return _returning_self(self, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._regraft.module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._regraft.module, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._regraft.module)})

    def __getitem__(self, key: Any) -> Any:
        return self._regraft.module[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._regraft.module[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._regraft.module[key]

    def __len__(self) -> int:
        return len(self._regraft.module)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self._regraft.module)

    def __contains__(self, item: Any) -> bool:
        return item in self._regraft.module

    def __copy__(self) -> MutableModule:
        follower = self._regraft
        return type(self)._wrapping(follower.copied(copy.copy(follower.module)))

    def __deepcopy__(self, memo: dict[int, Any]) -> MutableModule:
        follower = self._regraft
        return type(self)._wrapping(follower.copied(copy.deepcopy(follower.module, memo)))

    def __reduce__(self) -> Any:
        raise TypeError("mutable modules are not pickled; use MutableModule.save")

    def __repr__(self) -> str:
        return f"regraft.MutableModule({self._regraft.module!r})"


def _load(
    path: str | os.PathLike[str], module: torch.nn.Module | None, settings: dict[str, Any]
) -> Follower:
    saved = files.load(path)
    own = {name: value for name, value in settings.items() if name not in saved.options}
    if module is None:
        return _saved_alone(path, saved, settings, own)
    loaded = MutableModule(module, **{**saved.settings, **saved.options, **settings})._regraft
    if _same_settings(saved.settings, {**saved.settings, **own}):
        loaded.kept.update(saved.engines)
    loaded.restore_free(saved.free)
    if saved.hints is not None:
        loaded.set_hints(saved.hints)
    return loaded


def _saved_alone(
    path: str | os.PathLike[str],
    saved: files.Saved,
    settings: dict[str, Any],
    own: dict[str, Any],
) -> Follower:
    make_settings(own)
    if not _same_settings(saved.settings, {**saved.settings, **own}):
        raise InvalidArgumentError(
            f"[mutable] {', '.join(own)}: without the module nothing is compiled; pass it to load()"
        )
    if saved.module is None:
        raise StateError(
            f"[mutable] {os.fspath(path)}: was saved without weights; pass the module to load()"
        )
    options = {**saved.options, **{k: v for k, v in settings.items() if k not in own}}
    return SavedFollower(saved.module, saved.settings, saved.programs, saved.engines, **options)


def _same_settings(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether both compile the same engines."""
    return settings_text(make_settings(first)) == settings_text(make_settings(second))


def _returning_self(mutable: MutableModule, method: MethodType) -> MethodType:
    """A method of the module; where it returns the module (``eval()``, ``to()``), this one."""

    @functools.wraps(method.__func__)
    def call(self: MutableModule, *args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        return self if result is method.__self__ else result

    return MethodType(call, mutable)

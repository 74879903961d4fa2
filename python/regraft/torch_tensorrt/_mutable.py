"""A module that follows the changes of the one it wraps."""

from __future__ import annotations

import os
from typing import Any

import torch

from regraft._want import have
from regraft.errors import InvalidArgumentError
from regraft.mutable import MutableModule
from regraft.torch_tensorrt._options import settings_of
from regraft.torch_tensorrt.dynamo._settings import CompilationSettings

_OWN = ("strict", "track", "max_engines")
_NATIVE = {"device": "backend", "enabled_precisions": "precision"}


class MutableTorchTensorRTModule(MutableModule):
    """A ``regraft.MutableModule`` with the options of Torch-TensorRT.

    Args:
        pytorch_model: The module; in evaluation mode when it is called.
        device: Where it runs; where the module and its inputs are by default.
        immutable_weights: Must be False: weights change here.
        strict: As of ``torch.export.export``; True as in Torch-TensorRT, not as in
            ``regraft.MutableModule``.
        config: Options together, instead of one by one.
        track, max_engines: As of ``regraft.MutableModule``.
        **compile_kwargs: Options of ``dynamo.compile``.

    Raises:
        TypeError: ``pytorch_model`` is not a module, or an option does not exist.
        InvalidArgumentError: Options that do not fit.
    """

    def __init__(
        self,
        pytorch_model: torch.nn.Module,
        *,
        device: Any = None,
        immutable_weights: bool = False,
        strict: bool = True,
        prefer_deferred_runtime_asserts_over_guards: bool = False,
        weight_streaming_budget: int | None = None,
        config: CompilationSettings | None = None,
        track: str = "version",
        max_engines: int = 4,
        **compile_kwargs: Any,
    ) -> None:
        if config is not None:
            if compile_kwargs:
                raise InvalidArgumentError(
                    "[torch_tensorrt] pass either config or single options, not both"
                )
            if not isinstance(config, CompilationSettings):
                raise TypeError(
                    f"[torch_tensorrt] config: want CompilationSettings, have {have(config)}"
                )
            compile_kwargs = dict(config.options())
            immutable_weights = compile_kwargs.pop("immutable_weights", immutable_weights)
        if immutable_weights:
            raise InvalidArgumentError(
                "[torch_tensorrt] immutable_weights: want False, as weights change here"
            )
        compile_kwargs.setdefault("device", device)
        settings = settings_of({"immutable_weights": False, **compile_kwargs})
        settings.pop("dryrun")
        super().__init__(
            pytorch_model, strict=strict, track=track, max_engines=max_engines, **settings
        )

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        module: torch.nn.Module | None = None,
        **compile_kwargs: Any,
    ) -> MutableModule:
        """As ``regraft.MutableModule.load``.

        Args:
            path: Of a file that ``save`` wrote.
            module: Brings code and weights; needed for calls that were not saved.
            **compile_kwargs: Replace saved options.

        Raises:
            CorruptError, MissingFileError, VersionError: Not a file this build reads.
            StateError, InvalidArgumentError: It takes the module.
        """
        settings = settings_of(compile_kwargs, *_OWN)
        given = {_NATIVE.get(name, name) for name in compile_kwargs}
        changed = {name: value for name, value in settings.items() if name in given}
        own = {name: compile_kwargs[name] for name in _OWN if name in compile_kwargs}
        loaded = MutableModule.load(path, module, **changed, **own)
        return MutableTorchTensorRTModule._wrapping(loaded._regraft)

"""Regraft: compile a trained PyTorch program, then replace its weights in milliseconds.

engine = regraft.compile(model, (x,))
y = engine(x)
report = engine.refit(other.state_dict())
engine.save("model.rgf")
engine = regraft.load("model.rgf")
"""

from regraft import _cuda, _log
from regraft._compile import compile, explain
from regraft._regraft import backends, pass_names, set_thread_count, thread_count
from regraft.cache import BaseEngineCache, DiskEngineCache
from regraft.engine import Engine, MemoryReport, Profile, RefitReport
from regraft.errors import (
    CorruptError,
    Error,
    InternalError,
    InvalidArgumentError,
    IoError,
    MismatchError,
    MissingFileError,
    NotFoundError,
    OutOfMemoryError,
    StateError,
    UnsupportedError,
    VersionError,
)
from regraft.module.module import Module
from regraft.module.report import ModuleMemoryReport, ModuleRefitReport
from regraft.mutable import MutableModule
from regraft.refit import VerificationError, construct_refit_mapping, refit_module_weights
from regraft.saving import load, save, to_exported_program
from regraft.settings import CompilationSettings
from regraft.tracking import notify_weights_changed

__version__ = "0.1.0"

_log.install()

_cuda.show_libraries()

__all__ = [
    "BaseEngineCache",
    "CompilationSettings",
    "CorruptError",
    "DiskEngineCache",
    "Engine",
    "Error",
    "InternalError",
    "InvalidArgumentError",
    "IoError",
    "MemoryReport",
    "MismatchError",
    "MissingFileError",
    "Module",
    "ModuleMemoryReport",
    "ModuleRefitReport",
    "MutableModule",
    "NotFoundError",
    "OutOfMemoryError",
    "Profile",
    "RefitReport",
    "StateError",
    "UnsupportedError",
    "VerificationError",
    "VersionError",
    "backends",
    "compile",
    "construct_refit_mapping",
    "explain",
    "load",
    "notify_weights_changed",
    "pass_names",
    "refit_module_weights",
    "save",
    "set_thread_count",
    "thread_count",
    "to_exported_program",
]

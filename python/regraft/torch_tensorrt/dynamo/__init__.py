"""Programs of torch.export and torch.compile: compilation and refits."""

from regraft.torch_tensorrt.dynamo._compiler import (
    compile,
    convert_exported_program_to_serialized_trt_engine,
)
from regraft.torch_tensorrt.dynamo._engine_cache import BaseEngineCache, DiskEngineCache
from regraft.torch_tensorrt.dynamo._refit import construct_refit_mapping, refit_module_weights
from regraft.torch_tensorrt.dynamo._settings import CompilationSettings
from regraft.torch_tensorrt.dynamo._tracer import trace

__all__ = [
    "BaseEngineCache",
    "CompilationSettings",
    "DiskEngineCache",
    "compile",
    "construct_refit_mapping",
    "convert_exported_program_to_serialized_trt_engine",
    "refit_module_weights",
    "trace",
]

"""The names of Torch-TensorRT over Regraft: change one import line, keep the program.

import regraft.torch_tensorrt as torch_tensorrt

``docs/torch_tensorrt.md`` lists what every option does here, and what differs.
"""

from typing import TYPE_CHECKING, Any

from regraft.torch_tensorrt import dynamo, logging
from regraft.torch_tensorrt._compile import compile, convert_method_to_trt_engine
from regraft.torch_tensorrt._enums import TensorFormat, dtype
from regraft.torch_tensorrt._files import load, save
from regraft.torch_tensorrt._input import Input
from regraft.torch_tensorrt.dynamo import backend

if TYPE_CHECKING:
    from regraft.torch_tensorrt._mutable import MutableTorchTensorRTModule

backend.register()

__all__ = [
    "Input",
    "MutableTorchTensorRTModule",
    "TensorFormat",
    "compile",
    "convert_method_to_trt_engine",
    "dtype",
    "dynamo",
    "load",
    "logging",
    "save",
]


def __getattr__(name: str) -> Any:
    # Its metaclass work is not paid for by those who compile ahead of time.
    if name == "MutableTorchTensorRTModule":
        from regraft.torch_tensorrt._mutable import MutableTorchTensorRTModule

        return MutableTorchTensorRTModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

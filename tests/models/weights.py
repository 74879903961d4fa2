"""Deterministic random weights that leave nothing trivial.

Fresh models hide mistakes: batch-norm statistics of 0 and 1, norm weights of 1, biases of 0 and
layer scales of 1e-6 make folding them a no-op. Here each tensor gets values of its own, scaled so
that activations of deep networks stay near 1.
"""

from __future__ import annotations

import math
import zlib
from functools import partial

import torch
from torch import Tensor, nn

# The last linear of a residual branch in BERT, GPT-2 and Llama.
_BRANCH_ENDS = ("output.dense", "c_proj", "o_proj", "down_proj")
_RESIDUAL_BLOCKS = ("BasicBlock", "Bottleneck", "InvertedResidual", "MBConv")
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)


def _generator(name: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))


def _uniform(tensor: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)


def _normal(tensor: Tensor, scale: float, generator: torch.Generator) -> None:
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("RMSNorm", "LayerNorm"))


def _fill_parameter(path: str, module: nn.Module, name: str, tensor: Tensor, seed: int) -> None:
    g = _generator(f"{path}.{name}", seed)
    if name == "layer_scale":
        _uniform(tensor, 0.2, 0.6, g)
    elif _is_norm(module) and name == "weight":
        _uniform(tensor, 0.6, 1.4, g)
    elif tensor.ndim < 2:
        _normal(tensor, 0.1, g)
    elif name in ("class_token", "pos_embedding"):
        _normal(tensor, 0.3, g)
    elif isinstance(module, nn.Embedding):
        _normal(tensor, 0.5 / math.sqrt(tensor.shape[-1]), g)
    elif isinstance(module, nn.modules.conv._ConvNd):
        _normal(tensor, math.sqrt(2.0 / tensor[0].numel()), g)
    elif type(module).__name__ == "Conv1D":
        # GPT-2's linear: its weight is [in, out].
        _normal(tensor, 1.0 / math.sqrt(tensor.shape[0]), g)
    else:
        _normal(tensor, 1.0 / math.sqrt(tensor.shape[-1]), g)
    if path.endswith(_BRANCH_ENDS):
        # Attention averages: with a full-size branch all tokens become alike over twelve layers.
        tensor.mul_(0.5)


def randomise(model: nn.Module, seed: int) -> None:
    """Gives every parameter values that depend on its name and `seed`.

    Tied parameters stay tied; buffers (rotary frequencies, position ids) keep their values.
    """
    done: set[int] = set()
    with torch.no_grad():
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) not in done:
                    done.add(id(parameter))
                    _fill_parameter(path, module, name, parameter, seed)


def _damp_branches(model: nn.Module) -> None:
    """Makes residual branches small beside the trunk, as training does: a deep random network is
    otherwise chaotic, and multiplies the rounding errors of its first layers."""
    for block in model.modules():
        if type(block).__name__ in _RESIDUAL_BLOCKS and getattr(block, "use_res_connect", True):
            norms = [
                module
                for path, module in block.named_modules()
                if isinstance(module, nn.BatchNorm2d) and not path.startswith("downsample")
            ]
            norms[-1].weight.data.mul_(0.25)


def calibrate(model: nn.Module, batch: Tensor, seed: int) -> None:
    """Sets each batch norm's statistics to something near those of its input for `batch`.

    Statistics out of nowhere let the signal die out over fifty layers, and an output that hardly
    depends on the input hides what the layers in between did.
    """
    _damp_branches(model)
    handles = [
        module.register_forward_pre_hook(partial(_set_statistics, path, seed))
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    if not handles:
        return
    threads = torch.get_num_threads()
    # Sums whose order depends on the thread count would make two processes disagree.
    torch.set_num_threads(1)
    with torch.no_grad():
        model.eval()(batch)
    torch.set_num_threads(threads)
    for handle in handles:
        handle.remove()


def _set_statistics(
    path: str, seed: int, module: nn.modules.batchnorm._BatchNorm, inputs: tuple[Tensor]
) -> None:
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    # A channel that hardly varies would have its rounding errors blown up.
    variance = variance.clamp(min=1e-2)
    g = _generator(path + ".statistics", seed)
    module.running_mean.copy_(mean + 0.2 * variance.sqrt() * torch.randn(mean.shape, generator=g))
    module.running_var.copy_(variance * (0.7 + 0.7 * torch.rand(mean.shape, generator=g)))
    module.num_batches_tracked.fill_(1000 + seed)

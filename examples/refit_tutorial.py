"""New weights for a compiled program, with the calls of Torch-TensorRT: one import differs.

    python examples/refit_tutorial.py --device cpu

The second network has pretrained weights, which torchvision looks for in
$TORCH_HOME/hub/checkpoints.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision.models as models

import regraft.torch_tensorrt as torch_trt
from regraft.torch_tensorrt.dynamo import refit_module_weights

TOLERANCE = 1e-2


def compile_random(inputs: list[torch.Tensor], device: str, path: Path) -> None:
    """Compiles a ResNet-18 that knows nothing yet, and writes it to a file."""
    model = models.resnet18(weights=None).eval().to(device)
    exp_program = torch.export.export(model, tuple(inputs))
    trt_gm = torch_trt.dynamo.compile(
        exp_program,
        tuple(inputs),
        use_python_runtime=False,
        enabled_precisions={torch.float},
        debug=False,
        min_block_size=0,
        torch_executed_ops={},
        workspace_size=20 << 30,
        immutable_weights=False,
    )
    torch_trt.save(trt_gm, str(path), inputs=inputs)


def largest_difference(
    program: torch.export.ExportedProgram, module: object, inputs: list[torch.Tensor]
) -> float:
    """Between the answers of a program and of what has its weights; raises beyond TOLERANCE."""
    assert callable(module)
    worst = 0.0
    with torch.no_grad():
        for want, have in zip(program.module()(*inputs), module(*inputs), strict=True):
            assert torch.allclose(want, have, TOLERANCE, TOLERANCE), "the refitted answers differ"
            worst = max(worst, float((want - have).abs().max()))
    return worst


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    options = parser.parse_args(arguments)
    device = options.device
    inputs = [torch.rand((1, 3, options.size, options.size)).to(device)]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.ep"
        compile_random(inputs, device, path)
        compiled_trt_ep = torch_trt.load(str(path))

    model2 = models.resnet18(weights="DEFAULT").eval().to(device)
    exp_program2 = torch.export.export(model2, tuple(inputs))

    start = time.perf_counter()
    new_trt_gm = refit_module_weights(
        compiled_module=compiled_trt_ep,
        new_weight_module=exp_program2,
        arg_inputs=inputs,
    )
    seconds = time.perf_counter() - start
    difference = largest_difference(exp_program2, new_trt_gm, inputs)
    print(f"refitted in {seconds * 1e3:.0f} ms; answers differ by at most {difference:.1e}")

    # With a check of every output, then where the weights lie.
    refit_module_weights(compiled_trt_ep, exp_program2, inputs, verify_output=True)
    refit_module_weights(compiled_trt_ep, exp_program2, inputs, in_place=True)
    difference = largest_difference(exp_program2, compiled_trt_ep.module(), inputs)
    print(f"in place; answers differ by at most {difference:.1e}")


if __name__ == "__main__":
    main()

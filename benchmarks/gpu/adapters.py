"""LoRA adapters on a running engine."""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
from collections.abc import Callable
from typing import Any

import cases
import torch
from bench import check
from gpu.timing import interleave, low, truth
from torch import Tensor, nn
from turns import Turns

import regraft
from models import zoo

RANK = 16


def projections(model: nn.Module) -> list[str]:
    """Names of all linears of the attentions."""
    ends = ("to_q", "to_k", "to_v", "to_out.0")
    return [name for name, _ in model.named_modules() if name.endswith(ends)]


def random_adapter(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Of rank 16 for every projection, with products of about a tenth of the weights."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name in projections(model):
        out, of = model.get_submodule(name).weight.shape
        scale = 0.1 / (RANK * of) ** 0.5
        tensors[f"{name}.lora_A.weight"] = torch.randn(RANK, of, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(out, RANK, generator=generator) * scale
    return {name: tensor.cuda() for name, tensor in tensors.items()}


def merge(model: nn.Module, base: nn.Module, adapter: dict[str, Tensor], scale: float) -> None:
    """What PyTorch does to have an adapter in its weights, without hooks or wrappers."""
    for name in projections(model):
        a, b = adapter[f"{name}.lora_A.weight"], adapter[f"{name}.lora_B.weight"]
        weight, own = (m.get_submodule(name).weight for m in (model, base))
        torch.addmm(own, b.to(own.dtype), a.to(own.dtype), alpha=scale, out=weight)


def adapters_row(
    name: str, precision: str, args: argparse.Namespace, turns: Turns
) -> dict[str, Any]:
    """Changes of all adapters at once, from call to idle device, and runs with and without."""
    model, inputs = cases.build(name, 0), cases.example_inputs(name, cases.batches(name)[0])
    program = zoo.export_model(model, inputs, "raw", None)
    with turns.tuning():
        engine = regraft.compile(program, backend="cuda", precision=precision)
    adapters = [random_adapter(model, seed) for seed in (1, 2)]
    base = low(model, name, precision)
    served = low(model, name, precision)
    given = tuple(x.cuda() for x in inputs)
    run: dict[str, Callable[[], object]] = {"run": functools.partial(engine, *given)}
    scales, sources = itertools.cycle((0.5, 1.0)), itertools.cycle(adapters)
    runs: dict[str, Callable[[], object]] = {
        "lora_set": lambda: engine.lora.set({"style": next(scales)}),
        "lora_load": lambda: engine.lora.load("style", next(sources)),
        "merge_by_addmm": lambda: merge(served, base, adapters[0], next(scales)),
    }
    turns.take_device()
    with torch.no_grad():
        before = interleave(run, args.seconds)["run"]
        engine.lora.load("style", adapters[0])
        times = interleave(runs, args.seconds * 2, wall=True)
        engine.lora.load("style", adapters[1], scale=1.0)
        after = interleave(run, args.seconds)["run"]
    with torch.no_grad():
        merged = copy.deepcopy(model.cuda())
        merge(merged, model, adapters[1], 1.0)
    error = check(f"{name} with adapters", engine(*given), truth(merged, inputs), precision)
    unload = engine.lora.unload("style")
    row: dict[str, Any] = {"model": name, "precision": precision, "layers": len(unload.parameters)}
    row |= {f"{kind}_ms": value for kind, value in times.items()}
    row |= {"run_before_ms": before, "run_after_ms": after, "error": error}
    return row

"""New weights for one engine beside PyTorch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import cases
import torch
from bench import check
from gpu.peers import peer
from gpu.timing import DTYPES, interleave, low, placed, truth
from turns import Turns

import regraft
from models import zoo

# Of refits by Regraft.
KINDS = ("refit", "refitter", "in_place", "pinned_refitter", "pinned", "pageable")


def constants_of(path: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict by the names of an AOTInductor package."""
    names = set(path.get_constant_fqns())
    return {name: tensor for name, tensor in state.items() if name in names}


def refit_row(name: str, precision: str, args: argparse.Namespace, turns: Turns) -> dict[str, Any]:
    """Medians of a refit from a float32 checkpoint, from call to idle device."""
    model, inputs = cases.build(name, 0), cases.example_inputs(name, cases.batches(name)[0])
    program = zoo.export_model(model, inputs, "raw", None)
    with turns.tuning():
        start = time.perf_counter()
        engine = regraft.compile(program, backend="cuda", precision=precision, retain="none")
        build_ms = 1e3 * (time.perf_counter() - start)
    # Each keeps to memory of its own, as in a process where nothing else refits.
    engines = {kind: engine.fork() for kind in KINDS}
    for each in engines.values():
        each.refit(model)
    other = cases.build(name, 1).cuda()
    state = {k: v.detach() for k, v in other.named_parameters(remove_duplicate=False)}
    state |= dict(other.named_buffers(remove_duplicate=False))
    count = sum({t.data_ptr(): t.nbytes for t in state.values()}.values())
    source = torch.empty(count, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    served = low(model, name, precision)
    mine = {**dict(served.named_parameters()), **dict(served.named_buffers())}
    pairs = [(mine[key], state[key]) for key in mine]
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
        with torch.cuda.graph(graph):
            torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
    pageable = {key: tensor.cpu() for key, tensor in state.items()}
    pinned = {key: tensor.pin_memory() for key, tensor in pageable.items()}
    host_source = torch.empty(count, dtype=torch.uint8, pin_memory=True)
    want = truth(other, inputs)
    given = tuple(x.cuda() for x in inputs)
    theirs = placed(inputs, precision)
    in_place = engines["in_place"].refitter(other, in_place=True)
    runs: dict[str, Callable[[], object]] = {
        "device_copy": lambda: target.copy_(source),
        "load_state_dict": lambda: served.load_state_dict(state, strict=False),
        "foreach_graph": graph.replay,
        "refit": lambda: engines["refit"].refit(state),
        "refitter": engines["refitter"].refitter(other),
        "in_place": in_place,
        "bus_copy": lambda: target.copy_(host_source, non_blocking=True),
        "pinned_refitter": engines["pinned_refitter"].refitter(pinned),
        "pinned": lambda: engines["pinned"].refit(pinned),
        "pageable": lambda: engines["pageable"].refit(pageable),
        "to_pinned": lambda: [t.to("cuda", non_blocking=True) for t in pinned.values()],
        "to_pageable": lambda: [t.to("cuda") for t in pageable.values()],
    }
    loads: tuple[str, ...] = ()
    if "aoti" in args.peers:
        package = peer("aoti", served, theirs)
        # Constants of a package are those of the module that was compiled: converted beforehand.
        converted = {
            k: v.to(DTYPES[precision]) if v.is_floating_point() else v for k, v in state.items()
        }
        constants = constants_of(package, converted)
        load = package.load_constants  # type: ignore[attr-defined]
        loads = ("load_constants", "load_constants_managed")
        runs[loads[0]] = lambda: load(constants, check_full_update=False)
        runs[loads[1]] = lambda: load(constants, check_full_update=False, user_managed=True)
    errors = []
    for kind in KINDS:
        engines[kind].refit(model)
        runs[kind]()
        errors.append(check(f"{name} after {kind}", engines[kind](*given), want, precision))
    with torch.no_grad():
        for kind in ("load_state_dict", "foreach_graph"):
            for parameter in served.parameters():
                parameter.zero_()
            runs[kind]()
            check(f"{name} after {kind}", served(*theirs), want, precision)
    for kind in loads:
        load({k: torch.zeros_like(v) for k, v in constants.items()}, check_full_update=False)
        runs[kind]()
        check(f"{name} after {kind}", package(*theirs), want, precision)
    turns.take_device()
    times = interleave(runs, args.seconds * 2, wall=True)
    report = in_place()
    # What was timed is what later values go through: calls from the same memory.
    last = cases.build(name, 2)
    with torch.no_grad():
        for key, value in last.state_dict(keep_vars=True).items():
            for kept in (state, pageable, pinned):
                kept[key].copy_(value)
    want = truth(last, inputs)
    for kind in KINDS:
        runs[kind]()
        errors.append(check(f"{name} after timed {kind}", engines[kind](*given), want, precision))
    with torch.no_grad():
        for kind in ("load_state_dict", "foreach_graph"):
            runs[kind]()
            check(f"{name} after timed {kind}", served(*theirs), want, precision)
    row: dict[str, Any] = {"model": name, "precision": precision, "megabytes": 1e-6 * count}
    row |= {f"{kind}_ms": value for kind, value in times.items()}
    row["evaluate_ms"] = report.evaluate_ms
    row["build_over_refit"] = build_ms / times["refitter"]
    row["error"] = max(errors)
    return row

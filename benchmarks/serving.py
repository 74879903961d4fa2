"""Latency of a stream of requests while the weights are replaced, beside PyTorch.

    make bench-serving                                        # on the host
    make bench-serving BENCH_FLAGS="--backend cuda --precision f16"

Requests arrive at a fixed rate, done or not the one before; a latency counts from the arrival to
the output in host memory. Meanwhile another thread installs one of two checkpoints, in turns.
PyTorch is the module itself, whose `load_state_dict` and calls take a lock. Every output must be
that of one of the checkpoints: to the bit from an engine, nearly from PyTorch. Also: bytes of forks
that differ in one layer, time of a rollback. Writes out/bench-serving.json, .md and .png.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from bench import ROOT, machine, markdown, show
from rich.console import Console

import regraft
from models import zoo

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Server:
    """Something that answers requests and takes one of two checkpoints."""

    name: str
    call: Callable[[], torch.Tensor]
    install: Callable[[int], object] | None
    exact: bool
    answers: list[torch.Tensor] = field(default_factory=list)

    def learn(self, install: Callable[[int], object]) -> None:
        """Its answers to the request with each of the checkpoints."""
        for which in (1, 0):
            install(which)
            self.answers.insert(0, self.call())
        if torch.equal(*self.answers):
            raise SystemExit(f"{self.name}: both checkpoints give the same output")

    def knows(self, answer: torch.Tensor) -> bool:
        if self.exact:
            return any(torch.equal(answer, known) for known in self.answers)
        return any(torch.allclose(answer, known, rtol=1e-2, atol=1e-2) for known in self.answers)


def replace_weights(
    server: Server, period: float, stop: threading.Event, times: list[float]
) -> None:
    assert server.install is not None
    which = 0
    while not stop.wait(period):
        which = 1 - which
        start = time.perf_counter()
        server.install(which)
        times.append(1e3 * (time.perf_counter() - start))


def serve(server: Server, interval: float, period: float, seconds: float) -> dict[str, Any]:
    """One row, and under "trace" the seconds and latencies of all requests."""
    stop, refits = threading.Event(), list[float]()
    thread = threading.Thread(target=replace_weights, args=(server, period, stop, refits))
    if server.install is not None:
        thread.start()
    trace: list[tuple[float, float]] = []
    begin = time.perf_counter()
    try:
        for i in range(int(seconds / interval)):
            arrival = begin + i * interval
            if (early := arrival - time.perf_counter()) > 0:
                time.sleep(early)
            answer = server.call()
            trace.append((arrival - begin, 1e3 * (time.perf_counter() - arrival)))
            if not server.knows(answer):
                raise SystemExit(f"{server.name}: an output of neither checkpoint")
    finally:
        stop.set()
        if server.install is not None:
            thread.join()
    latencies = sorted(latency for _, latency in trace)
    return {
        "server": server.name,
        "requests": len(latencies),
        "refits": len(refits),
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(0.99 * len(latencies))],
        "max_ms": latencies[-1],
        "refit_ms": statistics.median(refits) if refits else float("nan"),
        "trace": trace,
    }


def module_server(
    models: list[torch.nn.Module], inputs: tuple[torch.Tensor, ...], dtype: torch.dtype
) -> tuple[Server, Callable[[int], object]]:
    device = inputs[0].device
    module = copy.deepcopy(models[0]).to(device, dtype)
    states = [{k: v.to(device) for k, v in m.state_dict().items()} for m in models]
    given = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
    lock = threading.Lock()

    def call() -> torch.Tensor:
        with lock, torch.no_grad():
            out = torch.utils._pytree.tree_leaves(module(*given))[0]
        return out.float().cpu()

    def install(which: int) -> None:
        with lock:
            module.load_state_dict(states[which])
            if device.type == "cuda":
                torch.cuda.synchronize()

    return Server("PyTorch", call, None, exact=False), install


def engine_server(
    engine: regraft.Engine,
    states: list[dict[str, torch.Tensor]],
    inputs: tuple[torch.Tensor, ...],
    name: str,
    in_place: bool,
) -> tuple[Server, Callable[[int], object]]:
    refitters = [engine.refitter(state, in_place=in_place) for state in states]

    def call() -> torch.Tensor:
        out: torch.Tensor = torch.utils._pytree.tree_leaves(engine(*inputs))[0]
        return out.float().cpu()

    return Server(name, call, None, exact=True), lambda which: refitters[which]()


def differing_bytes(a: regraft.Engine, b: regraft.Engine) -> tuple[int, int]:
    """Bytes of constants that two engines do not share, and of all."""
    there = {constant.address for constant in a.constants()}
    constants = b.constants()
    return (
        sum(c.bytes for c in constants if c.address not in there),
        sum(c.bytes for c in constants),
    )


def variants(
    engine: regraft.Engine, states: list[dict[str, torch.Tensor]], count: int
) -> dict[str, Any]:
    """What forks cost that differ in one layer, and how long going back takes."""
    layer = next(n for n in reversed(states[0]) if states[0][n].dim() > 1)
    apart = 0
    forks = []
    for _ in range(count):
        fork = engine.fork()
        fork.refit({layer: states[1][layer]}, partial=True)
        apart, total = differing_bytes(engine, fork)
        forks.append(fork)
    times = []
    for _ in range(20):
        engine.refit(states[1])
        start = time.perf_counter()
        engine.rollback()
        times.append(1e6 * (time.perf_counter() - start))
    return {
        "forks": count,
        "layer": layer,
        "bytes_each": apart,
        "bytes_of_a_copy": total,
        "rollback_us": statistics.median(times),
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), 1, figsize=(11, 1.6 * len(rows)), sharex=True)
    for axis, row in zip(axes, rows, strict=True):
        axis.scatter(*zip(*row["trace"], strict=True), s=3, color="#4477aa")
        axis.set_title(row["server"], fontsize=9, loc="left")
        axis.set_yscale("log")
        axis.set_ylabel("ms")
    axes[-1].set_xlabel("arrival, s")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", choices=zoo.names(), default="resnet50")
    parser.add_argument("--precision", choices=list(DTYPES), default="f32")
    parser.add_argument("--load", type=float, default=0.5, help="rate, of what PyTorch can answer")
    parser.add_argument("--period", type=float, default=0.1, help="seconds between refits")
    parser.add_argument("--forks", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0, help="per row")
    parser.add_argument("--output", type=Path, default=ROOT / "out")
    args = parser.parse_args()
    if args.backend == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU here")
    console = Console(width=200)
    device = torch.device("cuda" if args.backend == "cuda" else "cpu")
    models = [zoo.build(args.model, seed) for seed in (0, 1)]
    states = [{k: v.to(device) for k, v in m.state_dict().items()} for m in models]
    example = zoo.example_inputs(args.model, 1, seed=3)
    inputs = tuple(x.to(device) for x in example)
    program = zoo.export_model(models[0], example, "raw", None)

    servers: list[tuple[Server, Callable[[int], object]]] = []
    theirs, load = module_server(models, inputs, DTYPES[args.precision])
    theirs.learn(load)
    servers.append((theirs, load))
    memory: dict[str, dict[str, int]] = {}
    for in_place in (False, True):
        engine = regraft.compile(program, backend=args.backend, precision=args.precision)
        name = "Regraft, in place" if in_place else "Regraft, shadow"
        mine, refit = engine_server(engine, states, inputs, name, in_place)
        mine.learn(refit)
        servers.append((mine, refit))
        memory[name] = {k: getattr(engine.memory(), k) for k in ("constants", "previous", "spare")}
    times = []
    for _ in range(20):
        start = time.perf_counter()
        theirs.call()
        times.append(time.perf_counter() - start)
    interval = statistics.median(times) / args.load

    rows = []
    with console.status("serving"):
        for refits in (False, True):
            for server, install in servers[: 3 if refits else 2]:
                server.install = install if refits else None
                row = serve(server, interval, args.period, args.seconds)
                row["server"] = server.name if refits else server.name.split(",")[0] + ", no refits"
                rows.append(row)
    facts = machine() | {"model": args.model, "interval_ms": 1e3 * interval, "memory": memory}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    facts["variants"] = variants(engine, states, args.forks)
    table = [{k: v for k, v in row.items() if k != "trace"} for row in rows]
    show(f"{args.model} {args.precision}, a request every {1e3 * interval:.3g} ms", table, console)
    console.print(facts)
    args.output.mkdir(parents=True, exist_ok=True)
    result = {"machine": facts, "rows": rows}
    (args.output / "bench-serving.json").write_text(json.dumps(result, indent=1))
    titles = {key: key.replace("_ms", ", ms") for key in table[0]}
    (args.output / "bench-serving.md").write_text(markdown(table, titles) + "\n")
    plot(rows, args.output / "bench-serving.png")


if __name__ == "__main__":
    main()

"""The engine cache: settings, damage, processes that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from caches import Memory, compile_with, key_of
from torch import nn
from torch.nn import functional as F

import regraft
import support
from models import zoo
from regraft import _regraft
from regraft.cache import BaseEngineCache, DiskEngineCache, cache_options, default_dir


class Leaky(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, self.slope)


# ---- settings ----


def test_off_by_default_and_each_half_alone(tmp_path: Path) -> None:
    model, x = nn.Linear(4, 4).eval(), (torch.randn(2, 4),)
    regraft.compile(model, x, engine_cache_dir=tmp_path / "c")
    reuse = {"reuse_cached_engines": True, "engine_cache_dir": tmp_path / "c"}
    assert not regraft.compile(model, x, **reuse).from_cache
    assert not (tmp_path / "c").exists()
    keep = {"cache_built_engines": True, "engine_cache_dir": tmp_path / "c"}
    for _ in range(2):
        assert not regraft.compile(model, x, **keep).from_cache
    assert len(list((tmp_path / "c").glob("*.rgf"))) == 1
    assert regraft.compile(model, x, **reuse).from_cache


def test_the_default_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_dir() == Path("/somewhere/regraft/engines")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_dir() == Path.home() / ".cache/regraft/engines"
    assert DiskEngineCache().engine_cache_size == 5 << 30


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(regraft.InvalidArgumentError, match=r"want a .*BaseEngineCache, have dict"):
        cache_options(custom_engine_cache={})  # type: ignore[arg-type]
    with pytest.raises(regraft.InvalidArgumentError, match="want 0 or more bytes, have -1"):
        DiskEngineCache("x", -1)
    with pytest.raises(regraft.InvalidArgumentError, match="want bytes as an int, have str"):
        DiskEngineCache("x", "5GB")  # type: ignore[arg-type]
    with pytest.raises(regraft.InvalidArgumentError, match="key: want"):
        DiskEngineCache("x").load("../../etc/passwd")
    with pytest.raises(TypeError, match="abstract"):
        BaseEngineCache()  # type: ignore[abstract]


# ---- what goes wrong ----


def damages(entry: bytes) -> dict[str, bytes]:
    flipped = bytearray(entry)
    flipped[len(entry) // 2] ^= 4
    return {
        "empty": b"",
        "cut": entry[: len(entry) // 2],
        "one byte short": entry[:-1],
        "flipped": bytes(flipped),
        "foreign": b"\x80\x04not an engine" * 50,
    }


@pytest.mark.parametrize("damage", ["empty", "cut", "one byte short", "flipped", "foreign"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_damaged_entry_is_a_miss(
    damage: str, keep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache, x = Memory(), torch.randn(2, 4)
    model = nn.Linear(4, 4).eval().requires_grad_(False)
    compile_with(cache, model, (x,))
    ((key, entry),) = cache.entries.items()
    cache.entries[key] = damages(entry)[damage]
    engine = regraft.compile(
        model,
        (x,),
        reuse_cached_engines=True,
        cache_built_engines=keep,
        custom_engine_cache=cache,
    )
    assert not engine.from_cache
    assert "cannot use the entry" in caplog.text
    assert support.relative_error(engine(x), model(x)) < 1e-5
    assert cache.entries == ({key: entry} if keep else {})


def test_an_entry_under_a_foreign_key_is_a_miss() -> None:
    cache, x = Memory(), torch.randn(2, 4)
    models = [Leaky(0.1), Leaky(0.2)]
    compile_with(cache, models[0], (x,))
    cache.entries[key_of(models[1], (x,))] = next(iter(cache.entries.values()))
    engine = compile_with(cache, models[1], (x,))
    assert not engine.from_cache
    assert support.same_bits(engine(x), models[1](x))


class Broken(Memory):
    def __init__(self, error: BaseException | None, answer: Any = None) -> None:
        super().__init__()
        self.error = error
        self.answer = answer

    def save(self, key: str, blob: bytes) -> None:
        if self.error:
            raise self.error

    def load(self, key: str) -> bytes | None:
        if self.error:
            raise self.error
        return self.answer  # type: ignore[no-any-return]


def test_a_cache_that_raises_is_a_warning_and_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    model, x = nn.Linear(4, 4).eval().requires_grad_(False), torch.randn(2, 4)
    engine = compile_with(Broken(ConnectionError("no route")), model, (x,))
    assert not engine.from_cache
    assert support.relative_error(engine(x), model(x)) < 1e-5
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "cannot read the entry" in warnings[0]
    assert "load: ConnectionError: no route" in warnings[0]
    assert "cannot save the entry" in warnings[1]
    caplog.clear()
    assert not compile_with(Broken(None, answer="text"), model, (x,)).from_cache
    assert "load: want bytes or None, have str" in caplog.text


def test_an_interrupt_in_a_cache_is_no_miss() -> None:
    with pytest.raises(KeyboardInterrupt):
        compile_with(Broken(KeyboardInterrupt()), nn.Linear(4, 4), (torch.randn(2, 4),))


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache = DiskEngineCache(tmp_path / "file")
    x = torch.randn(2, 4)
    for _ in range(2):
        assert not compile_with(cache, nn.Linear(4, 4), (x,)).from_cache
    assert "cannot save the entry" in caplog.text


def test_an_entry_too_large_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {
        "cache_built_engines": True,
        "reuse_cached_engines": True,
        "engine_cache_dir": tmp_path,
        "engine_cache_size": 100,
    }
    for _ in range(2):
        engine = regraft.compile(nn.Linear(4, 4).eval(), (torch.randn(2, 4),), **options)
        assert not engine.from_cache
    assert caplog.text.count("is not kept, the capacity is 100") == 1
    assert not list(tmp_path.glob("*.rgf"))


# ---- processes ----

_COMPILE = """
import sys, torch, regraft
from models import zoo
folder, name, out = sys.argv[1:]
model, inputs = zoo.build(name, 1), zoo.example_inputs(name)
program = zoo.export_model(model, inputs, "raw", zoo.dynamic_shapes(name))
engine = regraft.compile(program, reuse_cached_engines=True, engine_cache_dir=folder)
outputs = torch.utils._pytree.tree_leaves(engine(*zoo.example_inputs(name, 3, seed=9)))
torch.save((engine.from_cache, outputs), out)
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}


def test_a_new_process_with_other_weights_hits_and_refits(tmp_path: Path) -> None:
    name = "tiny_resnet18"
    regraft.compile(
        support.program(name, "raw"), cache_built_engines=True, engine_cache_dir=tmp_path
    )
    subprocess.run(
        [sys.executable, "-c", _COMPILE, tmp_path, name, tmp_path / "out"],
        check=True,
        env=_environment(),
    )
    hit, outputs = torch.load(tmp_path / "out")
    assert hit
    want = zoo.run(support.model(name, 1), zoo.example_inputs(name, 3, seed=9))
    for have, truth in zip(outputs, want, strict=True):
        assert support.relative_error(have, truth) < support.F32_TOLERANCE


# Prints whether every engine of torch.compile was in the cache, and whether the answers are right.
_COMPILE_LATE = """
import sys, torch
from models import zoo
from regraft import _regraft
compile, hits = _regraft.compile, []
def counted(*args):
    engine = compile(*args)
    hits.append(engine.from_cache)
    return engine
_regraft.compile = counted
folder, name, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
model, inputs = zoo.build(name, seed), zoo.example_inputs(name, 2, seed=9)
options = {"cache_built_engines": True, "reuse_cached_engines": True, "engine_cache_dir": folder}
compiled = torch.compile(model, backend="regraft", options=options)
with torch.no_grad():
    have = torch.utils._pytree.tree_leaves(compiled(*inputs))[0]
    want = torch.utils._pytree.tree_leaves(model(*inputs))[0]
error = float((have - want).norm() / want.norm())
print(len(hits), sum(hits), error < 1e-5)
"""


def test_new_processes_of_torch_compile_hit_and_refit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "tiny_resnet18"
    compile_core, built = _regraft.compile, []

    def counted(*args: Any) -> Any:
        built.append(compile_core(*args))
        return built[-1]

    monkeypatch.setattr(_regraft, "compile", counted)
    options = {"cache_built_engines": True, "engine_cache_dir": tmp_path}
    compiled = torch.compile(support.model(name, 0), backend="regraft", options=options)
    with torch.no_grad():
        compiled(*zoo.example_inputs(name, 2, seed=9))
    assert [engine.from_cache for engine in built] == [False]
    result = subprocess.run(
        [sys.executable, "-c", _COMPILE_LATE, tmp_path, name, "1"],
        check=True,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["1", "1", "True"]


# Compiles small programs in random order for ever and checks every answer.
_HAMMER = """
import random, sys, torch
from regraft import _regraft
from regraft.cache import cache_options
_regraft.set_thread_count(1)
folder, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
x, wants = torch.load(folder + "/wants")
programs = [_regraft.Program.read(f"{folder}/{i}.pt2") for i in range(len(wants))]
random.seed(seed)
options = cache_options(True, True, folder + "/cache", size)
print("ready", flush=True)
while True:
    i = random.randrange(len(programs))
    engine = _regraft.compile(programs[i], options, None)
    right = torch.allclose(engine.run([x])[0], wants[i], atol=1e-5)
    print("hit" if engine.from_cache else "miss", "right" if right else "wrong", flush=True)
"""


def test_processes_that_are_killed_leave_a_sound_cache(tmp_path: Path) -> None:
    folder, x, wants = tmp_path / "cache", torch.randn(2, 4), []
    for i, last in enumerate([nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.SiLU(), nn.GELU()]):
        model = nn.Sequential(nn.Linear(4, 4), last).eval().requires_grad_(False)
        torch.export.save(torch.export.export(model, (x,)), tmp_path / f"{i}.pt2")
        wants.append(model(x))
    torch.save((x, wants), tmp_path / "wants")
    compile_with(DiskEngineCache(folder), model, (x,))
    size = 7 * sum(path.stat().st_size for path in folder.glob("*.rgf")) // 2  # Three fit.

    def start(seed: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _HAMMER, tmp_path, str(size), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )

    workers = [start(seed) for seed in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    lines: list[str] = []
    for worker in workers:
        time.sleep(0.5 + random.Random(7).random())
        worker.send_signal(signal.SIGKILL)
        assert worker.stdout is not None
        lines += worker.stdout.read().splitlines()
        worker.wait()
    counts = {line: lines.count(line) for line in set(lines)}
    assert counts.get("hit right", 0) > 10, counts
    assert counts.get("miss right", 0) > 3, counts
    assert not any("wrong" in line for line in lines[:-1])
    assert sum(path.stat().st_size for path in folder.glob("*.rgf")) <= size
    for path in folder.glob("*.rgf"):
        assert DiskEngineCache(folder).load(path.stem) == path.read_bytes()
    # A full cache found by a fresh process loses the oldest alone.
    before = sorted(folder.glob("*.rgf"), key=lambda path: path.stat().st_mtime_ns)
    other = nn.Sequential(nn.Linear(4, 4), nn.ELU())
    compile_with(DiskEngineCache(folder, size), other, (x,))
    left = set(folder.glob("*.rgf"))
    gone = [path for path in before if path not in left]
    assert gone == before[: len(gone)]
    assert len(gone) <= 1
    assert not list(folder.glob("*.tmp.*"))

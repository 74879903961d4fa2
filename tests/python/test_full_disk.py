"""Files that the system does not let grow: an error, and the old file stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import regraft

_SAVE = """
import resource, sys, torch, regraft
import regraft.torch_tensorrt as torch_tensorrt
from torch import nn

kind, path = sys.argv[1:]
net, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)).eval(), torch.rand(2, 64)
engine = regraft.compile(net, (x,), backend="cpu")
if kind == "engine":
    save = lambda: engine.save(path)
elif kind == "module":
    module = regraft.compile(net, (x,), backend="cpu", torch_executed_ops=["aten.tanh"])
    save = lambda: module.save(path)
elif kind == "mutable":
    mutable = regraft.MutableModule(net, backend="cpu")
    with torch.no_grad():
        mutable(x)
    save = lambda: regraft.MutableModule.save(mutable, path)
else:
    save = lambda: torch_tensorrt.save(engine, path)
save()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
before = open(path, "rb").read()
try:
    save()
except regraft.IoError as error:
    print(error)
assert open(path, "rb").read() == before
assert len(before) > 20_000
"""


@pytest.mark.parametrize("kind", ["engine", "module", "mutable", "torch_tensorrt"])
def test_the_old_file_stays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    environment = {**os.environ, "PYTHONPATH": str(Path(regraft.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", _SAVE, kind, str(path)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"[file] {path}: cannot write: File too large"
    assert [*tmp_path.iterdir()] == [path]

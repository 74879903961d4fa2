"""Compiled modules as files and inside ExportedPrograms: nothing lost, nothing trusted."""

from __future__ import annotations

import collections
import enum
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import partial
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import regraft
from regraft._calling import CallSpec
from regraft._trees import tree_from_text
from regraft.module.graph_json import graph_from_json, graph_to_json
from regraft.module.saving import module_from_bytes

X = torch.linspace(-2, 2, 24).reshape(4, 6)


@pytest.fixture(scope="module")
def module() -> regraft.Module:
    torch.set_num_threads(2)
    return regraft.compile(partial.layers_program(0))


def _rewritten(path: Path, entry: str, change: Any) -> bytes:
    """The archive with one entry changed by `change(bytes)`; None drops it."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == entry:
                data = change(data)
                if data is None:
                    continue
            new.writestr(name, data)
    return out.getvalue()


def test_a_module_comes_back(module: regraft.Module, tmp_path: Path) -> None:
    path = tmp_path / "m.rgm"
    regraft.save(module, path)
    loaded = regraft.load(path)
    assert partial.same(loaded(X), module(X))
    assert repr(loaded) == repr(module)
    assert loaded.code == module.code
    assert loaded.refit_map() == module.refit_map()
    loaded.refit(partial.layers_program(1))
    partial.close(loaded(X), partial.layers(1)(X))
    assert partial.same(module(X), regraft.load(path)(X))
    regraft.save(loaded, path)
    partial.close(regraft.load(path)(X), partial.layers(1)(X))
    assert os.listdir(tmp_path) == ["m.rgm"]


# Knows nothing of the model's source.
_LOAD = """
import sys, torch, regraft
module = regraft.load(sys.argv[1])
x = torch.linspace(-2, 2, 24).reshape(4, 6)
torch.save(module(x), sys.argv[2])
module.refit(torch.load(sys.argv[3]))
torch.save(module(x), sys.argv[4])
"""


def test_another_process_loads_and_refits_without_the_source(
    module: regraft.Module, tmp_path: Path
) -> None:
    regraft.save(module, tmp_path / "m.rgm")
    torch.save(partial.tensors(partial.layers(1)), tmp_path / "w")
    files = [str(tmp_path / name) for name in ("m.rgm", "0", "w", "1")]
    package = str(Path(regraft.__file__).parents[1])
    subprocess.run([sys.executable, "-c", _LOAD, *files], check=True, env={"PYTHONPATH": package})
    partial.close(torch.load(tmp_path / "0"), partial.layers(0)(X))
    partial.close(torch.load(tmp_path / "1"), partial.layers(1)(X))


def test_stripped_and_immutable_files(module: regraft.Module, tmp_path: Path) -> None:
    regraft.save(module, tmp_path / "s", strip_weights=True)
    stripped = regraft.load(tmp_path / "s")
    with pytest.raises(regraft.StateError, match="no weights yet"):
        stripped(X)
    with pytest.raises(regraft.StateError, match="no weights yet"):
        regraft.save(stripped, tmp_path / "again")
    stripped.refit(partial.layers(0).state_dict())
    assert partial.same(stripped(X), module(X))
    regraft.save(module, tmp_path / "i", immutable=True)
    immutable = regraft.load(tmp_path / "i")
    assert partial.same(immutable(X), module(X))
    with pytest.raises(regraft.StateError, match="immutable"):
        immutable.refit(partial.layers_program(1))
    with pytest.raises(ValueError, match="exclude each other"):
        regraft.save(module, tmp_path / "x", strip_weights=True, immutable=True)
    assert sorted(os.listdir(tmp_path)) == ["i", "s"]


def test_l8_stripped_files_do_not_depend_on_values(tmp_path: Path) -> None:
    files = []
    for seed in (0, 1):
        model = partial.layers(seed)
        model.hidden.fill_(1.0)  # Comes with the file: no checkpoint brings it.
        compiled = regraft.compile(torch.export.export(model, (torch.randn(4, 6),)), name="same")
        regraft.save(compiled, tmp_path / str(seed), strip_weights=True)
        files.append((tmp_path / str(seed)).read_bytes())
    assert files[0] == files[1]


def test_engines_lie_at_page_borders(module: regraft.Module, tmp_path: Path) -> None:
    regraft.save(module, tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    engine = module.engines[0].serialize()
    assert data.find(engine) % 4096 == 0
    with zipfile.ZipFile(tmp_path / "m") as archive:
        assert archive.testzip() is None
        assert not [n for n in archive.namelist() if "pkl" in n or "pickle" in n]
    mapped = regraft.load(tmp_path / "m")
    assert mapped.memory().mapped + mapped.memory().constants > 0


def test_strides_and_unusual_tensors_survive(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("turned", torch.randn(3, 4).t() + 2)
            self.register_buffer("point", torch.tensor(2.5))
            self.register_buffer("low", torch.rand(3).bfloat16())
            self.register_buffer("whole", torch.tensor([2, 1, 0]))
            self.register_buffer("empty", torch.zeros(0, 3))

        def forward(self, x: torch.Tensor) -> Any:
            y = partial.xlog1py(x, self.turned)
            return (
                partial.xlog1py(y, self.point)[:, self.whole],
                partial.xlog1py(y, self.low),
                torch.cat([partial.xlog1py(y, y.abs()), self.empty]),
            )

    compiled = regraft.compile(
        Odd().eval(), (torch.randn(4, 3),), torch_executed_ops=["aten.cat", "aten.index"]
    )
    regraft.save(compiled, tmp_path / "m")
    x = torch.randn(4, 3)
    loaded = regraft.load(tmp_path / "m")
    assert partial.same(loaded(x), compiled(x))
    bank = loaded.bank
    assert bank is not None
    assert bank.tensors["turned"].stride() == (1, 4)


def test_regions_survive(tmp_path: Path) -> None:
    class Control(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, lambda z: z * 2.0, lambda z: z.sin() - 1.0, (x,))

    compiled = regraft.compile(Control().eval(), (torch.randn(3, 4),))
    regraft.save(compiled, tmp_path / "m")
    loaded = regraft.load(tmp_path / "m")
    for x in (torch.ones(3, 4), -torch.ones(3, 4)):
        partial.close(loaded(x), Control()(x))


def test_arguments_of_every_kind_survive() -> None:
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_function(
        torch.ops.aten._to_copy.default,
        (x,),
        {"dtype": torch.float64, "memory_format": torch.contiguous_format},
    )
    z = graph.call_function(torch.ops.aten.clamp.default, (y, float("-inf"), 0.1))
    size = graph.call_function(torch.ops.aten.sym_size.int, (x, 0))
    half = graph.call_function(__import__("operator").floordiv, (size, 2))
    kinds = {"layout": torch.strided, "device": torch.device("cpu")}
    n = graph.call_function(torch.ops.aten.full.default, ([half, 2], True), kinds)
    graph.output((z, n))
    module = torch.fx.GraphModule({}, graph)
    text = json.dumps(graph_to_json(module))
    again = graph_from_json(json.loads(text), "again")
    value = torch.randn(5)
    assert partial.same(again(value), module(value))
    assert json.dumps(graph_to_json(again)) == text


def _load_bytes(data: bytes, tmp_path: Path) -> Any:
    path = tmp_path / "hostile"
    path.write_bytes(data)
    return regraft.load(path)


def test_hostile_archives_are_errors(module: regraft.Module, tmp_path: Path) -> None:
    path = tmp_path / "m"
    regraft.save(module, path)
    data = path.read_bytes()
    for end in (0, 1, 2, 10, len(data) // 2, len(data) - 1):
        with pytest.raises((regraft.CorruptError, regraft.VersionError)):
            _load_bytes(data[:end], tmp_path)
    at = data.find(module.engines[0].serialize()) + 200
    with pytest.raises(regraft.CorruptError):  # A byte of an engine.
        _load_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], tmp_path)
    for entry in ("engine_0.rgf", "weights.safetensors"):
        with pytest.raises(regraft.CorruptError):
            _load_bytes(_rewritten(path, entry, lambda _: None), tmp_path)
        with pytest.raises(regraft.CorruptError):
            _load_bytes(_rewritten(path, entry, lambda d: d[: len(d) // 2]), tmp_path)

    def manifest(change: Any) -> bytes:
        return _edited(path, change)

    with pytest.raises(regraft.VersionError, match="version 99"):
        _load_bytes(manifest(lambda m: m.update(version=99)), tmp_path)
    changes = {
        "another format": lambda m: m.update(format="x"),
        "no layout": lambda m: m.pop("layout"),
        "a segment's name": lambda m: m["layout"]["segments"][0].update(name="a;b"),
        "an unknown value": lambda m: m["layout"]["segments"][2]["inputs"][0].__setitem__(0, "no"),
        "an unknown weight": lambda m: m["layout"]["segments"][1].update(weights=["no"]),
        "a parameter's dims": lambda m: [p["spec"].update(dims=[7]) for p in m["table"]],
        "a guard": lambda m: m["signature"].update(guards=["x.y == 1"]),
        "no relation": lambda m: m["signature"].update(guards=["print(7)"]),
        "no expression": lambda m: m["signature"].update(guards=["((1 == 1"]),
        "a call": lambda m: m.update(call="{}"),
        "a list": lambda m: m.update(torch=[]),
    }
    for what, change in changes.items():
        with pytest.raises(regraft.CorruptError):
            print(what, _load_bytes(manifest(change), tmp_path)(X))
    for target in (
        "os.system",
        "builtins::eval",
        "aten::../relu.default",
        "torch.hub.load",
        "operator.attrgetter",
        "aten::__class__.default",
        "aten::relu.__class__",
    ):

        def call(m: Any, target: str = target) -> None:
            _calls(m)["target"] = target

        with pytest.raises((regraft.CorruptError, regraft.UnsupportedError)):
            _load_bytes(manifest(call), tmp_path)

    def method(m: Any) -> None:
        m["torch"]["torch_1"]["nodes"][-2].update(op="call_method", target="tolist")

    with pytest.raises(regraft.CorruptError):
        _load_bytes(manifest(method), tmp_path)


def test_damaged_archives_are_errors(module: regraft.Module, tmp_path: Path) -> None:
    path, packed = tmp_path / "m", tmp_path / "packed"
    regraft.save(module, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    damage = random.Random(1)
    refused = 0
    for good in (path.read_bytes(), packed.read_bytes()):
        for _ in range(100):
            data = bytearray(good)
            for _ in range(damage.choice((1, 2, 4))):
                # Half of it where the directory is.
                near = min(len(data), damage.choice((600, len(data))))
                data[-damage.randrange(1, near + 1)] = damage.choice((0, 1, 8, 12, 14, 255))
            try:
                module_from_bytes(bytes(data))
            except (regraft.CorruptError, regraft.VersionError):
                refused += 1
    assert refused > 50


def _calls(m: Any) -> dict[str, Any]:
    """The first call of an op in the first PyTorch segment."""
    nodes = m["torch"]["torch_1"]["nodes"]
    return next(node for node in nodes if node["op"] == "call_function")


def _edited(path: Path, change: Any) -> bytes:
    def edit(data: bytes) -> bytes:
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return _rewritten(path, "module.json", edit)


def test_text_of_a_file_never_becomes_code(
    module: regraft.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    regraft.save(module, path)
    monkeypatch.chdir(tmp_path)
    run = "__import__('os').mkdir('ran')"

    def argument(text: str) -> Any:
        return lambda m: _calls(m)["kwargs"].update({text: 1})

    def rename(old: str, new: str) -> Any:
        def change(m: Any) -> None:
            segment = next(s for s in m["layout"]["segments"] if s["name"] == old)
            segment["name"] = new
            m["torch"][new] = m["torch"].pop(old)

        return change

    def placeholder(name: str) -> Any:
        return lambda m: m["torch"]["torch_1"]["nodes"][0].update(name=name)

    def on_numbers(m: Any) -> None:
        _calls(m).update(target="operator.add", args=[1, 2], kwargs={"out": 1})

    changes = {
        "no name": argument(f"**({run} or {{}}), other"),
        "has no argument 'nothing'": argument("nothing"),
        "'lambda' is no name": argument("lambda"),
        "no argument 'out'": on_numbers,
        "'class' is no name": rename("torch_1", "class"),
        "'def' is no name": placeholder("def"),
        "a=.* is no name": placeholder(f"a={run}"),
        "'None' is no name": lambda m: m["layout"]["inputs"].__setitem__(0, "None"),
    }
    for message, change in changes.items():
        with pytest.raises(regraft.CorruptError, match=message):
            _load_bytes(_edited(path, change), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_ops_that_do_more_than_compute_are_refused(module: regraft.Module, tmp_path: Path) -> None:
    path = tmp_path / "m"
    regraft.save(module, path)
    made = str(tmp_path / "made")
    for target, args in {
        "aten::from_file.default": [made, True, 100],
        "debugprims::load_tensor.default": [made, [1], [1]],
        "aten::relu_.default": [3],
        "aten::_print.default": ["text"],
        "aten::manual_seed.default": [3],
        "higher_order::inline_asm_elementwise": ["trap;", "r"],
    }.items():

        def change(m: Any, target: str = target, args: list[Any] = args) -> None:
            _calls(m).update(target=target, args=args, kwargs={})

        with pytest.raises(regraft.CorruptError, match=target):
            _load_bytes(_edited(path, change), tmp_path)
    assert not os.path.exists(made)
    graph = torch.fx.Graph()
    graph.output((graph.call_function(torch.ops.aten.from_file.default, (made, True, 100)),))
    with pytest.raises(regraft.UnsupportedError, match="more than compute"):
        graph_to_json(torch.fx.GraphModule({}, graph))


class Colour(enum.Enum):
    """A key of a dictionary."""

    RED = 1


Pair = collections.namedtuple("Pair", "a b")
pytree._register_namedtuple(Pair, serialized_type_name="test_saving.Pair")


def test_structures_of_calls_import_nothing(
    module: regraft.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [{Colour.RED: 1, "b": [2, None]}, collections.defaultdict(list, k=3), Pair(4, 5)]
    spec = pytree.tree_structure(trees)
    text = pytree.treespec_dumps(spec)
    assert tree_from_text(text) == spec
    (tmp_path / "hostile_import.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    own = f"{__name__}:Colour"
    factory = '"default_factory_module": "builtins", "default_factory_name": "list"'
    for old, new, error in (
        (own, "hostile_import:Colour", regraft.UnsupportedError),
        (own, "os:environ", regraft.CorruptError),
        (own, "builtins:dict", regraft.CorruptError),
        (factory, factory.replace("builtins", "hostile_import"), regraft.UnsupportedError),
        (factory, factory.replace("list", "breakpoint"), regraft.CorruptError),
        ("collections.defaultdict", "of.others", regraft.UnsupportedError),
        ("test_saving.Pair", "of.others", regraft.UnsupportedError),
    ):
        assert old in text
        with pytest.raises(error, match="the call"):
            tree_from_text(text.replace(old, new))
    path = tmp_path / "m"
    regraft.save(module, path)
    hostile = text.replace(own, "hostile_import:Colour")

    def change(m: Any) -> None:
        m["call"] = json.dumps({**json.loads(m["call"]), "out_spec": hostile})

    with pytest.raises(regraft.UnsupportedError, match=r"hostile_import.*not imported"):
        _load_bytes(_edited(path, change), tmp_path)


def test_missing_files_and_folders(module: regraft.Module, tmp_path: Path) -> None:
    with pytest.raises(regraft.NotFoundError):
        regraft.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        regraft.load(tmp_path / "nothing")
    with pytest.raises(regraft.NotFoundError):
        regraft.save(module, tmp_path / "no" / "folder")
    with pytest.raises(regraft.Error):
        regraft.load(tmp_path)
    with pytest.raises(TypeError, match=r"want a regraft\.Engine or regraft\.Module"):
        regraft.save(partial.layers(0), tmp_path / "x")  # type: ignore[arg-type]


def test_a_failed_save_leaves_the_old_file(
    module: regraft.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    regraft.save(module, path)
    old = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("injected")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(regraft.IoError, match="injected"):
        regraft.save(module, path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["m"]


def test_links_stay_and_what_is_no_file_too(module: regraft.Module, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    target, link, pipe = tmp_path / "other" / "m", tmp_path / "link", tmp_path / "pipe"
    target.write_text("old")
    link.symlink_to("other/m")
    (tmp_path / "dangling").symlink_to("other/n")
    for path in (link, tmp_path / "dangling"):
        regraft.save(module, path)
        assert path.is_symlink()
        assert partial.same(regraft.load(path)(X), module(X))
    assert target.read_bytes() == (tmp_path / "other" / "n").read_bytes()
    os.mkfifo(pipe)
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("missing/m")
    for path in (pipe, tmp_path / "to_pipe"):
        with pytest.raises(regraft.IoError, match=r"/pipe: cannot write: not a regular file"):
            regraft.save(module, path)
    assert pipe.is_fifo()
    with pytest.raises(regraft.IoError, match="loop: cannot write"):
        regraft.save(module, tmp_path / "loop")
    with pytest.raises(regraft.MissingFileError, match="the folder does not exist"):
        regraft.save(module, tmp_path / "nowhere")
    with pytest.raises(regraft.IoError, match="cannot write: Is a directory"):
        regraft.save(module, tmp_path / "other")
    names = ["dangling", "link", "loop", "nowhere", "other", "pipe", "to_pipe"]
    assert sorted(os.listdir(tmp_path)) == names


def test_engines_as_bytes() -> None:
    model = nn.Linear(4, 3).eval()
    engine = regraft.compile(model, (torch.randn(2, 4),))
    data = engine.serialize()
    x = torch.randn(2, 4)
    again = regraft.Engine.deserialize(data)
    assert partial.same(again(x), engine(x))
    again.refit({"weight": torch.zeros(3, 4), "bias": torch.ones(3)}, in_place=True)
    assert torch.equal(again(x), torch.ones(2, 3))
    assert len(engine.serialize(strip_weights=True)) < len(data)
    for end in range(0, len(data), 97):
        with pytest.raises((regraft.CorruptError, regraft.VersionError)):
            regraft.Engine.deserialize(data[:end])
    with pytest.raises(ValueError, match="exclude each other"):
        engine.serialize(strip_weights=True, immutable=True)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, *, more: dict[str, torch.Tensor], times: int = 2) -> Any:
        y = self.linear(x)
        return {"y": y * times, "z": [partial.xlog1py(y, more["a"].abs()), None]}


@pytest.mark.parametrize("whole", [False, True])
def test_exported_programs_that_hold_one(whole: bool, tmp_path: Path) -> None:
    model = Nested().eval().requires_grad_(False)
    kwargs = {"more": {"a": torch.randn(3, 4)}, "times": 2}
    batch = {0: torch.export.Dim("n", min=2)}
    shapes = {"x": batch, "more": {"a": batch}, "times": None}
    x = torch.randn(3, 4)
    compiled: Any = (
        regraft.compile(model.linear, (x,), dynamic_shapes=(batch,))
        if whole
        else regraft.compile(model, (x,), kwargs, dynamic_shapes=shapes)
    )
    program = regraft.to_exported_program(compiled)
    torch.export.save(program, tmp_path / "m.pt2")
    loaded = torch.export.load(tmp_path / "m.pt2").module()
    for n in (2, 7):
        x = torch.randn(n, 4)
        own = {} if whole else {"more": {"a": torch.randn(n, 4)}, "times": 2}
        want = (model.linear if whole else model)(x, **own)
        partial.close(loaded(x, **own), want)
    kind = regraft.Engine if whole else regraft.Module
    assert isinstance(regraft.load(tmp_path / "m.pt2"), kind)


class _Numbers(nn.Module):
    """Takes and returns dynamic and constant numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, n: int, *, scale: float, flag: bool, none: None) -> Any:
        y = partial.xlog1py(self.linear(x), x.abs()) * (n * scale)
        return {"y": y, "sum": x.shape[0] * 2 + n, "n": n}, 3, 0.25, flag, none, y.new_ones(n)


def test_exported_programs_take_and_return_numbers(tmp_path: Path) -> None:
    model = _Numbers().eval()
    constants = {"scale": 0.5, "flag": True, "none": None}
    compiled = regraft.compile(
        model,
        (torch.randn(3, 4), 5),
        constants,
        dynamic_shapes={
            "x": {0: torch.export.Dim.AUTO},
            "n": torch.export.Dim.DYNAMIC,
            **dict.fromkeys(constants),
        },
    )
    program = regraft.to_exported_program(compiled)
    torch.export.save(program, tmp_path / "m.pt2")
    loaded = torch.export.load(tmp_path / "m.pt2")
    for n in (2, 7):
        x = torch.randn(n + 1, 4)
        have, want = (f(x, n, **constants) for f in (loaded.module(), model))
        partial.close(have[0].pop("y"), want[0].pop("y"))
        assert have[:5] == want[:5]
        assert [type(value) for value in have[0].values()] == [int, int]
        assert torch.equal(have[5], want[5])
    other = _Numbers().eval()
    refitted = regraft.refit_module_weights(loaded, other.state_dict())
    x = torch.randn(6, 4)
    partial.close(refitted(x, 3, **constants)[0]["y"], other(x, 3, **constants)[0]["y"])


def test_exported_programs_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    class Number(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return partial.xlog1py(x, x.abs()), x.shape[0]

    compiled = regraft.compile(
        Number().eval(), (torch.randn(3),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    )
    older = json.loads(compiled.call_text)
    del older["number_outputs"]
    compiled._call_spec = CallSpec(json.dumps(older))
    with pytest.raises(regraft.UnsupportedError, match="of an older version"):
        regraft.to_exported_program(compiled)
    torch.export.save(torch.export.export(nn.ReLU(), (torch.randn(3),)), tmp_path / "p.pt2")
    with pytest.raises(regraft.UnsupportedError, match="is not compiled"):
        regraft.load(tmp_path / "p.pt2")
    hostile = torch.zeros(100, dtype=torch.uint8)
    with pytest.raises(regraft.CorruptError, match="does not hold"):
        torch.ops.regraft.run_engine(hostile, "{}", [])

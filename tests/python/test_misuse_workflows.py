"""Wrong calls of mutable modules, torch.compile, tracking, engine caches and the names of
Torch-TensorRT: errors that say what is wrong, and what answered before answers as before."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import partial
import pytest
import torch
from misuse import NOT_FOUND, UNREADABLE, Misuse, Paths, check, table
from torch import Tensor, nn

import regraft
import regraft.torch_tensorrt as trt
from regraft import (
    BaseEngineCache,
    CorruptError,
    DiskEngineCache,
    InvalidArgumentError,
    IoError,
    MismatchError,
    MutableModule,
    NotFoundError,
    StateError,
    UnsupportedError,
)
from regraft.tracking import WeightTracker

X = torch.linspace(-1, 1, 12).reshape(3, 4)


@dataclass(frozen=True)
class Subject:
    """A mutable module that has run."""

    mutable: Any
    paths: Paths

    def answer(self) -> Any:
        return self.mutable(X), self.mutable.compilations

    def run_with_weight(self, make: Callable[[Tensor], Any]) -> Any:
        layer = self.mutable.original_model[0]
        weight = layer.weight
        value = make(weight.detach())
        is_tensor = isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
        layer.weight = nn.Parameter(value, requires_grad=False) if is_tensor else value
        try:
            return self.mutable(X)
        finally:
            layer.weight = weight

    def run_freed(self) -> Any:
        weight = self.mutable.original_model[0].weight
        storage, value = weight.untyped_storage(), weight.detach().clone()
        size = storage.nbytes()
        storage.resize_(0)
        try:
            return self.mutable(X)
        finally:
            storage.resize_(size)
            weight.detach().copy_(value)

    def run_training(self) -> Any:
        self.mutable.original_model.train()
        try:
            return self.mutable(torch.ones(2, 4))
        finally:
            self.mutable.original_model.eval()


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    mutable = MutableModule(partial.small(0))
    mutable(X)
    return Subject(mutable, Paths(tmp_path_factory.mktemp("mutable")))


def _mutable(**options: Any) -> Any:
    return MutableModule(partial.small(0), **options)


@table(
    ("what", lambda s: MutableModule(3), TypeError, "want a torch.nn.Module, have int"),
    ("option", lambda s: _mutable(precison="x"), TypeError, "nearest: 'precision'"),
    ("precision", lambda s: _mutable(precision="f8"), InvalidArgumentError, "have 'f8'"),
    ("track", lambda s: _mutable(track="x"), InvalidArgumentError, "'none', have 'x'"),
    ("engines", lambda s: _mutable(max_engines=0), InvalidArgumentError, "at least 1, have 0"),
    ("engines type", lambda s: _mutable(max_engines="1"), TypeError, "want an int, have str '1'"),
    ("strict", lambda s: _mutable(strict="no"), TypeError, "strict: want True or False"),
    ("mode", lambda s: _mutable(strip_engine_weights=True), InvalidArgumentError, "can replace"),
    ("nothing", lambda s: s.mutable(), TypeError, "missing a required argument"),
    ("keyword", lambda s: s.mutable(X, more=1), TypeError, "unexpected keyword argument 'more'"),
    ("none", lambda s: s.mutable(None), TypeError, "must be Tensor, not NoneType"),
    ("sizes", lambda s: s.mutable(torch.ones(3, 9)), RuntimeError, "reduction dim"),
    ("meta", lambda s: s.mutable(X.to("meta")), MismatchError, "want host memory, have meta"),
    ("grad", lambda s: s.mutable(X.clone().requires_grad_()), StateError, "requires grad"),
    ("training", lambda s: s.run_training(), InvalidArgumentError, "is in training mode"),
    ("freed", lambda s: s.run_freed(), TypeError, r"0\.weight: has no memory"),
    ("weight of meta", lambda s: s.run_with_weight(_of("meta")), TypeError, "0.weight: is a meta"),
    ("sparse", lambda s: s.run_with_weight(_of("sparse")), TypeError, "0.weight: want a strided"),
    ("other sizes", lambda s: s.run_with_weight(lambda w: X[:, :2]), RuntimeError, "reduction dim"),
    ("no weight", lambda s: s.run_with_weight(_of("none")), TypeError, "must be Tensor, not None"),
    (
        "shapes",
        lambda s: s.mutable.set_expected_dynamic_shape_range([], {}),
        TypeError,
        "want a tuple and a dict, have list and dict",
    ),
    ("notify", lambda s: s.mutable.notify_weights_changed(["x", 3]), NotFoundError, "named 3, x"),
    ("notify text", lambda s: s.mutable.notify_weights_changed("0.weight"), TypeError, "have str"),
    ("notify type", lambda s: s.mutable.notify_weights_changed(3), TypeError, "have int 3"),
    ("attribute", lambda s: s.mutable.nothing, AttributeError, "nothing"),
    ("save", lambda s: MutableModule.save(nn.ReLU(), "x"), TypeError, "MutableModule, have ReLU"),
    ("flag", lambda s: _save(s, "x", strip_weights=1), TypeError, "strip_weights: want True"),
    ("save type", lambda s: _save(s, 3), TypeError, "not int"),
    ("save nowhere", lambda s: _save(s, s.paths.no_folder), NOT_FOUND, "folder does not exist"),
    ("save on folder", lambda s: _save(s, s.paths.root), IoError, "Is a directory"),
    ("save below", lambda s: _save(s, s.paths.below_file), IoError, "Not a directory"),
    ("no name", lambda s: _save(s, ""), InvalidArgumentError, "want the name of a file"),
    ("no file", lambda s: MutableModule.load(s.paths.missing), NOT_FOUND, "does not exist"),
    ("folder", lambda s: MutableModule.load(s.paths.root), IoError, "Is a directory"),
    ("load type", lambda s: MutableModule.load(None), TypeError, "not NoneType"),
    ("garbage", lambda s: MutableModule.load(s.paths.garbage), CorruptError, "not a file of"),
    ("empty", lambda s: MutableModule.load(s.paths.empty), CorruptError, "not a file of"),
)
def test_mutable_modules(case: Misuse, subject: Subject) -> None:
    names = subject.paths.names() if subject.paths.garbage.exists() else []
    check(case, subject, subject.answer)
    assert {*subject.paths.names()} - {*names} <= {"empty"}


def _of(kind: str) -> Callable[[Tensor], Any]:
    return UNREADABLE[kind][0]


def _save(s: Subject, path: Any, **options: Any) -> None:
    MutableModule.save(s.mutable, path, **options)


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "settings": lambda m: m.update(settings=[]),
    "a setting": lambda m: m["settings"].update(x=3),
    "options": lambda m: m.update(options=3),
    "an option": lambda m: m["options"].update(x=3),
    "engines kept": lambda m: m["options"].update(max_engines="x"),
    "hints": lambda m: m.update(hints=3),
    "a hint": lambda m: m.update(hints={"hint": ["__class__", None, None]}),
    "engines": lambda m: m.update(engines=["x"]),
    "programs": lambda m: m.update(programs=[3]),
    "sizes": lambda m: m["programs"][0].update(sizes=3),
    "a place": lambda m: m["programs"][0]["places"].update({"0.weight": "x"}),
    "weights": lambda m: m.update(weights=[["a"]]),
    "a weight": lambda m: m["weights"][0].__setitem__(0, "a..b"),
    "an alias": lambda m: m.update(aliases={"a": "x"}),
    "free": lambda m: m.update(free=[[1, 2, 3]]),
    "all": lambda m: m.clear(),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_changed_files_of_mutable_modules(change: str, subject: Subject, tmp_path: Path) -> None:
    MutableModule.save(subject.mutable, tmp_path / "whole")
    with (
        zipfile.ZipFile(tmp_path / "whole") as whole,
        zipfile.ZipFile(tmp_path / "changed", "w") as changed,
    ):
        for name in whole.namelist():
            data = whole.read(name)
            if name == "mutable.json":
                manifest = json.loads(data)
                _CHANGES[change](manifest)
                data = json.dumps(manifest).encode()
            changed.writestr(name, data)
    for module in (None, partial.small(0)):
        with pytest.raises(CorruptError, match="changed: not a file of MutableModule"):
            MutableModule.load(tmp_path / "changed", module)
    assert torch.equal(MutableModule.load(tmp_path / "whole")(X), subject.mutable(X))


@pytest.fixture(scope="module")
def compiled() -> Any:
    return torch.compile(partial.small(0), backend=regraft.dynamo.backend)


def _jit(options: Any = None, **given: Any) -> Any:
    model = torch.compile(partial.small(1), backend=regraft.dynamo.backend, options=options)
    if given:
        model = torch.compile(partial.small(1), backend=regraft.dynamo.backend, **given)
    torch._dynamo.reset_code_caches()
    return model(X)


@table(
    ("option", lambda c: _jit({"precison": "x"}), TypeError, "nearest: 'precision'"),
    ("number", lambda c: _jit({3: 1}), TypeError, "unknown option 3"),
    ("not here", lambda c: _jit({"dryrun": True}), TypeError, "unknown option 'dryrun'"),
    ("list", lambda c: _jit([1]), TypeError, "options: want a mapping, have list"),
    ("track", lambda c: _jit({"track": 3}), InvalidArgumentError, "'none', have 3"),
    ("precision", lambda c: _jit({"precision": 3}), TypeError, "want a str, have int 3"),
    ("block", lambda c: _jit({"min_block_size": "x"}), TypeError, "want an int, have str 'x'"),
    ("grad", lambda c: _jit({"fallback_on_grad": 1}), TypeError, "fallback_on_grad: want True"),
    ("progress", lambda c: _jit({"progress": 3}), TypeError, "want a function, have int 3"),
    ("cache", lambda c: _jit({"engine_cache_size": -1}), InvalidArgumentError, "have -1"),
    ("mode", lambda c: _jit(mode="max-autotune"), TypeError, "mode: want 'default', have 'max"),
    ("dtype", lambda c: c(X.double()), RuntimeError, "Double"),
    ("none", lambda c: c(None), TypeError, "must be Tensor, not NoneType"),
)
def test_torch_compile(case: Misuse, compiled: Any) -> None:
    with torch.no_grad():
        check(case, compiled, lambda: compiled(X))


@table(
    ("number", lambda t: regraft.notify_weights_changed(3), TypeError, "tensors, have int 3"),
    ("text", lambda t: regraft.notify_weights_changed("w"), TypeError, "tensors, have str 'w'"),
    ("numbers", lambda t: regraft.notify_weights_changed([X, 3]), TypeError, "have int 3"),
    ("names", lambda t: WeightTracker(["a"], []), InvalidArgumentError, "have 0 of 1"),
    ("no tensor", lambda t: WeightTracker(["a"], [3]), TypeError, "a: want a tensor, have int 3"),
    ("sparse", lambda t: WeightTracker(["a"], [X.to_sparse()]), TypeError, "a: want a strided"),
    ("track", lambda t: WeightTracker(["a"], [X], "x"), InvalidArgumentError, "have 'x'"),
    ("notify", lambda t: t.notify(["a", "b"]), NotFoundError, "no weight is named b"),
)
def test_tracking(case: Misuse) -> None:
    tracker = WeightTracker(["a"], [X.clone()])
    check(case, tracker, tracker.changed)


def test_weights_of_every_form_are_announced() -> None:
    model = partial.small(0)
    names = ["0.weight", "0.bias"]
    tracker = WeightTracker(names, [model[0].weight, model[0].bias])
    for weights, want in (
        (model, names),
        (model.state_dict(), names),
        (model[0].bias, ["0.bias"]),
        ([model[0].weight, X.to_sparse()], ["0.weight"]),
        (None, names),
    ):
        regraft.notify_weights_changed(weights)
        assert tracker.changed() == want
        tracker.accept()
        assert tracker.changed() == []


def test_announcements_while_a_tracker_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, other = torch.ones(3), torch.ones(3)
    look = WeightTracker._look

    def announce(tracker: WeightTracker, tensors: list[torch.Tensor]) -> Any:
        seen = look(tracker, tensors)
        regraft.notify_weights_changed([other])
        regraft.notify_weights_changed([weight])
        return seen

    monkeypatch.setattr(WeightTracker, "_look", announce)
    tracker = WeightTracker(["w"], [weight], track="none")
    monkeypatch.undo()
    assert tracker.changed() == ["w"]
    tracker.accept()
    regraft.notify_weights_changed([other])
    assert tracker.changed() == []


class _Cache(BaseEngineCache):
    """Gives and raises what it is told to."""

    def __init__(self, load: Any = None, save: Any = None) -> None:
        self.given, self.taken = load, save

    def load(self, key: str) -> Any:
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given

    def save(self, key: str, blob: bytes) -> None:
        if isinstance(self.taken, BaseException):
            raise self.taken

    def remove(self, key: str) -> None:
        raise ValueError("mine")


def _cached(cache: Any = None, **options: Any) -> Any:
    return regraft.compile(
        partial.small(0),
        (X,),
        cache_built_engines=True,
        reuse_cached_engines=True,
        custom_engine_cache=cache,
        **options,
    )


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        (_Cache(KeyError("mine")), "load: KeyError: 'mine'"),
        (_Cache(None, OSError("mine")), "save: OSError: mine"),
        (_Cache(3), "want bytes or None, have int"),
        (_Cache("text"), "want bytes or None, have str"),
        (_Cache(bytearray(9)), "want bytes or None, have bytearray"),
        (_Cache(b""), "too short for an engine file"),
        (_Cache(bytes(range(256))), "not an engine file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_caches_that_fail_are_misses(
    cache: _Cache, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = _cached(cache)
    assert not engine.from_cache
    assert words in caplog.text
    assert torch.equal(engine(X), regraft.compile(partial.small(0), (X,))(X))


class _Half(BaseEngineCache):
    def load(self, key: str) -> bytes | None:
        return None


@table(
    ("interrupt", lambda p: _cached(_Cache(KeyboardInterrupt())), KeyboardInterrupt, ""),
    ("interrupt save", lambda p: _cached(_Cache(None, SystemExit(3))), SystemExit, "3"),
    ("half", lambda p: _Half(), TypeError, "abstract method"),
    ("class", lambda p: _cached(_Cache), InvalidArgumentError, "BaseEngineCache, have ABCMeta"),
    ("dict", lambda p: _cached({}), InvalidArgumentError, "BaseEngineCache, have dict"),
    ("folder type", lambda p: _cached(engine_cache_dir=3), TypeError, "not int"),
    ("type", lambda p: DiskEngineCache(3), TypeError, "not int"),
    ("null", lambda p: DiskEngineCache("a\0b"), InvalidArgumentError, "name of a file"),
    ("size", lambda p: DiskEngineCache(p.root, -1), InvalidArgumentError, "0 or more bytes"),
    ("size type", lambda p: DiskEngineCache(p.root, True), InvalidArgumentError, "have bool"),
    ("huge", lambda p: DiskEngineCache(p.root, 1 << 70), InvalidArgumentError, "bytes, have 118"),
    ("key", lambda p: DiskEngineCache(p.root).save("../a", b""), InvalidArgumentError, "'../a'"),
    ("load key", lambda p: DiskEngineCache(p.root).load("a/b"), InvalidArgumentError, "'a/b'"),
    ("file", lambda p: DiskEngineCache(p.garbage).save("a", b"x"), IoError, "Not a directory"),
)
def test_caches(case: Misuse, subject: Subject) -> None:
    check(case, subject.paths, subject.answer)


def test_folders_that_cannot_be_used_are_misses(
    subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    engine = _cached(engine_cache_dir=subject.paths.garbage)
    assert "Not a directory" in caplog.text
    assert torch.equal(engine(X), subject.mutable(X))


def _trt(model: Any = None, inputs: Any = (X,), **options: Any) -> Any:
    return trt.compile(partial.small(0) if model is None else model, inputs=inputs, **options)


@table(
    ("no shape", lambda s: trt.Input(), InvalidArgumentError, "want shape, or all of"),
    ("half", lambda s: trt.Input(min_shape=(1,)), InvalidArgumentError, "have min_shape"),
    ("negative", lambda s: trt.Input((-1,)), InvalidArgumentError, "at least 0, have"),
    ("order", lambda s: _range((3,), (2,), (1,)), InvalidArgumentError, "want min_shape <= opt"),
    ("dtype", lambda s: trt.Input((1,), dtype="f"), InvalidArgumentError, "dtype: want .*have 'f'"),
    ("format", lambda s: trt.Input((1,), format="x"), InvalidArgumentError, "format: want"),
    ("domain", lambda s: trt.Input((1,), tensor_domain=(1,)), InvalidArgumentError, r"have \(1,"),
    ("domain order", lambda s: trt.Input((1,), tensor_domain=(3, 1)), InvalidArgumentError, "< hi"),
    ("domain text", lambda s: trt.Input((1,), tensor_domain="ab"), InvalidArgumentError, "'ab'"),
    ("name", lambda s: trt.Input((1,), name=3), TypeError, "name: want a str, have int 3"),
    ("tensor", lambda s: trt.Input(torch_tensor=3), TypeError, "want a tensor, have int 3"),
    ("from", lambda s: trt.Input.from_tensors([3]), TypeError, "want a tensor, have int 3"),
    ("model", lambda s: _trt(3), TypeError, "want a torch.nn.Module, have int"),
    ("inputs", lambda s: _trt(None, 3), InvalidArgumentError, "want a sequence, have int"),
    ("inputs twice", lambda s: _trt(arg_inputs=(X,)), InvalidArgumentError, "are the same"),
    ("kwargs", lambda s: _trt(kwarg_inputs=[1]), InvalidArgumentError, "a mapping, have list"),
    ("ir", lambda s: _trt(ir="ts"), InvalidArgumentError, "TorchScript and FX"),
    ("training", lambda s: _trt(partial.small(0).train()), InvalidArgumentError, "training mode"),
    ("option", lambda s: _trt(enabled_precision={1}), TypeError, "nearest: 'enabled_precisions'"),
    ("precision", lambda s: _trt(enabled_precisions={3}), InvalidArgumentError, "have 3"),
    ("device", lambda s: _trt(device="gpu"), InvalidArgumentError, "device: want .*have 'gpu'"),
    ("block", lambda s: _trt(min_block_size="x"), TypeError, "min_block_size: want an int"),
    ("ops", lambda s: _trt(torch_executed_ops=3), InvalidArgumentError, "of ops, have 3"),
    ("old", lambda s: _trt(make_refittable="x"), TypeError, "make_refittable: want True or"),
    ("cache", lambda s: _trt(custom_engine_cache=3), InvalidArgumentError, "have int"),
    ("jit", lambda s: _trt(3, ir="torch_compile"), TypeError, "have int"),
    ("dynamo", lambda s: trt.dynamo.compile(partial.small(0)), TypeError, "an ExportedProgram"),
    ("bytes", lambda s: _engine(partial.layers(0), [torch.ones(4, 6)]), UnsupportedError, "full"),
    ("method", lambda s: _engine(partial.small(0), [X], "run"), UnsupportedError, "have 'run'"),
    ("save type", lambda s: trt.save(3, s.paths.missing), TypeError, "have int"),
    ("no path", lambda s: trt.save(s.mutable), InvalidArgumentError, "want file_path"),
    ("save mutable", lambda s: trt.save(s.mutable, s.paths.missing), TypeError, "RTModule.save"),
    ("as", lambda s: _trt_save(s, s.paths.missing, output_format="x"), InvalidArgumentError, "'x'"),
    ("save folder", lambda s: _trt_save(s, s.paths.root), IoError, "Is a directory"),
    ("save nowhere", lambda s: _trt_save(s, s.paths.no_folder), NOT_FOUND, "folder does not exist"),
    ("extra", lambda s: _trt_save(s, s.paths.missing, extra_files=[1]), TypeError, "a mapping"),
    ("extra text", lambda s: _extra(s, {"a": 3}), TypeError, "extra_files: a: want a str"),
    ("no file", lambda s: trt.load(s.paths.missing), NOT_FOUND, "no such file"),
    ("folder", lambda s: trt.load(s.paths.root), IoError, "Is a directory"),
    ("archive", lambda s: trt.load(s.paths.archive), UnsupportedError, "neither a .safetensors"),
    ("cut", lambda s: trt.load(_cut(s)), CorruptError, "ZIP: no end record"),
    ("format of file", lambda s: trt.load(s.paths.garbage, format="x"), UnsupportedError, "'x'"),
    ("texts", lambda s: trt.load(s.paths.garbage, [1]), TypeError, "want a dict, have list"),
    ("mutable", lambda s: trt.MutableTorchTensorRTModule(3), TypeError, "have int"),
    ("config", lambda s: _configured({}), TypeError, "want CompilationSettings, have dict"),
    ("frozen", lambda s: _frozen(), InvalidArgumentError, "want False, as weights change"),
    ("settings", lambda s: trt.dynamo.CompilationSettings(x=1), TypeError, "unknown option 'x'"),
)
def test_torch_tensorrt(case: Misuse, subject: Subject) -> None:
    check(case, subject, subject.answer)


def _range(least: Any, optimum: Any, greatest: Any) -> Any:
    return trt.Input(min_shape=least, opt_shape=optimum, max_shape=greatest)


def _engine(model: Any, inputs: Any, method: str = "forward") -> Any:
    return trt.convert_method_to_trt_engine(model, method, inputs=inputs)


def _trt_save(s: Subject, path: Path, **options: Any) -> None:
    trt.save(s.mutable.engines[0], path, **options)


def _cut(s: Subject) -> Path:
    path = s.paths.root / "exported.pt2"
    _trt_save(s, path)
    return s.paths.cut(path, 3000)


def _extra(s: Subject, files: Any) -> None:
    _trt_save(s, s.paths.missing, extra_files=files)


def _configured(config: Any) -> Any:
    return trt.MutableTorchTensorRTModule(partial.small(0), config=config)


def _frozen() -> Any:
    return trt.MutableTorchTensorRTModule(partial.small(0), immutable_weights=True)

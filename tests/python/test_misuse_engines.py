"""Wrong calls of compile, engines, modules, refits and files: errors that say what is wrong, and
nothing else happens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import partial
import pytest
import torch
from misuse import NOT_FOUND, UNREADABLE, Misuse, Paths, check, table
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import regraft
from regraft import CorruptError, InvalidArgumentError, IoError, MismatchError, StateError

X = torch.linspace(-1, 1, 12).reshape(3, 4)


@dataclass(frozen=True)
class Subject:
    """An engine or module, its input, and other weights."""

    compiled: Any
    x: Tensor
    weights: dict[str, Tensor]
    first: str
    paths: Paths
    source: nn.Module

    def answer(self) -> Any:
        return self.compiled(self.x), self.compiled.generation

    def refit(self, *args: Any, **options: Any) -> Any:
        return self.compiled.refit(*args, **options)

    def refit_with(self, value: Any, **options: Any) -> Any:
        return self.refit({**self.weights, self.first: value}, **options)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return Paths(tmp_path_factory.mktemp("misuse"))


@pytest.fixture(scope="module", params=["engine", "module"])
def subject(request: pytest.FixtureRequest, paths: Paths) -> Subject:
    if request.param == "engine":
        engine = regraft.compile(partial.small(0), (X,))
        weights = partial.tensors(partial.small(1))
        return Subject(engine, X, weights, "0.weight", paths, partial.small(1))
    x = torch.linspace(-1, 1, 24).reshape(4, 6)
    module = regraft.compile(partial.layers(0), (x,))
    assert isinstance(module, regraft.Module)
    weights = partial.tensors(partial.layers(1))
    return Subject(module, x, weights, "last.weight", paths, partial.layers(1))


@pytest.fixture(scope="module")
def program(paths: Paths) -> Path:
    path = paths.root / "program.pt2"
    torch.export.save(_exported(), path)
    return path


def _exported(seed: int = 0) -> ExportedProgram:
    return torch.export.export(partial.small(seed), (X,))


def _compile(model: Any = None, args: Any = (X,), *rest: Any, **options: Any) -> Any:
    return regraft.compile(partial.small(0) if model is None else model, args, *rest, **options)


def _free(**options: Any) -> Any:
    return _compile(dynamic_shapes=({0: Dim("batch")},), **options)


@table(
    ("no model", lambda p: _compile(3), TypeError, "want a torch.nn.Module, .*have int"),
    ("training", lambda p: _compile(partial.small(0).train()), InvalidArgumentError, "call model"),
    ("meta", lambda p: _compile(nn.Linear(4, 4, device="meta").eval()), TypeError, "weight, bias"),
    ("args", lambda p: _compile(None, X), TypeError, "args: want a tuple of inputs, have Tensor"),
    ("kwargs", lambda p: _compile(None, (X,), [1]), TypeError, "kwargs: want a mapping, have list"),
    ("no file", lambda p: _compile(p.missing, ()), NOT_FOUND, "missing: cannot open"),
    ("folder", lambda p: _compile(p.root, ()), IoError, "Is a directory"),
    ("no name", lambda p: _compile("", ()), InvalidArgumentError, "want the name of a file"),
    ("garbage", lambda p: _compile(p.garbage, ()), CorruptError, "garbage: ZIP"),
    ("file", lambda p: _compile(p.missing), InvalidArgumentError, "brings its own inputs"),
    ("program", lambda p: _compile(_exported()), InvalidArgumentError, "brings its own inputs"),
    ("option", lambda p: _compile(precison="f32"), TypeError, "nearest: 'precision'"),
    ("settings", lambda p: _compile(settings={}), TypeError, "want CompilationSettings, have dict"),
    (
        "settings twice",
        lambda p: _compile(settings=regraft.CompilationSettings(), precision="f32"),
        InvalidArgumentError,
        "not both",
    ),
    ("progress", lambda p: _compile(progress=3), TypeError, "progress: want a function, have int"),
    ("precision", lambda p: _compile(precision="f8"), InvalidArgumentError, "'f16', have 'f8'"),
    ("precision type", lambda p: _compile(precision=3), TypeError, "want a str, have int 3"),
    ("backend", lambda p: _compile(backend="tpu"), InvalidArgumentError, "no backend 'tpu'"),
    ("backend type", lambda p: _compile(backend=3), TypeError, "backend: want a str"),
    ("no device", lambda p: _compile(device="gpu"), InvalidArgumentError, "device: 'gpu' is none"),
    (
        "device of another backend",
        lambda p: _compile(backend="cpu", device="gpu"),
        InvalidArgumentError,
        "not on 'gpu'",
    ),
    ("device type", lambda p: _compile(device=3), TypeError, "device: want a device, have int 3"),
    ("name", lambda p: _compile(name=3), TypeError, "name: want a str, have int 3"),
    ("flag", lambda p: _compile(immutable_weights="no"), TypeError, "True or False, have str 'no'"),
    ("block", lambda p: _compile(min_block_size=0), InvalidArgumentError, "at least 1, have 0"),
    ("block type", lambda p: _compile(min_block_size=1.5), TypeError, "an int, have float 1.5"),
    ("ops", lambda p: _compile(torch_executed_ops="aten.relu"), TypeError, "have one string"),
    (
        "ops type",
        lambda p: _compile(torch_executed_ops=3),
        TypeError,
        "want a collection of ops",
    ),
    (
        "unknown ops",
        lambda p: _compile(torch_executed_ops=["aten.rleu", "aten.relu", "aten.relu.defualt"]),
        InvalidArgumentError,
        r"PyTorch has no 'aten\.rleu', 'aten\.relu\.defualt'$",
    ),
    ("pass", lambda p: _compile(disabled_passes=["x"]), InvalidArgumentError, "no pass named 'x'"),
    ("passes", lambda p: _compile(disabled_passes="hoist"), TypeError, "names, have str 'hoist'"),
    (
        "modes",
        lambda p: _compile(immutable_weights=True, strip_engine_weights=True),
        InvalidArgumentError,
        "exclude each other",
    ),
    ("retain", lambda p: _compile(retain="disk"), InvalidArgumentError, "'none', have 'disk'"),
    ("realised", lambda p: _compile(realised="x"), regraft.VersionError, "not a realised plan"),
    ("realised type", lambda p: _compile(realised=3), TypeError, "want a str, have int 3"),
    ("optimum", lambda p: _compile(optimum=[X]), TypeError, "or sizes by symbol, have list"),
    ("optimum name", lambda p: _compile(optimum={"z": 3}), InvalidArgumentError, "no symbol 'z'"),
    ("optimum size", lambda p: _free(optimum={"s0": "x"}), TypeError, "optimum of s0: want an int"),
    ("optimum few", lambda p: _compile(optimum=()), InvalidArgumentError, "want 1 tensors, have 0"),
    ("optimum rank", lambda p: _compile(optimum=(X[0],)), InvalidArgumentError, "want 2 sizes"),
    ("optimum type", lambda p: _compile(optimum=(3,)), TypeError, "want tensors, have int 3"),
    ("cache size", lambda p: _compile(engine_cache_size=-1), InvalidArgumentError, "have -1"),
    ("cache type", lambda p: _compile(engine_cache_size="1"), InvalidArgumentError, "have str"),
    ("cache", lambda p: _compile(custom_engine_cache={}), InvalidArgumentError, "Cache, have dict"),
    ("explain", lambda p: regraft.explain(3, ()), TypeError, "have int"),
    ("explain option", lambda p: regraft.explain(_exported(), prec=3), TypeError, "option 'prec'"),
    ("threads", lambda p: regraft.set_thread_count(0), InvalidArgumentError, "want 1..4096"),
)
def test_compile(case: Misuse, paths: Paths) -> None:
    check(case, paths, lambda: None)


@pytest.mark.parametrize("truncate", [False, True])
def test_compile_broken_files(truncate: bool, paths: Paths, program: Path) -> None:
    with pytest.raises(CorruptError, match="ZIP: no end record"):
        regraft.compile(paths.cut(program, 700), truncate_double=truncate)
    with pytest.raises(NOT_FOUND):
        regraft.compile(paths.missing, truncate_double=truncate)


def test_errors_of_callbacks_come_through() -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        _compile(progress=fail)


@table(
    ("nothing", lambda s: s.compiled(), MismatchError, "want the structure"),
    ("too many", lambda s: s.compiled(s.x, s.x), MismatchError, "want the structure"),
    ("keyword", lambda s: s.compiled(s.x, more=3), MismatchError, "more"),
    ("list", lambda s: s.compiled([s.x]), MismatchError, "input 0: want a tensor, have list"),
    ("dict", lambda s: s.compiled({"x": s.x}), MismatchError, "want a tensor, have dict"),
    ("array", lambda s: s.compiled(s.x.numpy()), MismatchError, "want a tensor, have ndarray"),
    ("none", lambda s: s.compiled(None), MismatchError, "input 0: want a tensor, have NoneType"),
    ("sizes", lambda s: s.compiled(torch.ones(7, 9)), MismatchError, r"want f32\[.*\[7,9\]"),
    ("rank", lambda s: s.compiled(s.x[0]), MismatchError, r"want f32\["),
    ("dtype", lambda s: s.compiled(s.x.double()), MismatchError, r"have f64\["),
    ("float8", lambda s: s.compiled(UNREADABLE["float8"][0](s.x)), MismatchError, "e4m3fnuz"),
    ("meta", lambda s: s.compiled(s.x.to("meta")), MismatchError, "want host memory, have meta"),
    ("sparse", lambda s: s.compiled(s.x.to_sparse()), MismatchError, "strided tensor"),
    (
        "fake",
        lambda s: s.compiled(UNREADABLE["fake"][0](s.x)),
        MismatchError,
        "no (memory|data)",
    ),
    (
        "freed",
        lambda s: s.compiled(UNREADABLE["freed"][0](s.x)),
        MismatchError,
        "no (memory|data)",
    ),
    (
        "nested",
        lambda s: s.compiled(UNREADABLE["nested"][0](s.x)),
        MismatchError,
        "have a nested one",
    ),
    ("quantised", lambda s: s.compiled(UNREADABLE["quantised"][0](s.x)), MismatchError, "qint8"),
    ("grad", lambda s: s.compiled(s.x.clone().requires_grad_()), StateError, "requires grad"),
    ("parameter", lambda s: s.compiled.parameter("x"), regraft.NotFoundError, "no parameter 'x'"),
)
def test_calls(case: Misuse, subject: Subject) -> None:
    check(case, subject, subject.answer)


class _Keywords(nn.Module):
    def forward(self, x: Tensor, *, scale: Tensor | None = None, n: int = 2) -> Tensor:
        return x * n if scale is None else x * n * scale


@table(
    ("missing", lambda e: e(X), MismatchError, "want the structure"),
    ("number", lambda e: e(X, scale=X, n=4), MismatchError, "want 3, which is part .*have 4"),
    ("text", lambda e: e(X, scale=X, n="a"), MismatchError, "have 'a'"),
    ("tensor", lambda e: e(X, scale=X, n=torch.tensor(3)), MismatchError, r"have tensor\(3\)"),
    ("tensors", lambda e: e(X, scale=X, n=torch.ones(2)), MismatchError, "part of the program"),
    ("array", lambda e: e(X, scale=X, n=torch.ones(2).numpy()), MismatchError, "have array"),
    ("none", lambda e: e(X, scale=None, n=3), MismatchError, "input 1: want a tensor"),
)
def test_calls_with_keywords(case: Misuse, keywords: Any) -> None:
    check(case, keywords, lambda: keywords(X, n=3, scale=X))


@pytest.fixture(scope="module")
def keywords() -> Any:
    return regraft.compile(_Keywords().eval(), (X,), {"scale": X, "n": 3})


def _without_first(s: Subject) -> dict[str, Tensor]:
    return {name: value for name, value in s.weights.items() if name != s.first}


@table(
    ("none", lambda s: s.refit(None), TypeError, "want a mapping .*have NoneType"),
    ("list", lambda s: s.refit([s.x]), TypeError, "have list"),
    ("empty", lambda s: s.refit({}), MismatchError, "nothing of that name in mapping of 0"),
    ("missing", lambda s: s.refit(_without_first(s)), MismatchError, "weight: want f32"),
    ("unknown", lambda s: s.refit({**s.weights, "w": X}), MismatchError, "w: .*no such parameter"),
    ("unknown partly", lambda s: s.refit({"w": X}, partial=True), MismatchError, "w: .*no such"),
    ("number as name", lambda s: s.refit({3: X}, partial=True), TypeError, "want names .*have 3"),
    ("sizes", lambda s: s.refit_with(torch.ones(9, 9)), MismatchError, r"have f32\[9,9\]"),
    ("dtype", lambda s: s.refit_with(s.weights[s.first].double()), MismatchError, "cast converts"),
    (
        "complex",
        lambda s: s.refit_with(s.weights[s.first].to(torch.complex64), cast=True),
        MismatchError,
        "have c64",
    ),
    ("other module", lambda s: s.refit(nn.Linear(3, 3)), MismatchError, "bias: .*no such"),
    ("meta module", lambda s: s.refit(s.source.to("meta")), Exception, "is a meta tensor"),
    (
        "not a number",
        lambda s: s.refit_with(s.weights[s.first] * float("nan"), non_finite="reject"),
        MismatchError,
        "elements are not finite",
    ),
    (
        "non_finite",
        lambda s: s.refit(s.weights, non_finite="x"),
        InvalidArgumentError,
        "'report', 'reject' or 'ignore', have 'x'",
    ),
    ("non_finite type", lambda s: s.refit(s.weights, non_finite=3), TypeError, "have int 3"),
    ("partial", lambda s: s.refit(s.weights, partial="yes"), TypeError, "partial: want True or"),
    ("cast", lambda s: s.refit(s.weights, cast=3), TypeError, "cast: want True or False, have int"),
    ("option", lambda s: s.refit(s.weights, inplace=True), TypeError, "inplace"),
    ("no file", lambda s: s.refit(s.paths.missing), NOT_FOUND, "missing: cannot open"),
    ("no name", lambda s: s.refit("a\0b"), InvalidArgumentError, r"have 'a\\x00b'"),
    ("folder", lambda s: s.refit(s.paths.root), IoError, "Is a directory"),
    ("garbage", lambda s: s.refit(s.paths.garbage), regraft.UnsupportedError, "neither a"),
    ("empty file", lambda s: s.refit(s.paths.empty), regraft.UnsupportedError, "neither a"),
    ("cut", lambda s: s.refit(_cut_weights(s)), CorruptError, "bytes of data, have"),
)
def test_refits(case: Misuse, subject: Subject) -> None:
    check(case, subject, subject.answer)


def _cut_weights(s: Subject) -> Path:
    path = s.paths.root / "weights.safetensors"
    save_file({k: v.clone() for k, v in s.weights.items()}, path)
    return s.paths.cut(path, path.stat().st_size - 3)


@pytest.mark.parametrize("kind", UNREADABLE)
def test_refits_of_what_cannot_be_read(kind: str, subject: Subject) -> None:
    make, words = UNREADABLE[kind]

    def refit(partly: bool) -> Misuse:
        value = make(subject.weights[subject.first])
        weights = {subject.first: value} if partly else {**subject.weights, subject.first: value}
        call = lambda s: s.refit(weights, partial=partly, cast=True)  # noqa: E731
        return Misuse(kind, call, (TypeError, MismatchError), f"{subject.first}: .*{words}")  # type: ignore[arg-type]

    check(refit(False), subject, subject.answer)
    check(refit(True), subject, subject.answer)


def test_callers_errors_come_through(subject: Subject) -> None:
    class Broken(dict[str, Tensor]):
        def __getitem__(self, name: str) -> Tensor:
            raise RuntimeError("mine")

        def items(self) -> Any:
            raise RuntimeError("mine")

    before = subject.answer()
    with pytest.raises(RuntimeError, match="mine"):
        subject.refit(Broken(subject.weights))
    assert before[1] == subject.answer()[1]
    assert partial.same(before[0], subject.answer()[0])


def test_waiting_times(subject: Subject) -> None:
    if isinstance(subject.compiled, regraft.Engine):
        with pytest.raises(TypeError, match="wait_seconds"):
            subject.refit(subject.weights, in_place=True, wait_seconds=1)
        return
    for seconds, error in ((-1, InvalidArgumentError), ("x", TypeError)):
        with pytest.raises(error, match="wait_seconds"):
            subject.refit(subject.weights, in_place=True, wait_seconds=seconds)
    with pytest.raises(MismatchError, match="nothing of that name"):
        subject.compiled.load_state_dict({})


@table(
    ("type", lambda s: s.compiled.save(3), TypeError, "have int|not int"),
    ("no name", lambda s: s.compiled.save(""), InvalidArgumentError, "name of a file, have ''"),
    ("null", lambda s: s.compiled.save("a\0b"), InvalidArgumentError, r"have 'a\\x00b'"),
    ("no folder", lambda s: s.compiled.save(s.paths.no_folder), NOT_FOUND, "nowhere"),
    ("folder", lambda s: s.compiled.save(s.paths.root), IoError, "[Ii]s a directory"),
    ("below a file", lambda s: s.compiled.save(s.paths.below_file), IoError, "Not a directory"),
    ("long", lambda s: s.compiled.save(s.paths.root / ("a" * 300)), IoError, "name too long"),
    ("flag", lambda s: s.compiled.save(s.paths.missing, immutable=1), TypeError, "immutable: want"),
    (
        "modes",
        lambda s: s.compiled.save(s.paths.missing, strip_weights=True, immutable=True),
        InvalidArgumentError,
        "exclude each other",
    ),
    ("what", lambda s: regraft.save(nn.ReLU(), s.paths.missing), TypeError, "have ReLU"),
    ("exported", lambda s: regraft.to_exported_program(nn.ReLU()), TypeError, "have ReLU"),
    (
        "exported sizes",
        lambda s: regraft.to_exported_program(s.compiled, (torch.ones(9, 9),)),
        MismatchError,
        r"have f32\[9,9\]",
    ),
    (
        "exported args",
        lambda s: regraft.to_exported_program(s.compiled, s.x),
        TypeError,
        "want a tuple",
    ),
)
def test_saving(case: Misuse, subject: Subject) -> None:
    paths = subject.paths
    assert paths.garbage.exists()
    names = paths.names()
    check(case, subject, subject.answer)
    assert paths.names() == names


@table(
    ("type", lambda p: regraft.load(3), TypeError, "not int"),
    ("no name", lambda p: regraft.load(""), InvalidArgumentError, "name of a file"),
    ("no file", lambda p: regraft.load(p.missing), NOT_FOUND, "no such file"),
    ("folder", lambda p: regraft.load(p.root), IoError, "Is a directory"),
    ("empty", lambda p: regraft.load(p.empty), CorruptError, "too short for an engine file"),
    ("garbage", lambda p: regraft.load(p.garbage), CorruptError, "not an engine file"),
    ("archive", lambda p: regraft.load(p.archive), CorruptError, "not a zip file"),
    ("retain", lambda p: regraft.load(p.garbage, retain="x"), InvalidArgumentError, "have 'x'"),
    ("adopt", lambda p: regraft.load(p.garbage, adopt="x"), TypeError, "adopt: want True"),
    ("device", lambda p: regraft.load(p.garbage, device=3), TypeError, "want a device, have int"),
    ("realised", lambda p: regraft.load(p.archive, realised="x"), InvalidArgumentError, "archive"),
    ("bytes", lambda p: regraft.Engine.deserialize("x"), TypeError, "bytes .*have str 'x'"),
    ("no bytes", lambda p: regraft.Engine.deserialize(b""), CorruptError, "too short"),
)
def test_loading(case: Misuse, paths: Paths) -> None:
    check(case, paths, lambda: None)


def test_cut_and_changed_files(subject: Subject) -> None:
    path = subject.paths.root / "whole"
    subject.compiled.save(path)
    want = subject.compiled(subject.x)
    size = path.stat().st_size
    for end in (1, 30, size // 2, size - 20):
        with pytest.raises(CorruptError):
            regraft.load(subject.paths.cut(path, end))
    data = path.read_bytes()
    changed = subject.paths.root / "changed"
    for at in range(5, size, size // 60):  # Between what is read, files may hold anything.
        changed.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
        try:
            have = regraft.load(changed)(subject.x)
        except (CorruptError, regraft.VersionError, regraft.UnsupportedError):
            continue
        assert partial.same(have, want)


@pytest.mark.parametrize("whole", [True, False])
def test_without_weights(whole: bool, tmp_path: Path) -> None:
    x = X if whole else torch.ones(4, 6)
    compiled = regraft.compile(partial.small(0) if whole else partial.layers(0), (x,))
    compiled.save(tmp_path / "stripped", strip_weights=True)
    stripped = regraft.load(tmp_path / "stripped")
    name = compiled.parameter_infos()[0].spec.name
    calls = [
        lambda: stripped(x),
        lambda: stripped.save(tmp_path / "again"),
        lambda: stripped.parameter(name),
        lambda: stripped.state_dict(),
        lambda: stripped.constant_values(),
        lambda: regraft.to_exported_program(stripped),
        lambda: stripped.refit({name: compiled.parameter(name)}, partial=True),
    ]
    for call in calls:
        with pytest.raises(StateError, match="no weights yet"):
            call()
    with pytest.raises(StateError, match="no weights to roll back to"):
        stripped.rollback()
    assert not (tmp_path / "again").exists()
    stripped.refit(compiled.state_dict())
    assert partial.same(stripped(x), compiled(x))
    compiled.save(tmp_path / "immutable", immutable=True)
    immutable = regraft.load(tmp_path / "immutable")
    state = compiled.state_dict()
    for call in (
        lambda: immutable.refit(state),
        lambda: immutable.refit({}, partial=True),
        lambda: immutable.lora.load("a", {}),
    ):
        with pytest.raises(StateError, match="immutable weights"):
            call()
    if not whole:
        with pytest.raises(StateError, match="was not kept"):
            immutable.state_dict()
    assert partial.same(immutable(x), compiled(x))


@table(
    ("what", lambda s: _refit(3, s.weights), TypeError, "or graph module that holds one, have int"),
    ("plain", lambda s: _refit(_exported(), s.weights), TypeError, "have ExportedProgram"),
    ("weights", lambda s: _refit(s.compiled, None), TypeError, "have NoneType"),
    ("empty", lambda s: _refit(s.compiled, {}), MismatchError, "nothing of that name"),
    ("other", lambda s: _refit(s.compiled, _other()), MismatchError, "another architecture"),
    (
        "other in place",
        lambda s: _refit(s.compiled, _other(), in_place=True),
        MismatchError,
        "another architecture",
    ),
    (
        "sizes in place",
        lambda s: _refit(s.compiled, {**s.weights, s.first: X}, in_place=True),
        MismatchError,
        r"have f32\[3,4\]",
    ),
    ("no inputs", lambda s: _verify(s), InvalidArgumentError, "needs arg_inputs"),
    ("inputs", lambda s: _verify(s, s.x), TypeError, "want a tuple of inputs, have Tensor"),
    ("kwargs", lambda s: _verify(s, (s.x,), [1]), TypeError, "kwargs: want a mapping"),
    ("sizes", lambda s: _verify(s, (torch.ones(9, 9),)), MismatchError, r"\[9,9\]"),
    ("rtol", lambda s: _verify(s, (s.x,), rtol=-1), InvalidArgumentError, "rtol: want 0 or more"),
    ("atol", lambda s: _verify(s, (s.x,), atol=float("nan")), InvalidArgumentError, "atol: .*nan"),
    ("differs", lambda s: _verify(s, (s.x,), rtol=0, atol=0), regraft.VerificationError, "differ"),
    (
        "state_dict",
        lambda s: _refit(s.compiled, s.weights, (s.x,), verify_output=True),
        InvalidArgumentError,
        "as an ExportedProgram or a module, not as dict",
    ),
    (
        "map",
        lambda s: _refit(s.compiled, s.weights, use_weight_map_cache=False),
        InvalidArgumentError,
        "pass an ExportedProgram, not dict",
    ),
    (
        "inputs twice",
        lambda s: _refit(s.compiled, s.weights, (s.x,), inputs=(s.x,)),
        InvalidArgumentError,
        "pass one",
    ),
    ("no file", lambda s: _refit(s.compiled, s.paths.missing), NOT_FOUND, "missing"),
)
def test_refit_module_weights(case: Misuse, subject: Subject) -> None:
    check(case, subject, subject.answer)


_refit = regraft.refit_module_weights


def _verify(s: Subject, *args: Any, **options: Any) -> Any:
    # In training mode, batch norm gives other outputs.
    source = partial.small(1) if s.first == "0.weight" else partial.layers(1)
    return _refit(s.compiled, source.train(), *args, verify_output=True, **options)


def _other() -> ExportedProgram:
    return torch.export.export(nn.Sequential(nn.Linear(4, 5)), (X,))


def _map(*args: Any) -> Any:
    return regraft.construct_refit_mapping(*args)


@table(
    ("what", lambda s: _map(3, (X,)), TypeError, "have int"),
    ("no inputs", lambda s: _map(partial.small(0), None), TypeError, "args: want a tuple"),
    ("inputs", lambda s: _map(partial.small(0), X), TypeError, "args: want a tuple"),
    ("settings", lambda s: _map(partial.small(0), (X,), {}), TypeError, "have dict"),
    (
        "dry run",
        lambda s: _map(partial.small(0), (X,), regraft.CompilationSettings(dryrun=True)),
        InvalidArgumentError,
        "a dry run has no weights",
    ),
)
def test_construct_refit_mapping(case: Misuse) -> None:
    check(case, None, lambda: None)


def test_exported_programs_that_hold_one() -> None:
    engine = regraft.compile(partial.small(0), (X,))
    program = regraft.to_exported_program(engine)
    module = program.module()
    want = engine(X)
    with pytest.raises(MismatchError, match="have f64"):
        module(X.double())
    with pytest.raises(MismatchError, match="another architecture"):
        regraft.refit_module_weights(program, _other(), in_place=True)
    # Outside of no_grad the result hangs on the op, which has no derivative: nothing is detached.
    with pytest.raises(RuntimeError, match="run_engine"):
        module(X.clone().requires_grad_()).sum().backward()
    assert partial.same(module(X), want)

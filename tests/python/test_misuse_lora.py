"""Wrong adapters: every error says what is wrong, and weights and adapters stay as they were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from misuse import NOT_FOUND, UNREADABLE, Misuse, Paths, check, table
from safetensors.torch import save_file
from torch import Tensor, nn

import regraft
from regraft import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    NotFoundError,
    StateError,
    UnsupportedError,
)

X = torch.linspace(-1, 1, 12).reshape(3, 4)


class _Net(nn.Module):
    def __init__(self, in_pytorch: bool) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 4)
        self.between = torch.special.i0 if in_pytorch else torch.relu

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.between(self.first(x)))
        return out


@dataclass(frozen=True)
class Subject:
    """A program with one adapter, and another state dict that would fit."""

    compiled: Any
    good: dict[str, Tensor]
    paths: Paths

    def answer(self) -> Any:
        lora = self.compiled.lora
        active = [(name, scale) for name, scale in lora.active.items()]
        return self.compiled(X), self.compiled.generation, active, lora.loaded

    def load(self, source: Any, *args: Any, **options: Any) -> Any:
        return self.compiled.lora.load("x", source, *args, **options)

    def load_with(self, **others: Any) -> Any:
        return self.load({**self.good, **{f"first.{k}": v for k, v in others.items()}})

    def load_file(self, data: bytes | None = None, config: Any = None) -> Any:
        """Of a folder as PEFT writes it."""
        folder = self.paths.root / "folder"
        folder.mkdir(exist_ok=True)
        file, text = folder / "adapter_model.safetensors", folder / "adapter_config.json"
        save_file({f"base_model.model.{k}": v for k, v in self.good.items()}, file)
        if data is not None:
            file.write_bytes(data)
        text.unlink(missing_ok=True)
        if isinstance(config, bytes):
            text.write_bytes(config)
        elif config is not None:
            text.write_text(json.dumps(config))
        return self.load(folder)


@pytest.fixture(scope="module", params=["engine", "module"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    torch.manual_seed(0)
    net = _Net(request.param == "module").eval().requires_grad_(False)
    compiled = regraft.compile(net, (X,))
    assert isinstance(compiled, regraft.Module) == (request.param == "module")
    good = {
        "first.lora_A.weight": torch.rand(2, 4) + 0.5,
        "first.lora_B.weight": torch.rand(6, 2) + 0.5,
    }
    compiled.lora.load("ok", good, 0.5)
    return Subject(compiled, good, Paths(tmp_path_factory.mktemp("lora")))


A, B = "first.lora_A.weight", "first.lora_B.weight"


@table(
    ("name", lambda s: s.compiled.lora.load(3, s.good), TypeError, "adapter: want a str, have int"),
    ("no name", lambda s: s.compiled.lora.load("", s.good), InvalidArgumentError, "have none"),
    ("none", lambda s: s.load(None), TypeError, "want a state_dict or a path, have NoneType"),
    ("module", lambda s: s.load(nn.ReLU()), TypeError, "want a state_dict or a path, have ReLU"),
    ("empty", lambda s: s.load({}), InvalidArgumentError, "x: the state dict holds no adapter"),
    ("keys", lambda s: s.load({3: X}), InvalidArgumentError, "want names of tensors, have 3"),
    ("option", lambda s: s.load(s.good, weight=1), TypeError, "weight"),
    ("no file", lambda s: s.load(s.paths.missing), NOT_FOUND, "missing: cannot open"),
    ("no folder", lambda s: s.load(s.paths.root), NOT_FOUND, "adapter_model.safetensors: cannot"),
    ("garbage", lambda s: s.load(s.paths.garbage), UnsupportedError, "neither a .safetensors"),
    ("cut", lambda s: s.load_file(_cut(s)), CorruptError, "bytes of data, have"),
    ("no alpha", lambda s: s.load_file(), InvalidArgumentError, "the scale of 1 layers is not"),
    ("config", lambda s: s.load_file(config=b"{"), InvalidArgumentError, "adapter_config.json: "),
    ("binary", lambda s: s.load_file(config=b"\xff\xfe"), InvalidArgumentError, "decode byte"),
    ("list", lambda s: s.load_file(config=[1]), InvalidArgumentError, "want a JSON object"),
    ("alpha text", lambda s: _with(s, lora_alpha="x"), InvalidArgumentError, "a number, have str"),
    ("alpha nan", lambda s: _with(s, lora_alpha=float("nan")), InvalidArgumentError, "finite"),
    ("dora", lambda s: _with(s, use_dora=True), UnsupportedError, "have use_dora"),
    ("method", lambda s: _with(s, peft_type="IA3"), UnsupportedError, "peft_type IA3"),
    ("pattern", lambda s: _with(s, alpha_pattern=[3]), InvalidArgumentError, "want a mapping"),
    (
        "pattern text",
        lambda s: _with(s, alpha_pattern={"(": 3}),
        InvalidArgumentError,
        r"want regular expressions, have '\('",
    ),
    (
        "pattern value",
        lambda s: _with(s, alpha_pattern={"first": "x"}),
        InvalidArgumentError,
        "alpha_pattern of first: want a number",
    ),
    ("B missing", lambda s: s.load({A: s.good[A]}), MismatchError, "first: has A without B"),
    ("rank", lambda s: s.load({**s.good, A: X}), MismatchError, "have different ranks"),
    ("sizes", lambda s: s.load({**s.good, A: torch.ones(2, 9)}), MismatchError, "do not fit"),
    ("layer", lambda s: s.load(_renamed(s)), MismatchError, r"frist: .*nearest: first"),
    ("integers", lambda s: s.load({**s.good, A: s.good[A].long()}), MismatchError, "i64"),
    ("dora layer", lambda s: s.load_with(lora_magnitude_vector=X), UnsupportedError, "DoRA"),
    ("alpha inf", lambda s: s.load_with(alpha=float("inf")), InvalidArgumentError, "have inf"),
    ("alphas", lambda s: s.load_with(alpha=torch.ones(2)), InvalidArgumentError, "2.* elements"),
    ("twice", lambda s: s.load(_twice(s), alpha=2), MismatchError, "which another name"),
    ("scale nan", lambda s: s.load(s.good, float("nan")), InvalidArgumentError, "x: scale: .*nan"),
    ("scale inf", lambda s: s.load(s.good, -(10**400)), InvalidArgumentError, "want a finite"),
    ("scale text", lambda s: s.load(s.good, "1.5"), TypeError, "a number, have str '1.5'"),
    ("scale none", lambda s: s.load(s.good, None), TypeError, "scale: want a number, have None"),
    ("scale complex", lambda s: s.load(s.good, 1j), TypeError, "a number, have complex 1j"),
    ("scales", lambda s: s.load(s.good, torch.ones(2)), TypeError, r"Tensor of sizes \[2\]"),
    ("alpha", lambda s: s.load(s.good, alpha="x"), TypeError, "alpha: want a number"),
    ("alpha not", lambda s: s.load(s.good, alpha=float("nan")), InvalidArgumentError, "finite"),
    ("fan", lambda s: s.load(s.good, fan_in_fan_out="no"), TypeError, "fan_in_fan_out: want True"),
    ("config type", lambda s: s.load(s.good, config="x"), TypeError, "config: want a mapping"),
    ("prefix", lambda s: s.load(s.good, prefix=3), TypeError, "prefix: want a str"),
    ("prefix of none", lambda s: s.load(s.good, prefix="u."), InvalidArgumentError, "no adapter"),
    ("in place", lambda s: s.load(s.good, in_place="x"), TypeError, "in_place: want True or False"),
)
def test_loading(case: Misuse, subject: Subject) -> None:
    check(case, subject, subject.answer)


def _cut(s: Subject) -> bytes:
    save_file(s.good, s.paths.root / "good")
    return (s.paths.root / "good").read_bytes()[:-3]


def _with(s: Subject, **fields: Any) -> Any:
    return s.load_file(config={"lora_alpha": 4, **fields})


def _renamed(s: Subject) -> dict[str, Tensor]:
    return {name.replace("first", "frist"): value for name, value in s.good.items()}


def _twice(s: Subject) -> dict[str, Tensor]:
    return {**s.good, **{f"base_model.model.{k}": v for k, v in s.good.items()}}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_tensors_that_cannot_be_read(kind: str, subject: Subject) -> None:
    make, words = UNREADABLE[kind]

    def load_with(name: str) -> Misuse:
        call = lambda s: s.load({**s.good, name: make(s.good[name])})  # noqa: E731
        errors: Any = (InvalidArgumentError, MismatchError)
        return Misuse(kind, call, errors, f"{name}: .*{words}")

    for name in subject.good:
        check(load_with(name), subject, subject.answer)


@table(
    ("unknown", lambda s: _lora(s).set({"y": 1, "z": 1}), NotFoundError, "no .*y, z; have ok"),
    ("number", lambda s: _lora(s).set({3: 1}), NotFoundError, "no adapter 3; have ok"),
    ("none", lambda s: _lora(s).set(None), TypeError, "scales: want a mapping, have NoneType"),
    ("text", lambda s: _lora(s).set("ok"), TypeError, "scales: want a mapping, have str 'ok'"),
    ("list", lambda s: _lora(s).set(["ok"]), TypeError, "scales: want a mapping, have list"),
    ("nan", lambda s: _lora(s).set({"ok": float("nan")}), InvalidArgumentError, "ok: scale: .*nan"),
    ("scale", lambda s: _lora(s).set({"ok": "x"}), TypeError, "ok: scale: want a number, have str"),
    ("unload", lambda s: _lora(s).unload("x"), NotFoundError, "no adapter x; have ok"),
    ("unload none", lambda s: _lora(s).unload(None), TypeError, "want a str, have NoneType"),
    ("unload list", lambda s: _lora(s).unload(["ok"]), TypeError, "want a str, have list"),
    ("replace", lambda s: _lora(s).replace(None), TypeError, "want a mapping, have NoneType"),
    ("replace by", lambda s: _lora(s).replace({"x": {}}), TypeError, "want an Adapter, have dict"),
    ("replace scale", lambda s: _lora(s).replace({}, {"x": 1}), NotFoundError, "no adapter x"),
    ("follow", lambda s: _lora(s).follow(nn.ReLU()), TypeError, "view of a module, have ReLU"),
    ("assign", lambda s: setattr(s.compiled, "lora", 3), AttributeError, "lora"),
)
def test_changing(case: Misuse, subject: Subject) -> None:
    check(case, subject, subject.answer)


def _lora(s: Subject) -> Any:
    return s.compiled.lora


def test_after_unload(subject: Subject, tmp_path: Path) -> None:
    plain = subject.compiled.fork()
    plain.lora.unload("ok")
    want = plain(X)
    for call in (lambda: plain.lora.unload("ok"), lambda: plain.lora.set({"ok": 1})):
        with pytest.raises(NotFoundError, match="no adapter ok; have none"):
            call()
    assert torch.equal(plain(X), want)
    assert not torch.equal(subject.compiled(X), want)


def test_programs_that_take_none(subject: Subject) -> None:
    net = _Net(isinstance(subject.compiled, regraft.Module)).eval().requires_grad_(False)
    identical = regraft.compile(net, (X,), refit_identical_engine_weights=True)
    forgetful = regraft.compile(net, (X,), retain="none")
    want = identical(X)
    with pytest.raises(MismatchError, match="want the value it was compiled with"):
        identical.lora.load("a", subject.good)
    with pytest.raises(StateError, match=r"'first\.weight' was not retained"):
        forgetful.lora.load("a", subject.good)
    for compiled in (identical, forgetful):
        assert compiled.lora.loaded == []
        assert torch.equal(compiled(X), want)

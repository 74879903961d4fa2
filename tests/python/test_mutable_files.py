"""Mutable modules as files: with the module they were made from, and without."""

from __future__ import annotations

import copy
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mutable_net import MutableNet
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.export import Dim

import regraft
import support
from regraft import MutableModule
from regraft.mutable.saved import SavedModule, SavedWeight


def test_hints_are_saved(tmp_path: Path) -> None:
    batch = Dim("batch", min=2, max=8)
    mutable = MutableModule(MutableNet().eval(), precision="bf16", track="digest")
    mutable.set_expected_dynamic_shape_range(({0: batch}, None), {"pair": {0: Dim.AUTO}})
    mutable.save(mutable, tmp_path / "a")
    loaded = MutableModule.load(tmp_path / "a", MutableNet().eval())
    hints = loaded._regraft.hints
    assert hints is not None
    assert hints[0][0][0].__name__ == "batch"
    assert hints[1] == {"pair": {0: Dim.AUTO}}
    assert loaded._regraft.settings == {"precision": "bf16"}
    assert loaded._regraft.track == "digest"


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(regraft.MissingFileError):
        MutableModule.load(path, MutableNet())
    path.write_bytes(b"PK not a zip")
    with pytest.raises(regraft.CorruptError, match=r"not a file of MutableModule\.save"):
        MutableModule.load(path, MutableNet())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mutable.json", "{}")
    with pytest.raises(regraft.CorruptError):
        MutableModule.load(path, MutableNet())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mutable.json", '{"version": 99}')
    with pytest.raises(regraft.VersionError, match="want version 2, have 99"):
        MutableModule.load(path, MutableNet())


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """The file of a module of one layer."""
    mutable = MutableModule(nn.Linear(4, 4).eval().requires_grad_(False))
    mutable(torch.randn(2, 4))
    MutableModule.save(mutable, tmp_path / "good")
    return tmp_path / "good"


def _changed(path: Path, change: Callable[[Any, dict[str, bytes]], Any]) -> Path:
    """The file with a manifest and entries that `change(manifest, entries)` edited."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries.pop("mutable.json"))
    change(manifest, entries)
    with zipfile.ZipFile(path.with_name("bad"), "w") as archive:
        archive.writestr("mutable.json", json.dumps(manifest))
        for name, data in entries.items():
            archive.writestr(name, data)
    return path.with_name("bad")


def test_keys_of_engines_are_no_paths(linear: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for key in (str(victim), "../../victim", "x", "A" * 64):

        def change(m: Any, entries: dict[str, bytes], key: str = key) -> None:
            entries[key] = entries.pop(m["engines"][0])
            m["engines"] = [key]
            m["programs"][0]["key"] = key

        with pytest.raises(regraft.CorruptError, match="key of an engine"):
            MutableModule.load(_changed(linear, change))
    assert victim.read_text() == "precious"


def _as_integers(m: Any, entries: dict[str, bytes]) -> None:
    weights = entries["weights.safetensors"]
    entries["weights.safetensors"] = weights.replace(b'"F32"', b'"I32"')
    m["weights"] = [[*row[:2], True, True, True] for row in m["weights"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda m, _: m.update(aliases={"x": ""}),
        lambda m, _: m.update(aliases={"x.y.z": ""}),
        lambda m, _: m.update(aliases={"": ""}),
        lambda m, _: m.update(aliases={"x": "nothing"}),
        lambda m, _: m["weights"].append(["weight.inner", *m["weights"][0][1:]]),
        lambda m, _: m["programs"][0].update(sizes=[]),
        lambda m, _: m["programs"][0].update(sizes=[[2, 4], [2, 4]]),
        lambda m, _: m["programs"][0].update(sizes=[[2]]),
        lambda m, _: m["programs"][0].update(sizes=[[[2], 4]]),
        lambda m, _: m["programs"][0]["kind"].update(leaves=[3]),
        lambda m, _: m["programs"][0]["kind"].pop("spec"),
        lambda m, _: m.update(free=[[*m["programs"][0]["kind"].values(), []]]),
        lambda m, _: m.update(free=[[*m["programs"][0]["kind"].values(), [[7]]]]),
        _as_integers,
    ],
)
def test_hostile_manifests(linear: Path, change: Callable[[Any, dict[str, bytes]], Any]) -> None:
    _changed(linear, lambda *_: None)
    MutableModule.load(linear.with_name("bad"))(torch.randn(2, 4))
    with pytest.raises(regraft.CorruptError, match=r"not a file of MutableModule\.save"):
        MutableModule.load(_changed(linear, change))


def test_modules_of_a_file_do_not_lie_in_themselves() -> None:
    weight = SavedWeight(torch.ones(2), True, True, False)
    weights = {"a.w": weight, "b.w": weight}
    assert SavedModule.of(weights, {"c": "a", "b.inner": "a"}).b.inner.w is not None
    for aliases in ({"a.x": "a"}, {"a.x.y": "a"}, {"b.c": "a", "a.d": "b"}):
        with pytest.raises(ValueError, match="would lie in itself"):
            SavedModule.of(weights, aliases)
    with pytest.raises(ValueError, match=r"at the place of 'a\.w'"):
        SavedModule.of({**weights, "b.v": weight}, {"a": "empty"})


def test_damaged_files(linear: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    packed = tmp_path / "packed"
    with zipfile.ZipFile(linear) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mutable.json", "[" * 100_000)
    with pytest.raises(regraft.CorruptError, match="RecursionError"):
        MutableModule.load(path)
    damage = random.Random(1)
    refused = 0
    for good in (linear.read_bytes(), packed.read_bytes()):
        for _ in range(300):
            data = bytearray(good)
            for _ in range(damage.choice((1, 2, 4))):
                # Half of it where the directory is.
                near = min(len(data), damage.choice((600, len(data))))
                data[-damage.randrange(1, near + 1)] = damage.choice((0, 1, 8, 12, 14, 255))
            path.write_bytes(data[: damage.choice((len(data), damage.randrange(len(data))))])
            try:
                MutableModule.load(path)
            except (regraft.CorruptError, regraft.VersionError):
                refused += 1
    assert refused > 300
    with pytest.raises(regraft.IoError):
        MutableModule.load(tmp_path)


def test_saved_engines_of_other_settings_are_not_used(tmp_path: Path) -> None:
    model = nn.Linear(8, 8).eval()
    x = torch.randn(2, 8)
    with torch.no_grad():
        low = regraft.MutableModule(model, precision="bf16")
        low(x)
        regraft.MutableModule.save(low, tmp_path / "low")
        exact = regraft.MutableModule.load(tmp_path / "low", model, precision="f32")
        assert support.relative_error(exact(x), model(x)) < support.F32_TOLERANCE
        assert support.relative_error(low(x), model(x)) > support.F32_TOLERANCE


def test_files_name_no_folder_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, user, maker = tmp_path / "own", tmp_path / "user", tmp_path / "maker"
    model, x = nn.Linear(4, 4).eval().requires_grad_(False), torch.randn(2, 4)
    settings = {"cache_built_engines": True, "engine_cache_dir": str(own)}
    mutable = MutableModule(model, **settings)
    mutable(x)
    assert any(own.iterdir())
    MutableModule.save(mutable, tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert str(own) not in archive.read("mutable.json").decode()

    def name_a_folder(manifest: Any, _: dict[str, bytes]) -> None:
        manifest["settings"]["engine_cache_dir"] = str(maker)

    monkeypatch.setenv("XDG_CACHE_HOME", str(user))
    # Another model: its engine is built, and kept.
    other = nn.Linear(4, 7).eval().requires_grad_(False)
    loaded = MutableModule.load(_changed(tmp_path / "a", name_a_folder), other)
    assert loaded._regraft.settings == {"cache_built_engines": True}
    loaded(x)
    assert not maker.exists()
    assert any(user.rglob("*"))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[MutableNet, Path]:
    """A module and a file that answers any batch with and without `pair`."""
    net = MutableNet().eval()
    mutable = MutableModule(net)
    with torch.no_grad():
        for batch in (3, 5):
            mutable(torch.randn(batch, 4))
        mutable(torch.ones(3, 4), pair={"a": [torch.ones(3, 4)]})
    MutableModule.save(mutable, tmp_path / "net")
    return net, tmp_path / "net"


def _agree(have: MutableModule, want: nn.Module, *args: Any, **kwargs: Any) -> None:
    with torch.no_grad():
        torch.testing.assert_close(have(*args, **kwargs), want(*args, **kwargs))


def test_a_file_alone(saved: tuple[MutableNet, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    net, path = saved
    monkeypatch.setattr(torch.export, "export", None)
    loaded: Any = MutableModule.load(path)
    x, pair = torch.randn(7, 4), {"a": [torch.randn(3, 4)]}
    for file in (path, path.with_name("again")):
        _agree(loaded, net, x)
        _agree(loaded, net, torch.randn(3, 4), pair=pair)
        # Refits: under the names of the module, tied ones together.
        with torch.no_grad():
            for module in (loaded, net):
                module.first.weight.mul_(1.5)
                module.head[0].bias = nn.Parameter(torch.full((4,), 0.25))
            net.table["inner"][0].add_(1)
            loaded.table.inner[0].add_(1)
        assert loaded.tied.weight is loaded.first.weight
        _agree(loaded, net, x)
        refitted = {"first.weight", "head.0.bias", "lifted_tensor_0"}  # The last is in the table.
        assert set(loaded.last_refit.parameters) == refitted
        state = MutableNet().state_dict()
        assert loaded.state_dict().keys() == net.state_dict().keys()
        loaded.load_state_dict(state)
        net.load_state_dict(state)
        _agree(loaded, net, x)
        loaded.extra = 3  # Nothing that programs are made of.
        loaded.train()
        _agree(loaded, net, x)
        loaded.eval()
        MutableModule.save(loaded, file)
        loaded = MutableModule.load(file)
    copied: Any = copy.deepcopy(loaded)
    _agree(copied, net, x)
    with torch.no_grad():
        copied.first.weight.zero_()
    _agree(loaded, net, x)
    assert not torch.equal(copied(x)["y"], loaded(x)["y"])
    assert loaded.compilations == 0


def test_what_a_file_alone_cannot_do(saved: tuple[MutableNet, Path]) -> None:
    net, path = saved
    loaded: Any = MutableModule.load(path, track="digest", max_engines=3)
    assert loaded._regraft.track == "digest"
    x = torch.randn(3, 4)
    with pytest.raises(regraft.StateError, match="no program for the call"):
        loaded(x, False)
    with pytest.raises(regraft.StateError, match=r"sizes \(\(3, 5\),\)"):
        loaded(torch.randn(3, 5))
    _agree(loaded, net, x)
    loaded.shift = torch.zeros(5)
    with pytest.raises(regraft.MismatchError, match=r"shift: want f32\[4\], have f32\[5\]"):
        loaded(x)
    loaded.shift = net.shift.clone()
    del loaded.first.bias
    with pytest.raises(regraft.MismatchError, match=r"first.bias: want f32\[4\], have nothing"):
        loaded(x)
    loaded.first.bias = nn.Parameter(net.first.bias.clone())
    _agree(loaded, net, x)
    with pytest.raises(regraft.InvalidArgumentError, match="precision: without the module"):
        MutableModule.load(path, precision="bf16")
    with pytest.raises(TypeError, match="nearest: 'precision'"):
        MutableModule.load(path, precison="bf16")
    with pytest.raises(IndexError, match="no 3"):
        loaded.head[3]
    stripped = path.with_name("stripped")
    MutableModule.save(MutableModule.load(path, net), stripped, strip_weights=True)
    with pytest.raises(regraft.StateError, match="was saved without weights"):
        MutableModule.load(stripped)
    assert stripped.stat().st_size < path.stat().st_size
    _agree(MutableModule.load(stripped, net), net, x)


class Tied(nn.Module):
    """One parameter in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


def test_ties_in_a_file(tmp_path: Path) -> None:
    net, x = Tied().eval().requires_grad_(False), torch.randn(2, 4)
    mutable: Any = MutableModule(net)
    mutable(x)
    MutableModule.save(mutable, tmp_path / "m")
    loaded: Any = MutableModule.load(tmp_path / "m")
    tied = loaded.b.weight
    assert tied is loaded.a.weight
    tied.mul_(2)
    net.a.weight.mul_(2)
    _agree(loaded, net, x)
    loaded.b.weight = nn.Parameter(tied.clone())
    with pytest.raises(regraft.MismatchError, match=r"the tensor a\.weight, have f32"):
        loaded(x)
    loaded.b.weight = tied
    _agree(loaded, net, x)


def test_adapters_are_merged_in_a_file(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).eval().requires_grad_(False)
    mutable = MutableModule(net)
    x = torch.randn(2, 4)
    config = LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    inject_adapter_in_model(config, net, "a")
    net.eval()
    with torch.no_grad():
        want = mutable(x)
    MutableModule.save(mutable, tmp_path / "m")
    loaded: Any = MutableModule.load(tmp_path / "m")
    with torch.no_grad():
        assert support.same_bits(loaded(x), want)
    names = {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(loaded.state_dict()) == names
    mutable = MutableModule.load(tmp_path / "m", net)
    _agree(mutable, net, x)
    assert mutable.compilations == 0

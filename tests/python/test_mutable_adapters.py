"""Mutable modules under PEFT: adapters loaded, scaled, merged and unloaded on the user's handle."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

import regraft
from regraft import MutableModule, _regraft
from regraft.mutable import follower as follower_module
from regraft.mutable.watch import ModuleWatch


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.v = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.v(torch.relu(self.q(x)))


class _Adapted:
    """A module, the mutable one around it, and what people do with adapters."""

    def __init__(self) -> None:
        self.net = Attention().eval().requires_grad_(False)
        self.mutable = MutableModule(self.net)

    def check(self) -> Tensor:
        x = torch.ones(3, 8)
        with torch.no_grad():
            have, want = self.mutable(x), self.net(x)
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)
        return have

    def layers(self) -> Iterator[LoraLayer]:
        return (m for m in list(self.net.modules()) if isinstance(m, LoraLayer))

    def load(self, rank: int = 2) -> None:
        config = LoraConfig(r=rank, target_modules=["q", "v"], init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inject_adapter_in_model(config, self.net, "a")
        self.net.eval()

    def unload(self) -> None:
        self.net.q, self.net.v = self.net.q.base_layer, self.net.v.base_layer
        self.net.requires_grad_(False)


@pytest.fixture
def adapted() -> _Adapted:
    return _Adapted()


@pytest.fixture
def frozen(adapted: _Adapted, monkeypatch: pytest.MonkeyPatch) -> _Adapted:
    """Has run once; nothing more may be exported or compiled. Python 3.13 does not number the
    states of dicts: neither is done here."""
    watch = _regraft.ContainerWatch
    monkeypatch.setattr(_regraft, "ContainerWatch", lambda containers, _: watch(containers, False))
    adapted.mutable = MutableModule(adapted.net)
    adapted.check()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("adapters are changes of weights: nothing is to be made anew")

    monkeypatch.setattr(follower_module, "compile", refuse)
    monkeypatch.setattr(torch.export, "export", refuse)
    return adapted


def test_every_step_is_followed(adapted: _Adapted) -> None:
    outputs = [adapted.check()]
    adapted.load()
    outputs.append(adapted.check())
    for layer in adapted.layers():
        layer.set_scale("a", 0.3)
    outputs.append(adapted.check())
    for layer in adapted.layers():
        layer.lora_B["a"].weight.data = torch.randn(8, 2)
    outputs.append(adapted.check())
    for layer in adapted.layers():
        layer.merge()
    merged = adapted.check()
    torch.testing.assert_close(merged, outputs[-1], rtol=1e-4, atol=1e-4)
    for layer in adapted.layers():
        layer.unmerge()
        layer.set_scale("a", 0.9)
        layer.merge()
    outputs.append(adapted.check())
    adapted.unload()
    outputs.append(adapted.check())
    for a, b in itertools.pairwise(outputs[:-1]):
        assert not torch.allclose(a, b)


def test_load_fuse_unload_between_two_calls(frozen: _Adapted) -> None:
    before = frozen.check()
    for _ in range(2):
        frozen.load()
        for layer in frozen.layers():
            layer.merge()
        frozen.unload()
        after = frozen.check()
        assert frozen.mutable.last_refit.parameters == ["q.weight", "v.weight"]
        assert not torch.allclose(before, after)
        before = after


@pytest.mark.parametrize("is_loaded", [True, False])
def test_merge_and_unmerge_between_two_calls(frozen: _Adapted, is_loaded: bool) -> None:
    if is_loaded:
        frozen.load()
        frozen.check()
    before = frozen.net.get_submodule("v.base_layer" if is_loaded else "v").weight.clone()
    for _ in range(2):
        if not is_loaded:
            frozen.load()
        for layer in frozen.layers():
            for weight in (layer.lora_A["a"].weight, layer.lora_B["a"].weight):
                weight.data.mul_(31.0)  # Some bits get lost.
            layer.merge()
            layer.unmerge()
        base = frozen.net.v.base_layer.weight.clone()
        if not is_loaded:
            frozen.unload()
        else:
            own = [value for name, value in frozen.net.named_parameters() if "lora_" in name]
            regraft.notify_weights_changed(own)
        assert not torch.equal(before, base)
        frozen.check()
        frozen.mutable.engines[-1].lora.set({})
        assert torch.equal(frozen.mutable.engines[-1].parameter("v.weight"), base)
        before = base


def test_merges_of_peft_models(frozen: _Adapted) -> None:
    config = LoraConfig(r=2, target_modules=["q"], init_lora_weights=False)
    outputs = [frozen.check()]
    model = get_peft_model(frozen.net, config).eval()
    outputs.append(frozen.check())
    model.merge_adapter()
    torch.testing.assert_close(frozen.check(), outputs[-1], rtol=1e-4, atol=1e-4)
    assert frozen.mutable.last_refit.parameters == ["q.weight"]
    model.unmerge_adapter()
    frozen.check()
    merged = model.merge_and_unload()
    torch.testing.assert_close(frozen.check(), outputs[-1], rtol=1e-4, atol=1e-4)
    assert merged is frozen.net
    assert torch.equal(frozen.mutable.engines[-1].parameter("q.weight"), frozen.net.q.weight)
    assert not torch.allclose(outputs[0], outputs[1])


def test_merges_under_torch_compile() -> None:
    net = Attention().eval().requires_grad_(False)
    model: Any = get_peft_model(
        net, LoraConfig(r=2, target_modules=["q"], init_lora_weights=False)
    ).eval()
    compiled = torch.compile(model, backend="regraft")
    x = torch.ones(3, 8)
    with torch.no_grad():
        compiled(x)
        for _ in range(5):
            model.merge_adapter()
            model.unmerge_adapter()
        model.base_model.model.q.base_layer.weight.data *= 2  # Leaves no trace; merges do.
        model.merge_adapter()
        model.unmerge_adapter()
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)


def test_adapters_come_and_go_without_compiling(frozen: _Adapted) -> None:
    base = frozen.check()
    weight = frozen.net.v.weight.detach().clone()
    for rank in (2, 5):
        frozen.load(rank)
        loaded = frozen.check()
        assert not torch.allclose(loaded, base)
        with torch.no_grad():
            next(frozen.layers()).lora_B["a"].weight[0, 0] += 1.0
        assert not torch.equal(frozen.check(), loaded)
        assert len(frozen.mutable.last_refit.parameters) == 1
        before = frozen.check()
        with torch.no_grad():
            frozen.net.v.base_layer.weight += 1.0
        assert not torch.equal(frozen.check(), before)
        with torch.no_grad():
            frozen.net.v.base_layer.weight.copy_(weight)
        for layer in frozen.layers():
            layer.set_scale("a", 0.3)
        frozen.check()
        frozen.unload()
        assert torch.equal(frozen.check(), base)


def test_names_of_either_side_are_announced(frozen: _Adapted) -> None:
    frozen.load()
    frozen.check()
    for name in ("q.base_layer.weight", "q.weight", "q.lora_B.a.weight"):
        path = "q.base_layer.weight" if name == "q.weight" else name
        frozen.net.get_parameter(path).data.mul_(1.5)
        frozen.mutable.notify_weights_changed([name])
        frozen.check()
    with pytest.raises(regraft.NotFoundError, match=r"q\.wait, z"):
        frozen.mutable.notify_weights_changed(["z", "q.weight", "q.wait"])


def test_untraced_writes_to_adapters_need_digests() -> None:
    adapted = _Adapted()
    adapted.mutable = MutableModule(adapted.net, track="digest")
    adapted.load()
    adapted.check()
    for layer in adapted.layers():
        layer.lora_B["a"].weight.data.mul_(2)
        layer.base_layer.weight.data.mul_(2)
    adapted.check()


def test_hooks_on_layers_of_adapters_run(adapted: _Adapted) -> None:
    adapted.check()
    adapted.load()
    handle = adapted.net.q.register_forward_hook(lambda module, args, output: output * 3)
    hooked = adapted.check()
    handle.remove()
    assert not torch.allclose(adapted.check(), hooked)


def test_dora_stays_layers(adapted: _Adapted) -> None:
    base = adapted.check()
    config = LoraConfig(r=2, target_modules=["q", "v"], init_lora_weights=False, use_dora=True)
    inject_adapter_in_model(config, adapted.net, "a")
    adapted.net.eval()
    assert not torch.allclose(adapted.check(), base)


class _Noted(Attention):
    """Keeps what people keep in modules."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = {"a": 1.0, "b": [2.0]}
        self.pair = (torch.ones(2), torch.ones(2))


def _share_a_list(net: Any, layers: list[LoraLayer]) -> None:
    shared = ["a"]
    for layer in layers:
        layer._active_adapter = shared


# What is done to a module with adapters, and whether reading what was touched tells all of it.
_CHANGES: dict[str, tuple[Callable[[Any, list[LoraLayer]], object], bool]] = {
    "scale": (lambda net, layers: [x.set_scale("a", 0.3) for x in layers], True),
    "one scale": (lambda net, layers: layers[1].set_scale("a", 0.7), True),
    "same scale": (lambda net, layers: layers[0].scaling.update(layers[0].scaling), True),
    "adapter": (lambda net, layers: [x.set_adapter(["b"]) for x in layers], True),
    "off": (lambda net, layers: [x.enable_adapters(False) for x in layers], True),
    "on": (lambda net, layers: [x.enable_adapters(True) for x in layers], True),
    "share": (_share_a_list, True),
    "unshare": (lambda net, layers: layers[0].set_adapter(["a"]), False),
    "shared": (lambda net, layers: layers[1]._active_adapter.append("b"), True),
    "dict": (lambda net, layers: setattr(layers[0], "scaling", dict(layers[0].scaling)), True),
    "base value": (lambda net, layers: net.factors.update(a=3.0), False),
    "base list": (lambda net, layers: net.factors["b"].append(1.0), False),
    "base as it was": (lambda net, layers: net.factors.update(net.factors), True),
    "tensors": (lambda net, layers: setattr(net, "pair", (torch.zeros(2), net.pair[1])), True),
    "weight": (lambda net, layers: layers[0].lora_A["a"].weight.data.zero_(), True),
    "new tensor": (lambda net, layers: setattr(net, "extra", torch.ones(3)), False),
    "layer": (lambda net, layers: setattr(net, "q", net.q.base_layer), False),
}


def _described(watch: ModuleWatch) -> Any:
    slots = [
        (slot.name, slot.user_name, slot.key, id(slot.holder[slot.key]))
        for slot in (*watch.slots, *watch.adapter_slots)
    ]
    return slots, sorted({id(container) for container in watch._containers})


def test_reading_again_tells_what_a_new_watch_tells() -> None:
    adapted = _Adapted()
    adapted.net = net = _Noted().eval().requires_grad_(False)
    adapted.load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(r=3, target_modules=["q", "v"], init_lora_weights=False)
        inject_adapter_in_model(config, net, "b")
    layers = list(adapted.layers())
    watch = ModuleWatch(net)
    for name, (change, is_enough) in _CHANGES.items():
        change(net, layers)
        fresh = ModuleWatch(net)
        differs = not fresh.has_adapters_of(watch)
        is_other = fresh.structure != watch.structure
        again = watch.read_again()
        assert (again is not None) == is_enough, name
        if again is None:
            # As before the change: what a new watch is compared with.
            assert (fresh.structure != watch.structure) == is_other, name
            assert fresh.has_adapters_of(watch) != differs, name
            watch = fresh
            continue
        assert again == differs, name
        assert not is_other, name
        assert watch.structure == fresh.structure, name
        assert fresh.has_adapters_of(watch), name
        assert _described(watch) == _described(fresh), name
        assert not watch.is_touched(), name


def test_scales_are_read_without_looking_at_the_whole_module(
    adapted: _Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted.load()
    adapted.check()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the whole module is not to be read for a scale")

    monkeypatch.setattr(follower_module, "ModuleWatch", refuse)
    before = adapted.check()
    for scale in (0.25, 2.0):
        for layer in adapted.layers():
            layer.set_scale("a", scale)
        after = adapted.check()
        assert not torch.equal(before, after)
        before = after

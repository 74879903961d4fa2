"""PyTorch workflows on a GPU: partial graphs, files, cache, torch.compile, live modules, LoRA."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_net import SmallNet
from torch import nn

import regraft
import support

pytestmark = pytest.mark.cuda


def _net(seed: int) -> nn.Module:
    return SmallNet(seed).eval().cuda()


def _x(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(7)).cuda()


def _agree(have: torch.Tensor, model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        want = model(x)
    assert have.device == x.device
    assert support.relative_error(have.cpu(), want.cpu()) <= 1e-5


def _split(model: nn.Module) -> regraft.Module:
    module = regraft.compile(
        model, (_x(),), backend="cuda", torch_executed_ops=["aten.cumsum.default"]
    )
    assert isinstance(module, regraft.Module)
    return module


def test_modules_of_several_parts(tmp_path: Path) -> None:
    module, x = _split(_net(0)), _x()
    _agree(module(x), _net(0), x)
    first = module(x).clone()
    for in_place in (False, True):
        module.refit(_net(1).state_dict(), in_place=in_place)
        _agree(module(x), _net(1), x)
        module.refit(_net(0).state_dict(), in_place=in_place)
        assert support.same_bits(module(x), first)
    path = tmp_path / "m.rgf"
    regraft.save(module, path)
    loaded = regraft.load(path)
    assert support.same_bits(loaded(x), first)
    loaded.refit(_net(2).state_dict())
    _agree(loaded(x), _net(2), x)


def test_refit_module_weights_verifies_on_the_device() -> None:
    x = _x()
    for module in (_split(_net(0)), regraft.compile(_net(0), (x,), backend="cuda")):
        before = module(x).clone()
        program = torch.export.export(_net(1), (x,))
        other = regraft.refit_module_weights(module, program, arg_inputs=(x,), verify_output=True)
        _agree(other(x), _net(1), x)
        assert support.same_bits(module(x), before)


def test_the_cache_refits_on_a_hit(tmp_path: Path) -> None:
    options = {
        "backend": "cuda",
        "cache_built_engines": True,
        "reuse_cached_engines": True,
        "engine_cache_dir": str(tmp_path),
    }
    x = _x()
    miss = regraft.compile(_net(0), (x,), **options)
    hit = regraft.compile(_net(1), (x,), **options)
    assert not miss.from_cache
    assert hit.from_cache
    fresh = regraft.compile(_net(1), (x,), backend="cuda")
    assert support.same_bits(hit(x), fresh(x))


def test_torch_compile_follows_the_weights() -> None:
    model, x = _net(0), _x()
    compiled = torch.compile(model, backend="regraft", options={"backend": "cuda"})
    with torch.no_grad():
        _agree(compiled(x), model, x)
        model.load_state_dict(_net(1).state_dict())
        _agree(compiled(x), _net(1), x)
        model.middle.weight[3, 5] += 1e-3
        _agree(compiled(x), model, x)


def test_mutable_modules_follow_changes() -> None:
    model, x = _net(0), _x()
    live = regraft.MutableModule(model, backend="cuda")
    with torch.no_grad():
        _agree(live(x), model, x)
        model.norm.running_var[2] *= 2
        _agree(live(x), model, x)
        model.load_state_dict(_net(1).state_dict())
        _agree(live(x), _net(1), x)
    assert live.compilations == 1


def test_adapters() -> None:
    model, x = _net(0), _x()
    engine = regraft.compile(model, (x,), backend="cuda")
    before = engine(x).clone()
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(4, 16, generator=generator), torch.rand(16, 4, generator=generator)
    for device in ("cpu", "cuda"):
        state = {
            "middle.lora_A.weight": a.to(device),
            "middle.lora_B.weight": b.to(device),
        }
        engine.lora.load("style", state, scale=0.5)
        merged = _net(0)
        with torch.no_grad():
            merged.middle.weight += 0.5 * (b @ a).cuda()
        _agree(engine(x), merged, x)
        engine.lora.set({"style": 0.0})
        assert support.same_bits(engine(x), before)
        engine.lora.unload("style")
        assert support.same_bits(engine(x), before)

"""Pipelines of diffusers whose UNet is a mutable module, step by step beside plain ones.

Everything is done twice, by the pipelines' own methods: to one that runs in PyTorch, and to one
that has its UNet replaced.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import made_up
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

import regraft
from models import stable_diffusion
from models.weights import randomise
from regraft import lora as lora_views
from regraft.mutable import follower as follower_module
from support import F32_TOLERANCE, relative_error, same_bits

_TARGETS = {
    "style": (("to_q", "to_v", "to_out.0", "q_proj"), 4),
    "detail": (("to_q", "to_k", "conv1"), 3),
}


@pytest.fixture(autouse=True)
def _one_thread(_same_start: None) -> Iterator[None]:
    # Thousands of operations too small to share.
    torch.set_num_threads(1)
    threads = regraft.thread_count()
    regraft.set_thread_count(1)
    yield
    regraft.set_thread_count(threads)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Both libraries report the keys that an adapter does not bring.
    loggers = [logging.getLogger(name) for name in ("transformers", "diffusers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def lora(parts: dict[str, nn.Module], name: str) -> dict[str, Tensor]:
    """An adapter of the layers in `_TARGETS`."""
    ends, rank = _TARGETS[name]
    return made_up({prefix: part.state_dict() for prefix, part in parts.items()}, rank, ends, rank)


class _Pair:
    """A plain pipeline and one with a mutable UNet, which may be exported and compiled once."""

    def __init__(self, folder: Path) -> None:
        self.plain = stable_diffusion.pipeline(folder)
        self.fast = stable_diffusion.pipeline(folder)
        self.module: UNet2DConditionModel = self.fast.unet
        self.adapters = {
            name: lora({"unet": self.fast.unet, "text_encoder": self.fast.text_encoder}, name)
            for name in _TARGETS
        }
        self.state = copy.deepcopy(self.module.state_dict())
        self.fast.unet = regraft.MutableModule(self.module)
        self.base = self.image()

    def load(self, name: str) -> Tensor:
        return self.both(
            lambda p: p.load_lora_weights(dict(self.adapters[name]), adapter_name=name)
        )

    def both(self, step: Callable[[StableDiffusionPipeline], object]) -> Tensor:
        """Takes a step with both pipelines; their common answer."""
        step(self.plain)
        step(self.fast)
        return self.image()

    def image(self, **options: Any) -> Tensor:
        plain, fast = (_image(p, **options) for p in (self.plain, self.fast))
        assert relative_error(fast, plain) <= 2 * F32_TOLERANCE
        return fast

    @property
    def engine(self) -> Any:
        (engine,) = self.fast.unet.engines
        return engine

    def want_modules_bits(self) -> None:
        """Where no adapter is active, the engine computes with the module's weights."""
        view = lora_views.base_view(self.module)
        changed = {name for adapter in view.adapters.values() for name in adapter.deltas}
        for user_name, name in view.names.items():
            value = self.module.get_parameter(user_name)
            assert name in changed or same_bits(self.engine.parameter(name), value), name


def _image(pipeline: StableDiffusionPipeline, **options: Any) -> Tensor:
    images: Tensor = pipeline(
        "an owl",
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        height=16,
        width=16,
        **options,
    ).images
    return images


@pytest.fixture(scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> _Pair:
    return _Pair(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def pair(_pair: _Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Pair]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("adapters are changes of weights: nothing is to be made anew")

    monkeypatch.setattr(follower_module, "compile", refuse)
    monkeypatch.setattr(torch.export, "export", refuse)
    yield _pair
    for pipeline in (_pair.plain, _pair.fast):
        pipeline.unload_lora_weights()
        pipeline.unet.load_state_dict(_pair.state)


def _differ(images: list[Tensor]) -> bool:
    return all(relative_error(a, b) > 1e-3 for i, a in enumerate(images) for b in images[i + 1 :])


def test_adapters_of_a_pipeline(pair: _Pair) -> None:
    images, base = [pair.base, pair.load("style"), pair.load("detail")], pair.engine.generation
    images.append(pair.both(lambda p: p.set_adapters(["style", "detail"], [0.5, -0.75])))
    images.append(pair.both(lambda p: p.set_adapters(["style"], [{"unet": 0.25}])))
    assert _differ(images)
    assert pair.engine.generation == base + 2
    pair.both(lambda p: p.delete_adapters("detail"))
    assert pair.engine.generation == base + 2  # It was not active.
    pair.both(lambda p: p.disable_lora())
    pair.want_modules_bits()
    pair.both(lambda p: p.enable_lora())
    assert same_bits(pair.both(lambda p: p.unload_lora_weights()), pair.base)
    pair.want_modules_bits()


def test_scales_of_calls(pair: _Pair) -> None:
    whole = pair.load("style")
    images = [pair.image(cross_attention_kwargs={"scale": s}) for s in (0.5, -1, 2.0)]
    assert _differ([pair.base, whole, *images])
    assert same_bits(pair.image(), whole)
    pair.both(lambda p: p.unload_lora_weights())
    assert same_bits(pair.image(cross_attention_kwargs={"scale": 0.5}), pair.base)


def test_fused_adapters(pair: _Pair) -> None:
    for name in _TARGETS:
        pair.load(name)
    pair.both(lambda p: p.set_adapters(["style", "detail"], [1.0, 0.5]))
    fused = pair.both(lambda p: p.fuse_lora(adapter_names=["style"], lora_scale=0.5))
    pair.want_modules_bits()
    # Taking away what was added leaves other bits than those of before: PyTorch's.
    unfused = pair.both(lambda p: p.unfuse_lora())
    pair.both(lambda p: p.fuse_lora(safe_fusing=True))
    pair.want_modules_bits()
    kept = pair.both(lambda p: p.unload_lora_weights())
    pair.want_modules_bits()
    assert _differ([pair.base, fused, unfused])
    assert relative_error(kept, pair.base) > 1e-3


def _unet_xl(seed: int) -> UNet2DConditionModel:
    model = stable_diffusion.unet_xl()
    randomise(model, seed)
    return model.eval().requires_grad_(False)


def test_unet_of_sdxl() -> None:
    model, other = _unet_xl(1), _unet_xl(1)
    call = stable_diffusion.inputs_xl()
    scaled = {**call, "cross_attention_kwargs": {"scale": 0.25}}
    states = {name: lora({"unet": model}, name) for name in _TARGETS}
    alphas = {
        name: {k.replace("lora_A.weight", "alpha"): torch.tensor(2.0) for k in state if "_A" in k}
        for name, state in states.items()
    }

    def load(unet: UNet2DConditionModel, name: str) -> None:
        state, alpha = dict(states[name]), dict(alphas[name])
        unet.load_lora_adapter(state, prefix="unet", adapter_name=name, network_alphas=alpha)

    with torch.no_grad():
        base = other(**call)[0]
        load(other, "style")
        engine = regraft.compile(other, kwargs=scaled)  # The scale of the call is taken in.
        assert relative_error(engine(**scaled)[0], other(**scaled)[0]) <= F32_TOLERANCE
        mutable = regraft.MutableModule(model)
        alone = mutable(**call)[0]
        assert relative_error(alone, base) <= F32_TOLERANCE
        load(model, "style")
        for unet in (model, other):
            load(unet, "detail")
            unet.set_adapters(["style", "detail"], [1.0, 0.5])
        engine.lora.load("style", states["style"] | alphas["style"], prefix="unet.")
        engine.lora.load("detail", states["detail"] | alphas["detail"], 0.5, prefix="unet.")
        want = other(**call)[0]
        assert relative_error(mutable(**call)[0], want) <= F32_TOLERANCE
        assert relative_error(engine(**scaled)[0], want) <= F32_TOLERANCE
        assert relative_error(want, base) > 1e-2
        model.unload_lora()
        for name in engine.lora.loaded:
            engine.lora.unload(name)
        assert same_bits(mutable(**call)[0], alone)
        assert same_bits(engine(**scaled)[0], alone)
    assert len(mutable._regraft.kept) == 1

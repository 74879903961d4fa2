"""Adapters on compiled programs, against PEFT's own answers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import (
    LAYER,
    activate,
    agree,
    answer,
    config_of,
    equal,
    fill,
    inputs,
    llama,
    llama_engine,
    state_of,
    two_adapters,
    values,
    whole,
)
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn

import regraft
from models import zoo
from regraft import lora
from support import same_bits


def in_parts(model: nn.Module, args: tuple[Tensor, ...]) -> regraft.Module:
    # The q projections of adapters stay in PyTorch: deltas reach both kinds of weights.
    compiled = regraft.compile(
        model, args, torch_executed_ops={"torch.ops.aten.silu.default", "aten::linear"}
    )
    assert isinstance(compiled, regraft.Module)
    assert compiled.table.by_name[f"{LAYER}.weight"].in_torch
    return compiled


@pytest.mark.parametrize("make", [whole, in_parts])
def test_adapters_of_peft(make: Any) -> None:
    model, args = two_adapters(), inputs()
    compiled = make(llama(), args)
    base = values(compiled)
    first = compiled.lora.load("a", state_of(model, "a"), config=config_of(model, "a"))
    assert first.parameters == [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(2)]
    weights = sum(base[name].nbytes for name in first.parameters)
    assert first.base_bytes == weights
    assert first.adapter_bytes == sum(t.nbytes for t in state_of(model, "a").values())
    assert first.bytes_read == first.adapter_bytes + first.base_bytes
    activate(model, {"a": 1.0})
    agree(compiled, model, args)
    alone = values(compiled)

    compiled.lora.load("b", state_of(model, "b"), 0.5, config=config_of(model, "b"))
    assert compiled.lora.active == {"a": 1.0, "b": 0.5}
    activate(model, {"a": 1.0, "b": 0.5})
    agree(compiled, model, args)

    report = compiled.lora.set({"b": -0.75})
    assert len(report.parameters) == 4
    activate(model, {"b": -0.75})
    agree(compiled, model, args)
    assert not compiled.lora.set({"b": -0.75}).parameters

    compiled.lora.set({"a": 1.0})
    assert equal(values(compiled), alone)  # A, B, A never blends.
    compiled.lora.unload("b")
    assert compiled.lora.loaded == ["a"]
    compiled.lora.unload("a")
    assert equal(values(compiled), base)
    agree(compiled, llama(), args)


def test_order_of_loading_does_not_matter() -> None:
    model = two_adapters()
    engine = llama_engine()
    results = []
    for order in ("ab", "ba"):
        for name in order:
            engine.lora.load(name, state_of(model, name), config=config_of(model, name))
        results.append(values(engine))
        for name in order:
            engine.lora.unload(name)
    assert equal(*results)


@pytest.mark.parametrize("make", [whole, in_parts])
def test_base_weights_under_adapters(make: Any) -> None:
    model, args = two_adapters(), inputs()
    compiled = make(llama(), args)
    compiled.lora.load("a", state_of(model, "a"), config=config_of(model, "a"))
    before = values(compiled)
    other = zoo.build("tiny_llama", 3)
    compiled.refit(other.state_dict(), dry_run=True)
    assert equal(values(compiled), before)
    compiled.refit(other.state_dict())
    model.load_state_dict(
        {
            name: other.state_dict()[base]
            for name, base in lora.base_view(model).names.items()
            if base in other.state_dict()
        },
        strict=False,
    )
    activate(model, {"a": 1.0})
    agree(compiled, model, args)
    merged = values(compiled)
    compiled.rollback()
    assert equal(values(compiled), before)
    compiled.rollback()
    assert equal(values(compiled), merged)
    compiled.lora.unload("a")
    fresh = make(other, args)
    assert equal(values(compiled), values(fresh))
    compiled.rollback()
    assert compiled.lora.active == {"a": 1.0}
    assert equal(values(compiled), merged)


def test_forks_have_adapters_of_their_own() -> None:
    model = two_adapters()
    engine = llama_engine()
    base = values(engine)
    engine.lora.load("a", state_of(model, "a"), config=config_of(model, "a"))
    fork = engine.fork()
    merged = values(engine)
    fork.lora.unload("a")
    assert equal(values(fork), base)
    assert equal(values(engine), merged)
    assert engine.lora.active == {"a": 1.0}


def test_wrong_base_weights_leave_everything() -> None:
    model = two_adapters()
    engine = llama_engine()
    engine.lora.load("a", state_of(model, "a"), config=config_of(model, "a"))
    before = values(engine)
    wrong = dict(llama().state_dict())
    wrong[f"{LAYER}.weight"] = torch.zeros(3, 3)
    wrong["lm_head.weight"] = torch.zeros(2)
    with pytest.raises(
        regraft.MismatchError, match=r"(?s)q_proj.*f32\[3,3\].*lm_head|lm_head.*q_p"
    ):
        engine.refit(wrong)
    assert equal(values(engine), before)
    engine.lora.unload("a")
    assert equal(values(engine), values(llama_engine()))


def test_peft_model_is_compiled_as_its_base() -> None:
    model, args = two_adapters(), inputs()
    activate(model, {"a": 1.0, "b": 0.5})
    before = answer(model, args)
    engine = regraft.compile(model, args, require_full_compilation=True)
    assert same_bits(answer(model, args), before)
    assert set(engine.lora.active) == {"a", "b"}
    agree(engine, model, args)
    plain = llama_engine()
    assert engine.outline == plain.outline
    engine.lora.set({})
    assert equal(values(engine), values(plain))

    activate(model, {"b": 2.0})
    view = lora.base_view(model)
    report = engine.lora.replace(view.adapters)
    assert len(report.parameters) == 4
    agree(engine, model, args)
    assert not engine.lora.replace(lora.base_view(model).adapters).parameters
    with torch.no_grad():
        model.get_submodule(f"base_model.model.{LAYER}").lora_B["b"].weight[0, 0] += 1e-3
    report = engine.lora.replace(lora.base_view(model).adapters)
    assert report.parameters == [f"{LAYER}.weight"]
    agree(engine, model, args)


def test_base_view_shares_and_leaves_the_module() -> None:
    model = two_adapters()
    text = repr(model)
    view = lora.base_view(model)
    assert repr(model) == text
    assert not lora.has_adapters(view.module)
    assert lora.has_adapters(model)
    own = dict(model.named_parameters(remove_duplicate=False))
    theirs = dict(view.module.named_parameters(remove_duplicate=False))
    assert set(theirs) == set(dict(llama().named_parameters(remove_duplicate=False)))
    for name, parameter in own.items():
        if "lora_" not in name:
            assert theirs[view.names[name]] is parameter
    with model.disable_adapter():
        assert lora.base_view(model).adapters == {}
    model.merge_adapter(["a"])
    assert lora.base_view(model).adapters == {}


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 10, 3, padding=1)
        self.narrow = nn.Conv2d(10, 6, 1)
        self.line = nn.Conv1d(6, 5, 3)
        self.table = nn.Embedding(11, 12)
        self.classifier = nn.Linear(12, 4)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        y = self.line(self.narrow(torch.relu(self.wide(x))).flatten(2)).mean(dim=(1, 2))
        return self.classifier(self.table(ids) * y[:, None])


def convolutions() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(3)
    return Convolutions().eval(), (torch.randn(2, 3, 6, 7), torch.tensor([3, 8]))


def test_convolutions_embeddings_and_saved_modules() -> None:
    plain, args = convolutions()
    engine = whole(plain, args)
    base = values(engine)
    config = LoraConfig(
        r=3,
        lora_alpha=4,
        target_modules=["wide", "narrow", "line", "table"],
        modules_to_save=["classifier"],
    )
    model = fill(get_peft_model(copy.deepcopy(plain), config))
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    report = engine.lora.load("x", state, config=config.to_dict())
    assert set(report.parameters) == {name for name in base if "bias" not in name} | {
        "classifier.bias"
    }
    agree(engine, model, args)
    engine.lora.unload("x")
    assert equal(values(engine), base)
    agree(regraft.compile(model, args, require_full_compilation=True), model, args)


def test_gpt2_stores_weights_the_other_way() -> None:
    args = inputs("tiny_gpt2")
    plain = copy.deepcopy(zoo.build("tiny_gpt2", 0))
    engine = whole(plain, args)
    base = values(engine)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    model = fill(get_peft_model(copy.deepcopy(plain), config))
    state = state_of(model, "default")
    with pytest.raises(regraft.MismatchError, match="fan_in_fan_out"):
        engine.lora.load("x", state, alpha=8)
    engine.lora.load("x", state, alpha=8, fan_in_fan_out=True)
    agree(engine, model, args)
    engine.lora.unload("x")
    assert equal(values(engine), base)
    agree(regraft.compile(model, args, require_full_compilation=True), model, args)


def test_tied_weights_are_not_torn() -> None:
    args = inputs("tiny_gpt2")
    engine = whole(zoo.build("tiny_gpt2", 0), args)
    state = {
        "lm_head.lora_A.weight": torch.ones(2, 32),
        "lm_head.lora_B.weight": torch.ones(101, 2),
    }
    with pytest.raises(regraft.MismatchError, match="same tensor as"):
        engine.lora.load("x", state)


def test_tied_layers_of_peft_are_refused() -> None:
    config = LoraConfig(r=2, target_modules=["lm_head"])
    model = fill(get_peft_model(copy.deepcopy(zoo.build("tiny_gpt2", 0)), config))
    with pytest.raises(regraft.UnsupportedError, match="is one tensor with other layers"):
        regraft.compile(model, inputs("tiny_gpt2"))


def test_layers_that_do_not_run_are_left_out() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    args = (torch.ones(2, 4),)
    config = LoraConfig(r=2, target_modules=["used", "idle"])
    model = fill(get_peft_model(Idle(), config))
    engine = regraft.compile(model, args)
    agree(engine, model, args)
    alone = fill(get_peft_model(Idle(), LoraConfig(r=2, target_modules=["idle"])))
    agree(regraft.compile(alone, args), alone, args)
    report = engine.lora.follow(lora.base_view(alone))
    assert (report.parameters, report.unused) == (["used.weight"], ["idle.weight"])
    mutable = regraft.MutableModule(alone)
    agree(mutable, alone, args)
    with torch.no_grad():
        alone.base_model.model.idle.lora_B["default"].weight.fill_(3)
    agree(mutable, alone, args)
    other = fill(get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"])))
    with pytest.raises(regraft.MismatchError, match="is not of this module: want used"):
        engine.lora.follow(lora.base_view(other))


def test_wrong_adapters_leave_everything() -> None:
    engine = llama_engine()
    right = {
        f"{LAYER}.lora_A.weight": torch.ones(2, 32),
        f"{LAYER}.lora_B.weight": torch.ones(32, 2),
    }
    engine.lora.load("right", right)
    before, generation = values(engine), engine.generation
    wrong = {
        "model.layers.0.self_attn.q_porj.lora_A.weight": torch.ones(2, 32),
        "model.layers.0.self_attn.q_porj.lora_B.weight": torch.ones(32, 2),
        "model.layers.0.self_attn.k_proj.lora_A.weight": torch.ones(2, 32),
        "model.layers.0.self_attn.v_proj.lora_A.weight": torch.ones(3, 32),
        "model.layers.0.self_attn.v_proj.lora_B.weight": torch.ones(16, 2),
        "model.layers.0.self_attn.o_proj.lora_A.weight": torch.ones(2, 31),
        "model.layers.0.self_attn.o_proj.lora_B.weight": torch.ones(32, 2),
        "model.nrom.weight": torch.ones(32),
        "lm_head.weight": torch.ones(3, 32),
    }
    with pytest.raises(regraft.MismatchError) as caught:
        engine.lora.load("wrong", wrong)
    text = str(caught.value)
    assert "6 problems" in text
    for part in (
        "nearest: model.layers.0.self_attn.q_proj",
        "k_proj: has A without B",
        "different ranks",
        "do not fit the weight f32[32,32]",
        "nearest: model.norm.weight",
        "lm_head.weight: want f32[101,32], have f32[3,32]",
    ):
        assert part in text
    with pytest.raises(regraft.InvalidArgumentError, match="alpha="):
        engine.lora.load("wrong", {f"base_model.model.{k}": v for k, v in right.items()})
    with pytest.raises(regraft.InvalidArgumentError, match="no adapter"):
        engine.lora.load("wrong", {})
    with pytest.raises(regraft.InvalidArgumentError, match="finite"):
        engine.lora.set({"right": float("nan")})
    with pytest.raises(regraft.NotFoundError, match="right"):
        engine.lora.set({"wrong": 1.0})
    with pytest.raises(regraft.NotFoundError, match="right"):
        engine.lora.unload("wrong")
    assert engine.lora.active == {"right": 1.0}
    assert engine.generation == generation
    assert equal(values(engine), before)


def test_two_adapters_cannot_replace_one_parameter() -> None:
    engine = llama_engine()
    engine.lora.load("a", {"model.norm.weight": torch.ones(32)})
    before = values(engine)
    with pytest.raises(regraft.MismatchError, match="replaced by adapters a and b"):
        engine.lora.load("b", {"model.norm.weight": torch.zeros(32)})
    assert engine.lora.loaded == ["a"]
    assert equal(values(engine), before)


def test_dora_is_refused() -> None:
    args = inputs()
    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True)
    model = fill(get_peft_model(llama(), config))
    with pytest.raises(regraft.UnsupportedError, match=r"(?s)2 problems.*DoRA"):
        regraft.compile(model, args)
    engine = llama_engine()
    with pytest.raises(regraft.UnsupportedError, match="DoRA"):
        engine.lora.load("x", state_of(model, "default"), alpha=1)
    with pytest.raises(regraft.UnsupportedError, match="use_dora"):
        engine.lora.load("x", state_of(model, "default"), config=config.to_dict())


def test_programs_whose_weights_stay(tmp_path: Path) -> None:
    model, args = two_adapters(), inputs()
    with pytest.raises(regraft.InvalidArgumentError, match="merge them"):
        regraft.compile(model, args, immutable_weights=True)
    engine = regraft.compile(llama(), args, immutable_weights=True)
    with pytest.raises(regraft.StateError, match="immutable"):
        engine.lora.load("a", state_of(model, "a"), alpha=1)


def test_stripped_engines_merge_their_first_weights() -> None:
    model, args = two_adapters(), inputs()
    activate(model, {"a": 1.0})
    engine = regraft.compile(model, args, require_full_compilation=True, strip_engine_weights=True)
    engine.refit(llama().state_dict())
    agree(engine, model, args)
    engine.lora.unload("a")
    assert equal(values(engine), values(llama_engine()))

"""`MutableModule` in the place of its module: attributes, graphs of torch.compile, hooks, modes."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from mutable_net import MutableNet
from torch import nn

import regraft
from regraft import MutableModule


def test_stands_in_for_the_module() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    mutable: Any = MutableModule(net)
    assert isinstance(mutable, MutableModule)
    assert isinstance(mutable, nn.Sequential)
    assert mutable.original_model is net
    assert mutable.eval() is mutable
    assert mutable.to(torch.float32) is mutable
    assert len(mutable) == 2
    assert mutable[0] is net[0]
    assert list(mutable) == list(net)
    assert list(mutable.state_dict()) == list(net.state_dict())
    mutable.extra = 3
    assert net.extra == 3
    del mutable.extra
    with pytest.raises(AttributeError, match="extra"):
        _ = mutable.extra
    outer = nn.Sequential(mutable, nn.Linear(4, 4))
    assert len(list(outer.parameters())) == 4
    x = torch.randn(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(outer(x), outer[1](net(x)))
    copied = copy.deepcopy(mutable)
    assert isinstance(copied, MutableModule)
    with torch.no_grad():
        mutable[0].weight.zero_()
        torch.testing.assert_close(copied(x), copied.original_model(x))
        assert not torch.equal(copied(x), mutable(x))
    shallow = copy.copy(mutable)
    with torch.no_grad():
        shallow[0].bias.add_(1)
        torch.testing.assert_close(mutable(x), net(x))
        torch.testing.assert_close(shallow(x), net(x))
    with pytest.raises(TypeError, match=r"MutableModule\.save"):
        copied.__reduce__()


def test_inside_graphs_of_torch_compile() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    mutable: Any = MutableModule(net)
    assert inspect.ismethod(mutable.named_parameters)
    assert mutable.eval.__self__ is mutable
    assert inspect.signature(mutable.to) == inspect.signature(net.to)
    compiled = torch.compile(lambda x: mutable(x) + 1, backend="eager")
    x = torch.randn(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x) + 1)
        net[0].weight.mul_(2)
        torch.testing.assert_close(compiled(x), net(x) + 1)
    assert mutable.compilations == 1
    torch._dynamo.reset()


def test_a_forward_that_is_wrapped() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    mutable: Any = MutableModule(net)
    x = torch.randn(2, 4)
    with torch.no_grad():
        want = net(x)
        torch.testing.assert_close(mutable(x), want)
        assert torch.equal(mutable.forward(x), want)
        original = mutable.forward
        mutable.forward = lambda *args, **kwargs: original(*args, **kwargs) * 2
        torch.testing.assert_close(mutable(x), want * 2)
        torch.testing.assert_close(net(x), want * 2)
        net[0].weight.mul_(3)
        net[0].bias.mul_(3)
        torch.testing.assert_close(mutable(x), want * 6)
        assert mutable.compilations == 2
        del mutable.forward
        torch.testing.assert_close(mutable(x), want * 3)
    assert mutable.compilations == 2


def test_a_forward_with_hooks_of_accelerate() -> None:
    hooks = pytest.importorskip("accelerate.hooks", reason="accelerate is not installed")

    class Doubling(hooks.ModelHook):  # type: ignore[misc, name-defined]
        def post_forward(self, module: nn.Module, output: torch.Tensor) -> torch.Tensor:
            return output * 2

    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    mutable: Any = MutableModule(net)
    x = torch.randn(2, 4)
    with torch.no_grad():
        want = net(x)
        assert hooks.add_hook_to_module(mutable, Doubling()) is mutable
        torch.testing.assert_close(mutable(x), want * 2)
        hooks.remove_hook_from_module(mutable)
        torch.testing.assert_close(mutable(x), want)


@pytest.mark.parametrize("whole", [False, True])
def test_inference_mode(whole: bool) -> None:
    with torch.inference_mode(whole):
        net = MutableNet().eval().requires_grad_(not whole)
        mutable = MutableModule(net)
    with torch.inference_mode():
        x = torch.randn(3, 4)
        for _ in range(2):
            have, want = mutable(x), net(x)
            torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4)
            net.first.weight.mul_(2)


def test_weights_of_inference_mode_that_require_grad() -> None:
    with torch.inference_mode():
        mutable = MutableModule(MutableNet().eval())
        with pytest.raises(regraft.InvalidArgumentError, match=r"False\) there: first\.weight, "):
            mutable(torch.randn(3, 4))


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"want a torch\.nn\.Module, have int"):
        MutableModule(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"'precison' \(nearest: 'precision'\)"):
        MutableModule(MutableNet(), precison="bf16")
    with pytest.raises(regraft.InvalidArgumentError, match="needs weights it can replace"):
        MutableModule(MutableNet(), strip_engine_weights=True)
    mutable = MutableModule(MutableNet().eval())
    with pytest.raises(regraft.StateError, match="requires grad"):
        mutable(torch.randn(3, 4, requires_grad=True))

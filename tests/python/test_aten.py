"""Every ATen op of the catalogue's front, one small program each, in the raw and the core dialect,
against PyTorch on the reference backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

import regraft
import support

aten = torch.ops.aten


@dataclass(frozen=True)
class Case:
    """A function of tensors; `shapes` of f32 inputs, or tensors."""

    name: str
    function: Callable[..., object]
    inputs: tuple[object, ...]


def case(name: str, function: Callable[..., object], *inputs: object) -> Case:
    return Case(name, function, inputs)


X = (2, 3, 4)
IMAGE = (2, 4, 6, 5)
INTEGERS = torch.tensor([[3, 0, 2], [1, 2, 0]])
WHOLE = torch.tensor([[-7, 5, 0], [9, -2, 4]])
FLAGS = torch.tensor([[True, False, True], [False, False, True]])
POSITIVE = torch.linspace(0.1, 4.0, 24).reshape(X)
UNIT = torch.linspace(-0.9, 0.9, 24).reshape(X)


def _in_place(x: Tensor) -> Tensor:
    y = x * 2
    y.add_(1).mul_(3).sub_(2).div_(4)
    y[:, 1].clamp_(min=0)
    y[0, :, ::2] = x[1, :, ::2]
    y.relu_().masked_fill_(y > 5, 5.0)
    return y


def _fill_mask(x: Tensor, mask: Tensor, token: Tensor) -> Tensor:
    y = x * 2
    y[mask] = token
    return y


def _copy_into_view(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    z = torch.zeros(2, 3, 4)
    z.select(1, 0).copy_(y)
    z.transpose(0, 1)[2].copy_(x[:, 2] * 2)
    return z, z.narrow(2, 1, 2) + 1


CASES = [
    # ---- structure ----
    case("view", lambda x: x.view(6, 4).view(-1, 2, 4), X),
    case("reshape", lambda x: x.transpose(0, 1).reshape(3, -1), X),
    case("flatten", lambda x: x.flatten(1), X),
    case("unflatten", lambda x: x.unflatten(2, (2, -1)), X),
    case("permute", lambda x: x.permute(2, 0, -2), X),
    case("transpose", lambda x: x.transpose(-1, 0), X),
    case("t", lambda x: x.t(), (3, 5)),
    case("squeeze", lambda x: (x.squeeze(), x.squeeze(1), x.squeeze((0, -1))), (1, 3, 1)),
    case("unsqueeze", lambda x: x.unsqueeze(-1).unsqueeze(1), X),
    case("expand", lambda x: x.expand(5, 3, 4) + 0, (1, 3, 1)),
    case("expand_as", lambda x, y: x.expand_as(y) * 1, (3, 1), (2, 3, 4)),
    case("broadcast_to", lambda x: x.broadcast_to(2, 3, 4) * 1, (3, 1)),
    case("select", lambda x: (x.select(1, -1), x[0]), X),
    case("slice", lambda x: (x[:, 1:], x[..., -3:-1], x[:, ::2], x[1:100]), X),
    case("split", lambda x: x.split(2, 1), (2, 5)),
    case("split_with_sizes", lambda x: x.split([1, 4], -1), (2, 5)),
    case("chunk", lambda x: x.chunk(3, 1), (2, 7)),
    case("unbind", lambda x: x.unbind(1), X),
    case("narrow", lambda x: x.narrow(1, 1, 2), X),
    case("as_strided", lambda x: x.as_strided((2, 2), (3, 1), 1) + 0, (4, 3)),
    case("cat", lambda x, y: torch.cat([x, y, x], -2), X, (2, 1, 4)),
    case("stack", lambda x, y: torch.stack([x, y], -1), X, X),
    case("repeat", lambda x: x.repeat(2, 1, 3), (2, 3)),
    case("tile", lambda x: x.tile(2, 2), (3,)),
    case("repeat_interleave", lambda x: x.repeat_interleave(3, 1), X),
    case("roll", lambda x: (x.roll(2), x.roll((1, -1), (0, 2))), X),
    case("flip", lambda x: (x.flip(0, -1), x.flip(()) + 1), X),
    case("movedim", lambda x: x.movedim(0, 2), X),
    case("swapaxes", lambda x: x.swapaxes(0, 2), X),
    case("diagonal", lambda x: x.diagonal(1, -1, 0), X),
    case("unfold", lambda x: x.unfold(2, 3, 1), X),
    case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), (2, 8, 3, 2)),
    case("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), (2, 2, 4, 6)),
    case("channel_shuffle", lambda x: F.channel_shuffle(x, 2), IMAGE),
    case("pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, -1, 0, 2), value=3.0)), X),
    case("pad_modes", lambda x: (F.pad(x, (1, 2), "reflect"), F.pad(x, (3, 1), "replicate")), X),
    case("pad_circular", lambda x: F.pad(x, (1, 2), "circular"), X),
    case("pad_circular_crop", lambda x: F.pad(x, (-1, 1, 2, -2), "circular"), IMAGE),
    case("meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), (3,), (2,)),
    # ---- creation ----
    case(
        "arange", lambda x: (x[0, 0] + torch.arange(4), torch.arange(1, 9, 3), torch.arange(4.0)), X
    ),
    case("full", lambda x: (torch.full((2, 3), 1.5) + x[0, 0, 0], x.new_full((2,), 7)), X),
    case(
        "ones", lambda x: (torch.ones(3, dtype=torch.int32), x.new_ones(2), torch.ones_like(x)), X
    ),
    case("zeros", lambda x: (torch.zeros(3), x.new_zeros(2, 2), torch.zeros_like(x)), X),
    case("full_like", lambda x: torch.full_like(x, -2.5), X),
    case("scalar_tensor", lambda x: x * torch.scalar_tensor(2.5), X),
    case("triu", lambda x: (x.triu(), x.tril(-1), x.triu(1)), X),
    case("eye", lambda x: x @ torch.eye(4), X),
    case("linspace", lambda x: x * torch.linspace(0, 1, 4), X),
    # ---- arithmetic ----
    case("add", lambda x, y: (x + y, torch.add(x, y, alpha=2.5), x + 1, 3 + x), X, (4,)),
    case("sub", lambda x, y: (x - y, torch.sub(x, y, alpha=2), 1 - x, x - 2), X, (3, 1)),
    case("rsub", lambda x, y: torch.rsub(x, y, alpha=3), X, X),
    case("mul", lambda x, y: (x * y, x * 2, x * True), X, (2, 1, 4)),
    case("div", lambda x, y: (x / y, x / 3, 2 / x), X, POSITIVE),
    case("div_integers", lambda x: (x / 2, x // 2, torch.div(x, 3, rounding_mode="trunc")), WHOLE),
    case("div_floor", lambda x, y: torch.div(x, y, rounding_mode="floor"), X, POSITIVE),
    case("remainder", lambda x: (x % 3, torch.remainder(x, -3), torch.fmod(x, 3)), WHOLE),
    case("remainder_floats", lambda x, y: (torch.remainder(x, y), torch.fmod(x, y)), X, POSITIVE),
    case("pow", lambda x: (x**2, x**0.5, x**-1.5, 2**x, torch.pow(x, x)), POSITIVE),
    case("addcmul", lambda x, y: torch.addcmul(x, x, y, value=0.5), X, (4,)),
    case("addcdiv", lambda x, y: torch.addcdiv(x, x, y, value=0.5), X, POSITIVE),
    case("lerp", lambda x, y: torch.lerp(x, y, 0.3), X, X),
    case("maximum", lambda x, y: (torch.maximum(x, y), torch.minimum(x, y)), X, X),
    case("clamp", lambda x: (x.clamp(-0.5, 0.5), x.clamp(min=0), x.clamp_max(0.1)), X),
    case("clamp_tensor", lambda x, y: x.clamp(min=y), X, (4,)),
    case("promotion", lambda x, i: (x + i, i * 1.5, i + 1, i / 2), (2, 3), INTEGERS),
    case("compare", lambda x, y: (x == y, x != y, x < y, x <= y, x > y, x >= y, x > 0), X, X),
    case(
        "logical", lambda a: (a & ~a, a | True, a ^ True, a.logical_not(), a.logical_and(a)), FLAGS
    ),
    case("bitwise", lambda i: (i & 6, i | 1, i ^ 3, ~i, i << 1, i >> 1), INTEGERS),
    case("where", lambda x, a: (torch.where(a, x, -x), torch.where(a, x, 0.0)), (2, 3), FLAGS),
    case(
        "masked_fill", lambda x, a: (x.masked_fill(a, -1), x.masked_fill(a, x[0, 0])), (2, 3), FLAGS
    ),
    # ---- functions ----
    case("exponentials", lambda x: (x.exp(), x.expm1(), x.exp2(), x.sinh(), x.cosh()), UNIT),
    case("logarithms", lambda x: (x.log(), x.log2(), x.log10(), x.log1p()), POSITIVE),
    case("roots", lambda x: (x.sqrt(), x.rsqrt(), x.reciprocal(), x.square()), POSITIVE),
    case("trigonometry", lambda x: (x.sin(), x.cos(), x.tan(), x.asin(), x.acos(), x.atan()), UNIT),
    case("atan2", lambda x, y: torch.atan2(x, y), X, X),
    case("rounding", lambda x: (x.floor(), x.ceil(), x.round(), x.trunc()), POSITIVE * 3 - 5),
    case("signs", lambda x: (x.abs(), -x, x.sign()), X),
    case("erf", lambda x: (x.erf(), x.sigmoid(), x.tanh()), X),
    case("tests", lambda x: (x.isnan(), x.isinf(), (x / 0).isinf(), (x / 0).nan_to_num()), X),
    case("relu", lambda x: (F.relu(x), F.relu6(x * 4), F.hardtanh(x, -0.2, 0.3)), X),
    case("gelu", lambda x: (F.gelu(x), F.gelu(x, approximate="tanh")), X),
    case("silu", lambda x: (F.silu(x), F.mish(x), F.softplus(x), F.softplus(x, 2, 1)), X),
    case("hard", lambda x: (F.hardswish(x), F.hardsigmoid(x), F.hardshrink(x), F.softshrink(x)), X),
    case("leaky", lambda x: (F.leaky_relu(x, 0.2), F.elu(x, 0.7), F.celu(x, 0.4), F.selu(x)), X),
    case("prelu", lambda x, w: (F.prelu(x, w), F.prelu(x[0, 0, 0], w[:1])), X, (3,)),
    case("threshold", lambda x: F.threshold(x, 0.1, 20), X),
    case("logsigmoid", lambda x: F.logsigmoid(x), X),
    case("glu", lambda x: F.glu(x, -1), X),
    case("softmax", lambda x: (x.softmax(1), F.softmax(x, -1, dtype=torch.float64)), X),
    case("log_softmax", lambda x: x.log_softmax(0), X),
    # ---- reductions ----
    case("sum", lambda x: (x.sum(), x.sum(1), x.sum((0, -1), keepdim=True)), X),
    case("sum_integers", lambda i, a: (i.sum(), a.sum(1)), INTEGERS, FLAGS),
    case("mean", lambda x: (x.mean(), x.mean((1, 2)), x.mean(-1, keepdim=True)), X),
    case("amax", lambda x: (x.amax(1), x.amin((0, 2)), x.max(), x.min()), X),
    case("max_dim", lambda x: (*x.max(1), *x.min(-1, keepdim=True)), X),
    case("argmax", lambda x: (x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True)), X),
    case("prod", lambda x: (x.prod(), x.prod(1)), X),
    case("var", lambda x: (x.var(), x.var(1, correction=0), x.std((0, 2), keepdim=True)), X),
    case("var_mean", lambda x: torch.var_mean(x, 1, correction=1), X),
    case("norms", lambda x: (x.norm(), torch.linalg.vector_norm(x, 1, dim=1), F.normalize(x)), X),
    case("any", lambda a: (a.any(), a.any(0), a.all(1)), FLAGS),
    case("logsumexp", lambda x: x.logsumexp((1, 2)), X),
    case("cumsum", lambda x: (x.cumsum(1), x.cumsum(-1)), X),
    case("cumprod", lambda x: x.cumprod(2), X),
    case("cosine_similarity", lambda x, y: F.cosine_similarity(x, y * 0 + x[0], 2), X, X),
    case(
        "cosine_similarity_broadcast",
        lambda x, y: (
            F.cosine_similarity(x, y, -2),
            F.cosine_similarity(y, x[0, 0], 0),
            F.cosine_similarity(x[0, 0, 0], y[1, 0, 2], 0),
        ),
        (1, 2, 3),
        (2, 1, 3),
    ),
    case("diff", lambda x: (x.diff(dim=1), x.diff(2, 1, x), x.diff(0, 1, x, x) * 2), X),
    case("topk", lambda x: (*x.topk(2, 1), *x.topk(3, -1, largest=False)), X),
    case("sort", lambda x: (*x.sort(1), x.argsort(-1, descending=True)), X),
    # ---- indexing ----
    case("embedding", lambda i, w: F.embedding(i, w, padding_idx=0), INTEGERS, (4, 5)),
    case("index", lambda x, i: (x[i], x[:, i[0]], x[i[0, :2], i[1, :2]]), (4, 4), INTEGERS),
    case("index_select", lambda x, i: x.index_select(1, i[0]), (2, 4), INTEGERS),
    case("index_mask", lambda x, i: torch.where(i > 1, x, 0)[:, None], (2, 3), INTEGERS),
    case("gather", lambda x, i: x.gather(1, i), (2, 4), INTEGERS),
    case("take_along_dim", lambda x, i: x.take_along_dim(i, 1), (2, 4), INTEGERS),
    case(
        "take_along_dim_broadcast",
        lambda x, y, i: (x.take_along_dim(i - 3, 1), y.take_along_dim(i[:1], 1), y.take(i - 8)),
        (1, 4),
        (2, 4),
        INTEGERS,
    ),
    case("gather_nothing", lambda x, i: x.gather(0, i), (4,), torch.zeros(2, 0, dtype=torch.uint8)),
    case(
        "scatter",
        lambda x, i, y: (x.scatter(1, i, y), x.scatter(1, i, 2.0)),
        (2, 4),
        INTEGERS,
        (2, 3),
    ),
    case("scatter_add", lambda x, i, y: x.scatter_add(1, i, y), (2, 4), INTEGERS, (2, 3)),
    case("index_put", lambda x, i: aten.index_put(x, [i[0]], x[:3] * 2), (4, 2), INTEGERS),
    case("mask_row", lambda x, a, y: aten.index_put(x, [a], y), (2, 3, 4), FLAGS, (4,)),
    case(
        "mask_inside",
        lambda x, a, y: (
            aten.index_put(x, [None, a], y),
            aten.index_put(x, [None, a], y[:1]),
            aten.index_put(x, [None, a[:, 0]], y[:, :, None]),
            aten.index_put(x, [None, None, a[0]], y[0]),
        ),
        (4, 2, 3),
        FLAGS,
        (4, 1),
    ),
    case("mask_in_place", _fill_mask, X, FLAGS, (4,)),
    case(
        "masked_scatter",
        lambda x, a, y: (
            x.masked_scatter(a[:, :, None], y),
            x[:, 0].masked_scatter(a[:, :1], y),
            y[:, 0].masked_scatter(a[:, :0, None].any(1), y[:0]),
        ),
        X,
        FLAGS,
        (4, 3),
    ),
    case(
        "embedding_bag",
        lambda i, w, s: (
            F.embedding_bag(i, w),
            F.embedding_bag(i[0], w, torch.tensor([0, 0, 2]), mode="max"),
            F.embedding_bag(i[0], w, torch.tensor([0, 2, 2, 3]), include_last_offset=True),
            F.embedding_bag(i, w, mode="sum", per_sample_weights=s),
            F.embedding_bag(i, w, mode="mean", padding_idx=2),
            F.embedding_bag(i, w, mode="max", padding_idx=-5),
        ),
        INTEGERS,
        (5, 4),
        (2, 3),
    ),
    case("index_copy", lambda x, y: x.index_copy(1, torch.tensor([2, 0]), y), X, (2, 2, 4)),
    case("index_add", lambda x, y: x.index_add(1, torch.tensor([2, 0]), y), X, (2, 2, 4)),
    case("slice_scatter", lambda x, y: torch.slice_scatter(x, y, 1, 0, 3, 2), X, (2, 2, 4)),
    case("select_scatter", lambda x, y: torch.select_scatter(x, y, 1, -1), X, (2, 4)),
    case("one_hot", lambda i: F.one_hot(i, 5), INTEGERS),
    case("isin", lambda i: torch.isin(i, torch.tensor([1, 3])), INTEGERS),
    # ---- products ----
    case("mm", lambda x, y: (x @ y, torch.mm(x, y)), (3, 4), (4, 5)),
    case("matmul", lambda x, y: (x @ y[0], x[0] @ y, x[0, 0] @ y[0], x @ y[0, :, 0]), X, (2, 4, 5)),
    case("bmm", lambda x, y: torch.bmm(x, y), X, (2, 4, 5)),
    case(
        "baddbmm", lambda b, x, y: torch.baddbmm(b, x, y, beta=0.5, alpha=2), (3, 5), X, (2, 4, 5)
    ),
    case(
        "addmm_integers",
        lambda b, x: (torch.addmm(b, x, x.t(), beta=1.7, alpha=2.7), b.addmv(x, x[0], beta=0.6)),
        torch.tensor([5, -3]),
        WHOLE,
    ),
    case("addmm", lambda b, x, y: torch.addmm(b, x, y, beta=2, alpha=0.5), (5,), (3, 4), (4, 5)),
    case("linear", lambda x, w, b: (F.linear(x, w), F.linear(x, w, b)), X, (5, 4), (5,)),
    case("linear_vector", lambda x, w: F.linear(x, w), X, (4,)),
    case("linear_broadcast", lambda x, w, b: F.linear(x, w, b), X, (5, 4), (1, 5)),
    case("einsum", lambda x, y: torch.einsum("bij,bkj->bik", x, y), X, (2, 5, 4)),
    case("einsum_trace", lambda x, y: torch.einsum("bhid,bhjd->bhij", x, y), IMAGE, IMAGE),
    case("outer", lambda x, y: torch.outer(x, y), (3,), (4,)),
    case("dot", lambda x, y: (torch.dot(x, y), torch.vdot(x, y)), (3,), (3,)),
    # ---- layers ----
    case("conv1d", lambda x, w, b: F.conv1d(x, w, b, 2, 1), (2, 3, 9), (5, 3, 3), (5,)),
    case("conv2d", lambda x, w: F.conv2d(x, w, None, (2, 1), 1, 1, 2), IMAGE, (6, 2, 3, 2)),
    case("conv2d_same", lambda x, w: F.conv2d(x, w, padding="same"), IMAGE, (3, 4, 3, 3)),
    case("conv3d", lambda x, w: F.conv3d(x, w, padding=1), (1, 2, 4, 3, 5), (3, 2, 3, 3, 3)),
    case("deconv", lambda x, w: F.conv_transpose2d(x, w, None, 2, 1, 1), IMAGE, (4, 3, 3, 3)),
    case("layer_norm", lambda x, w: F.layer_norm(x, (4,), w, w + 1), X, (4,)),
    case("group_norm", lambda x, w: F.group_norm(x, 2, w, -w), IMAGE, (4,)),
    case("instance_norm", lambda x: F.instance_norm(x), IMAGE),
    case("rms_norm", lambda x, w: F.rms_norm(x, (4,), w, 1e-6), X, (4,)),
    case("batch_norm", lambda x, m, v: F.batch_norm(x, m, v.exp(), m + 1, v), IMAGE, (4,), (4,)),
    case("local_response", lambda x: F.local_response_norm(x, 3), IMAGE),
    case("max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE),
    case("max_pool_indices", lambda x: F.max_pool2d(x, 2, return_indices=True), IMAGE),
    case("max_pool_ceil", lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True), IMAGE),
    case("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), IMAGE),
    case("avg_pool1d", lambda x: (F.avg_pool1d(x, 2), F.max_pool1d(x, 2)), X),
    case(
        "adaptive_avg_pool2d",
        lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (3, 2))),
        IMAGE,
    ),
    case("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (3, 2)), IMAGE),
    case("nearest", lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, (9, 3))), IMAGE),
    case("nearest_exact", lambda x: F.interpolate(x, (9, 3), mode="nearest-exact"), IMAGE),
    case("bilinear", lambda x: F.interpolate(x, (9, 4), mode="bilinear"), IMAGE),
    case(
        "bilinear_corners",
        lambda x: F.interpolate(x, (9, 4), mode="bilinear", align_corners=True),
        IMAGE,
    ),
    case("bicubic", lambda x: F.interpolate(x, (9, 4), mode="bicubic"), IMAGE),
    case("linear_1d", lambda x: F.interpolate(x, 9, mode="linear"), X),
    case(
        "grid_sample",
        lambda x, g: F.grid_sample(x, g.tanh(), align_corners=False),
        IMAGE,
        (2, 3, 5, 2),
    ),
    case(
        "grid_sample_nearest",
        lambda x, g: F.grid_sample(x, g * 2, "nearest", "border", True),
        IMAGE,
        (2, 3, 5, 2),
    ),
    case("im2col", lambda x: F.unfold(x, 3, padding=1), IMAGE),
    case("col2im", lambda x: F.fold(x, (4, 5), 2), (2, 8, 12)),
    case(
        "attention",
        lambda q, k: F.scaled_dot_product_attention(q, k, k),
        (2, 2, 5, 4),
        (2, 2, 3, 4),
    ),
    case(
        "attention_causal",
        lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True),
        (2, 2, 5, 4),
    ),
    case(
        "attention_mask",
        lambda q, m: F.scaled_dot_product_attention(q, q, q, m, scale=0.3),
        (2, 2, 5, 4),
        (5, 5),
    ),
    case(
        "attention_grouped",
        lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True),
        (2, 4, 5, 4),
        (2, 2, 5, 4),
    ),
    case("dropout", lambda x: F.dropout(x, 0.5, training=False) + 1, X),
    # ---- copies and writes ----
    case("clone", lambda x: x.clone().contiguous().detach(), X),
    case(
        "casts",
        lambda x: (x.double(), x.half().float(), x.bfloat16().float(), (x * 3).int(), x.bool()),
        X,
    ),
    case("type_as", lambda x, i: i.type_as(x), X, INTEGERS),
    case("in_place", _in_place, X),
    case("copy_into_view", _copy_into_view, X, (2, 4)),
]


class _Module(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


def _tensors(inputs: tuple[object, ...]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(7)
    return tuple(
        x if isinstance(x, Tensor) else torch.randn(x, generator=generator) for x in inputs
    )


@pytest.mark.parametrize("dialect", ["raw", "core"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_op(case: Case, dialect: str) -> None:
    inputs = _tensors(case.inputs)
    model = _Module(case.function).eval()
    want = support.flat(model(*inputs))
    program = torch.export.export(model, inputs)
    if dialect == "core":
        program = program.run_decompositions()
    engine = regraft.compile(program, backend="reference", require_full_compilation=True)
    have = support.flat(engine(*inputs))
    assert len(have) == len(want)
    for h, w in zip(have, want, strict=True):
        assert h.dtype == w.dtype
        assert h.shape == w.shape
        if w.is_floating_point():
            assert support.relative_error(h, w) < (1e-5 if w.dtype != torch.float64 else 1e-12)
        else:
            assert torch.equal(h, w)


class Images(nn.Module):
    """Puts images among the tokens of a text, as many as there are places for."""

    def forward(self, text: Tensor, mask: Tensor, images: Tensor) -> Tensor:
        torch._check(mask.sum().item() * 4 == images.numel(), lambda: "as many images as places")
        return text.masked_scatter(mask[..., None], images) * 2


def test_a_number_that_only_a_check_reads_keeps_nothing_out() -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    call = (torch.randn(2, 3, 4), mask, torch.randn(3, 4))
    engine = regraft.compile(Images().eval(), call, backend="reference")
    assert isinstance(engine, regraft.Engine)
    assert torch.equal(engine(*call), Images()(*call))


def test_a_text_without_images() -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    call = (torch.randn(2, 3, 4), mask, torch.randn(3, 4))
    sizes = (None, None, {0: Dim("images", min=0, max=6)})
    engine = regraft.compile(Scatter().eval(), call, backend="reference", dynamic_shapes=sizes)
    assert isinstance(engine, regraft.Engine)
    none = torch.zeros(2, 3, dtype=torch.bool)
    for mask, images in ((call[1], call[2]), (none, torch.ones(0, 4))):
        want = Scatter()(call[0], mask, images)
        assert torch.equal(engine(call[0], mask, images), want)


class Scatter(nn.Module):
    def forward(self, text: Tensor, mask: Tensor, images: Tensor) -> Tensor:
        return text.masked_scatter(mask[..., None], images)

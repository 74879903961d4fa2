"""8-bit floats: stored, moved and converted as PyTorch does it, in programs, weights, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.export import ExportedProgram

import regraft
import support
from models import zoo
from regraft.module import safetensors

FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2]
OTHERS = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]
BACKENDS = ["cpu", "reference"]
# Before its #178817, PyTorch made NaN of what e4m3fn has no room for.
SATURATES = bool(torch.tensor(1e9).to(torch.float8_e4m3fn).float() == 448)


class Casts(nn.Module):
    def __init__(self, dtypes: list[torch.dtype]) -> None:
        super().__init__()
        self.dtypes = dtypes

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.to(dtype) for dtype in self.dtypes]


def codes(dtype: torch.dtype) -> Tensor:
    return torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype)


def same_floats(have: Tensor, want: Tensor) -> bool:
    """Equal to the bit; of wider floats, whose NaNs PyTorch does not always keep, any NaN."""
    if want.dtype in FLOAT8 or not want.is_floating_point():
        return support.same_bits(have, want)
    odd = want.isnan()
    return bool(torch.equal(have.isnan(), odd) and support.same_bits(have[~odd], want[~odd]))


def floats() -> Tensor:
    """All numbers of 16 bits, and floats around all that lies between two 8-bit ones."""
    every = torch.arange(65536, dtype=torch.int32)
    narrow = every.to(torch.int16)
    bases = [narrow.view(torch.float16).float(), narrow.view(torch.bfloat16).float()]
    for dtype in FLOAT8:
        finite = codes(dtype).float()
        finite = finite[finite.isfinite()].sort().values
        bases.append((finite[1:] + finite[:-1]) / 2)
    bases.append(torch.tensor([464.0, 480.0, 61440.0, 65536.0, 3.4e38, 1e-45]))
    bits = torch.cat([*bases, -torch.cat(bases)]).view(torch.int32)
    dense = torch.cat([bits - 1, bits, bits + 1])
    more = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(1))
    return torch.cat([dense, more.to(torch.int32)]).view(torch.float32)


def known(x: Tensor) -> Tensor:
    """What all versions of PyTorch convert alike."""
    return x if SATURATES else x[~(x.double().abs() > 464)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_every_code_to_every_dtype(dtype: torch.dtype, backend: str) -> None:
    integral = [t for t in OTHERS if not t.is_floating_point and not t.is_complex][1:]
    rest = [t for t in (*OTHERS, *FLOAT8) if t not in integral]
    x = codes(dtype)
    if not SATURATES:
        x = x[~(x.float().abs() > 448)]
    model = Casts(rest).eval()
    have = regraft.compile(model, (x,), backend=backend)(x)
    for y, want in zip(have, model(x), strict=True):
        if want.is_complex():
            y, want = torch.view_as_real(y), torch.view_as_real(want)
        assert same_floats(y, want), want.dtype
    # Numbers that the integer does not hold are undefined in PyTorch.
    for to in integral:
        limits = torch.iinfo(to)
        values = x.double()
        held = x[(values >= max(limits.min, -(2**31))) & (values <= min(limits.max, 2**31))]
        model = Casts([to]).eval()
        (have,) = regraft.compile(model, (held,), backend=backend)(held)
        assert torch.equal(have, model(held)[0]), to


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_to_float8(source: torch.dtype, backend: str) -> None:
    x = known(floats()).to(source)
    model = Casts(FLOAT8).eval()
    have = regraft.compile(model, (x,), backend=backend)(x)
    for y, want in zip(have, model(x), strict=True):
        assert support.same_bits(y, want), want.dtype


def test_doubles_are_rounded_twice_as_in_pytorch() -> None:
    x = torch.tensor([1.0625, 1.125, 1.1875], dtype=torch.float64) + 1e-12
    model = Casts(FLOAT8).eval()
    for y, want in zip(regraft.compile(model, (x,))(x), model(x), strict=True):
        assert support.same_bits(y, want)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("source", OTHERS[:6] + OTHERS[-2:], ids=str)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_integers_and_complex_numbers_to_float8(source: torch.dtype, backend: str) -> None:
    x = torch.cat([torch.arange(-140, 300), torch.tensor([2**24 + 1, -(2**31)])])
    x = known(x).to(source)
    model = Casts(FLOAT8).eval()
    have = regraft.compile(model, (x,), backend=backend)(x)
    for y, want in zip(have, model(x), strict=True):
        assert support.same_bits(y, want), want.dtype


class Moves(nn.Module):
    """What PyTorch does with float8 beside conversions."""

    def forward(self, x: Tensor, y: Tensor, at: Tensor, which: Tensor) -> list[Tensor]:
        return [
            x.clone(),
            x.t().contiguous(),
            x[1:, ::2],
            x.reshape(-1),
            x[0].expand(3, 6),
            x.unsqueeze(1).repeat(1, 2, 1),
            torch.cat([x, y]),
            torch.stack([x, y], 1),
            x.index_select(0, at),
            x[at],
            x.index_put((at,), y[: at.shape[0]]),
            torch.where(which, x, y),
            nn.functional.pad(x, (1, 2)),
            nn.functional.embedding(at, x),
            x.slice_scatter(y[:1], 0, 1, 2),
            x.roll(1, 0),
            torch.zeros_like(x),
            torch.full_like(x, 2.3),
        ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dialect", zoo.DIALECTS)
@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_moves(dtype: torch.dtype, dialect: str, backend: str) -> None:
    inputs = (
        codes(dtype)[96:120].reshape(4, 6).clone(),
        codes(dtype)[230:254].reshape(4, 6).clone(),
        torch.tensor([2, 0, 3]),
        torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) > 0.5,
    )
    program = zoo.export_model(Moves().eval(), inputs, dialect)
    engine = regraft.compile(program, backend=backend, require_full_compilation=True)
    for i, (have, want) in enumerate(zip(engine(*inputs), Moves()(*inputs), strict=True)):
        if i == 11:  # Choices are values: any NaN is one.
            have, want = have.float(), want.float()
        assert same_floats(have, want), i


class Cache(nn.Module):
    """Keys and values in float8, one position written per call."""

    def forward(self, cache: Tensor, new: Tensor, at: Tensor, query: Tensor) -> tuple[Tensor, ...]:
        cache = cache.index_put((at,), new.to(cache.dtype))
        scores = query @ cache.to(query.dtype).t()
        return scores.softmax(-1) @ cache.to(query.dtype), cache


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_caches_are_inputs_and_outputs(dtype: torch.dtype, backend: str) -> None:
    torch.manual_seed(3)
    inputs = (torch.randn(9, 8).to(dtype), torch.randn(1, 8), torch.tensor([4]), torch.randn(2, 8))
    engine = regraft.compile(Cache().eval(), inputs, backend=backend, require_full_compilation=True)
    (y, cache), (want, want_cache) = engine(*inputs), Cache()(*inputs)
    assert support.same_bits(cache, want_cache)
    torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-5)
    with pytest.raises(regraft.MismatchError, match=r"want f8e\w+\[9,8\], have bf16\[9,8\]"):
        engine(inputs[0].bfloat16(), *inputs[1:])


class Linear(nn.Module):
    """Weights alone in float8, with a scale for each output: as checkpoints of language models."""

    def __init__(self, seed: int, dtype: torch.dtype, compute: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def random(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator)

        self.weight = nn.Parameter(random(24, 16).to(dtype), requires_grad=False)
        self.scale = nn.Parameter((random(24, 1).abs() + 0.1).to(compute), requires_grad=False)
        self.bias = nn.Parameter(random(24).to(compute), requires_grad=False)
        self.register_buffer("table", random(5, 16).to(dtype))

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) * self.scale
        x = x + nn.functional.embedding(at, self.table).to(x.dtype)
        return nn.functional.linear(x, weight, self.bias)


def _linear(
    seed: int, dtype: torch.dtype = FLOAT8[0], compute: torch.dtype = torch.float32
) -> tuple[Linear, tuple[Tensor, Tensor]]:
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(9)).to(compute)
    return Linear(seed, dtype, compute).eval(), (x, torch.tensor([4, 0, 2]))


def _program(seed: int, dialect: str = "raw", **kwargs: Any) -> ExportedProgram:
    model, inputs = _linear(seed, **kwargs)
    return zoo.export_model(model, inputs, dialect)


@pytest.mark.parametrize("dialect", zoo.DIALECTS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_refit_equals_a_build(
    dtype: torch.dtype, compute: torch.dtype, backend: str, dialect: str
) -> None:
    engine = regraft.compile(_program(0, dialect, dtype=dtype, compute=compute), backend=backend)
    assert isinstance(engine, regraft.Engine)
    (first, inputs), (second, _) = (_linear(seed, dtype, compute) for seed in (0, 1))
    a = engine(*inputs)
    limit = 1e-5 if compute == torch.float32 else 2**-7
    assert support.relative_error(a, first(*inputs)) < limit
    engine.refit(second)
    b = engine(*inputs)
    assert support.relative_error(b, second(*inputs)) < limit
    built = regraft.compile(
        _program(1, dialect, dtype=dtype, compute=compute),
        backend=backend,
        realised=engine.realised_plan(),
    )
    assert support.same_bits(b, built(*inputs))
    engine.refit(first, in_place=True)
    assert support.same_bits(a, engine(*inputs))
    # Only what depends on the weight changes.
    report = engine.refit({"weight": second.weight}, partial=True)
    assert report.parameters == ["weight"]
    assert not support.same_bits(a, engine(*inputs))
    engine.rollback()
    assert support.same_bits(a, engine(*inputs))


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_parameters_stay_float8_at_any_precision(dtype: torch.dtype) -> None:
    model, inputs = _linear(0, dtype)
    engine = regraft.compile(model, inputs, backend="cpu", precision="bf16")
    assert isinstance(engine, regraft.Engine)
    name = {FLOAT8[0]: "f8e4m3fn", FLOAT8[1]: "f8e5m2"}[dtype]
    assert {p.spec.name: p.spec.dtype for p in engine.parameter_infos()}["weight"] == name
    assert support.relative_error(engine(*inputs), model(*inputs)) < 2**-6


@pytest.mark.parametrize("form", ["engine", "stripped", "module"])
def test_files(form: str, tmp_path: Path) -> None:
    model, inputs = _linear(0)
    engine = regraft.compile(
        model, inputs, backend="cpu", torch_executed_ops=["aten.linear"] if form == "module" else []
    )
    assert isinstance(engine, regraft.Module) == (form == "module")
    want = engine(*inputs)
    path = tmp_path / "m.rgf"
    engine.save(path, strip_weights=form == "stripped")
    loaded = regraft.load(path)
    if form == "stripped":
        loaded.refit(model)
    assert support.same_bits(want, loaded(*inputs))
    second, _ = _linear(1)
    save_file(dict(second.state_dict()), tmp_path / "weights.safetensors")
    loaded.refit(str(tmp_path / "weights.safetensors"))
    engine.refit(second)
    assert support.same_bits(engine(*inputs), loaded(*inputs))
    saved = tmp_path / "program.pt2"
    torch.export.save(_program(0), saved)
    loaded.refit(str(saved))
    assert support.same_bits(want, loaded(*inputs))
    assert support.same_bits(want, regraft.compile(str(saved), backend="cpu")(*inputs)) or (
        form == "module"
    )


def test_safetensors_of_modules_come_back() -> None:
    tensors = {str(t): codes(t).clone() for t in FLOAT8}
    for name, tensor in safetensors.parse(safetensors.dump(tensors)).items():
        assert support.same_bits(tensor, tensors[name])


def test_dtypes_are_matched_strictly() -> None:
    model, inputs = _linear(0)
    engine = regraft.compile(model, inputs, backend="cpu")
    first = engine(*inputs)
    wide = {k: v.float() for k, v in _linear(1)[0].state_dict().items()}
    with pytest.raises(regraft.MismatchError, match=r"weight: want f8e4m3fn.*have f32.*\(cast"):
        engine.refit(wide)
    other = {**model.state_dict(), "weight": model.weight.to(torch.float8_e5m2)}
    with pytest.raises(regraft.MismatchError, match=r"weight: want f8e4m3fn.*have f8e5m2"):
        engine.refit(other)
    whole = {**model.state_dict(), "weight": torch.zeros(24, 16, dtype=torch.complex64)}
    with pytest.raises(regraft.MismatchError, match=r"weight: want f8e4m3fn.*have c64"):
        engine.refit(whole, cast=True)
    unknown = {**model.state_dict(), "weight": model.weight.to(torch.float8_e4m3fnuz)}
    with pytest.raises((regraft.MismatchError, TypeError), match="float8_e4m3fnuz"):
        engine.refit(unknown)
    assert support.same_bits(first, engine(*inputs))
    # As PyTorch converts it.
    engine.refit(wide, cast=True)
    rounded, _ = _linear(1)
    assert support.same_bits(
        engine(*inputs), regraft.compile(rounded, inputs, backend="cpu")(*inputs)
    )


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_non_finite_weights_are_counted(dtype: torch.dtype) -> None:
    model, inputs = _linear(0, dtype)
    engine = regraft.compile(model, inputs, backend="cpu")
    assert isinstance(engine, regraft.Engine)
    weight = model.weight.detach().clone()
    state = {**model.state_dict(), "weight": weight}
    bits = weight.view(torch.uint8).flatten()
    bits[:3] = torch.tensor([0x7F, 0xFF, 0x7E])
    want = int((~weight.float().isfinite()).sum())
    assert want == (2 if dtype == torch.float8_e4m3fn else 3)
    assert engine.refit(state).non_finite == [("weight", want)]
    with pytest.raises(regraft.MismatchError, match=r"weight.*not finite"):
        engine.refit(state, non_finite="reject")
    # Infinities that casts make are what the engine gets.
    huge = {**model.state_dict(), "weight": torch.full((24, 16), 1e9)}
    report = engine.refit(huge, cast=True)
    assert report.non_finite == ([("weight", 24 * 16)] if dtype == torch.float8_e5m2 else [])


class Layer(nn.Module):
    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x, torch.zeros(3, dtype=torch.int64))
        return y


def test_adapters_of_float8_weights_are_refused() -> None:
    model, inputs = _linear(0)
    engine = regraft.compile(nn.Sequential(Layer(model)).eval(), inputs[:1], backend="cpu")
    a, b = torch.randn(2, 16), torch.randn(24, 2)
    with pytest.raises(regraft.MismatchError, match=r"16 bits or more.*f8e4m3fn\[24,16\]"):
        engine.lora.load("x", {"0.linear.lora_A.weight": a, "0.linear.lora_B.weight": b})


def test_weights_as_numpy_arrays_are_float32() -> None:
    from regraft import refit

    model, inputs = _linear(0)
    mapping = refit.construct_refit_mapping(model, inputs)
    assert any(v.dtype == "float32" and v.shape == (5, 16) for v in mapping.values())


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_torch_compile(dtype: torch.dtype) -> None:
    torch._dynamo.reset()
    model, inputs = _linear(0, dtype)
    compiled = torch.compile(model, backend="regraft", options={"require_full_compilation": True})
    with torch.no_grad():
        for seed in (0, 1):
            model.load_state_dict(_linear(seed, dtype)[0].state_dict())
            torch.testing.assert_close(compiled(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


class Arithmetic(nn.Module):
    """Has kernels in PyTorch, none here."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x * y).to(torch.float32) * 2


def test_arithmetic_runs_in_pytorch() -> None:
    x, y = torch.randn(5).to(FLOAT8[0]), torch.randn(5).to(FLOAT8[0])
    compiled = regraft.compile(Arithmetic().eval(), (x, y))
    assert support.same_bits(compiled(x, y), Arithmetic()(x, y))
    with pytest.raises(regraft.UnsupportedError, match="does not calculate with f8e4m3fn"):
        regraft.compile(Arithmetic().eval(), (x, y), require_full_compilation=True)


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu], ids=str
)
def test_other_float8_is_unsupported(dtype: torch.dtype) -> None:
    class Weight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w", torch.ones(4).to(dtype))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.w.to(torch.float32)

    with pytest.raises(regraft.UnsupportedError, match=str(dtype)):
        regraft.compile(Weight().eval(), (torch.ones(4),))


@pytest.mark.cuda
@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_conversions_on_a_gpu_are_those_of_pytorch(source: torch.dtype) -> None:
    x = known(floats()).to(source).cuda()
    narrow, wide = Casts(FLOAT8).eval(), Casts([source]).eval()
    for y, want in zip(regraft.compile(narrow, (x,), backend="cuda")(x), narrow(x), strict=True):
        assert support.same_bits(y.cpu(), want.cpu()), want.dtype
        if source != torch.float16:  # Whose NaNs lose their sign there.
            (on_host,) = Casts([want.dtype])(x.cpu())
            assert support.same_bits(y.cpu(), on_host), want.dtype
    for dtype in FLOAT8:
        y = codes(dtype).cuda()
        (back,) = regraft.compile(wide, (y,), backend="cuda")(y)
        assert same_floats(back.cpu(), wide(y)[0].cpu()), dtype


@pytest.mark.cuda
@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_refits_on_a_gpu(dtype: torch.dtype, on_host: bool) -> None:
    (first, inputs), (second, _) = (_linear(seed, dtype, torch.bfloat16) for seed in (0, 1))
    engine = regraft.compile(first, inputs, backend="cuda")
    assert isinstance(engine, regraft.Engine)
    inputs = tuple(x.cuda() for x in inputs)
    states = [dict(model.state_dict()) for model in (first, second)]
    if not on_host:
        states = [{k: v.cuda() for k, v in state.items()} for state in states]
    a = engine(*inputs)
    engine.refit(states[1])
    b = engine(*inputs)
    assert support.relative_error(b.cpu(), second(*(x.cpu() for x in inputs))) < 2**-7
    engine.refit(states[0], in_place=True)
    assert support.same_bits(a.cpu(), engine(*inputs).cpu())
    bits = states[1]["weight"].clone().view(torch.uint8)
    bits.view(-1)[:2] = 0x7F
    bad = {**states[1], "weight": bits.view(dtype)}
    assert engine.refit(bad).non_finite == [("weight", 2)]

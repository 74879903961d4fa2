"""The parameters of a module: what they are and who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regraft import _regraft


@dataclass(frozen=True)
class Spec:
    """dtype and sizes, in the core's words."""

    name: str
    dtype: str
    dims: tuple[int, ...]

    def text(self) -> str:
        """ "f32[2,3]" """
        return spec_text(self.dtype, self.dims)


def spec_text(dtype: str, dims: Iterable[int | str]) -> str:
    return f"{dtype}[{','.join(str(d) for d in dims)}]"


@dataclass(frozen=True)
class Parameter:
    """A tensor of the program.

    Attributes:
        aliases: Other names of the same tensor.
        optional: No state_dict has it (a lifted constant, a non-persistent buffer).
        engines: Indices of the engines that read it.
        in_torch: A PyTorch segment reads it.
        retained: Its value is at hand.
    """

    spec: Spec
    aliases: tuple[str, ...]
    optional: bool
    engines: tuple[int, ...]
    in_torch: bool
    retained: bool = True

    @property
    def is_read(self) -> bool:
        return bool(self.engines) or self.in_torch


class Table:
    """Parameters by name and alias. Immutable."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.by_name = {p.spec.name: p for p in self.parameters}
        self.canonical = {
            name: p.spec.name for p in self.parameters for name in (p.spec.name, *p.aliases)
        }

    def names_of(self, engine: int) -> set[str]:
        """Names and aliases of what an engine reads."""
        return {
            name
            for p in self.parameters
            if engine in p.engines
            for name in (p.spec.name, *p.aliases)
        }


def make_table(
    parameters: Sequence[_regraft.ProgramParameter],
    read_by_engine: Sequence[Iterable[str]],
    read_in_torch: Iterable[str],
) -> Table:
    """The table of a program whose engines and PyTorch segments read these names."""
    in_torch = set(read_in_torch)
    by_engine = [set(names) for names in read_by_engine]
    return Table(
        Parameter(
            spec=Spec(p.name, p.dtype, tuple(p.dims)),
            aliases=tuple(p.aliases),
            optional=p.kind == "constant" or not p.persistent,
            engines=tuple(i for i, names in enumerate(by_engine) if p.name in names),
            in_torch=p.name in in_torch,
        )
        for p in parameters
    )

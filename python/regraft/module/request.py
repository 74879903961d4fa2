"""What a caller of ``refit`` asks for."""

from __future__ import annotations

from dataclasses import dataclass

from regraft import _regraft
from regraft._want import finite, want_choice, want_flags
from regraft.errors import InvalidArgumentError

NON_FINITE = ("report", "reject", "ignore")


@dataclass(frozen=True)
class RefitRequest:
    """The options of ``Engine.refit`` and ``Module.refit``.

    Raises:
        TypeError, InvalidArgumentError: Values that they cannot have.
    """

    partial: bool = False
    cast: bool = False
    in_place: bool = False
    dry_run: bool = False
    allow_unexpected: bool = False
    non_finite: str = "report"
    wait_seconds: float = 60.0
    adopt: bool = False

    def __post_init__(self) -> None:
        want_flags(
            "refit",
            partial=self.partial,
            cast=self.cast,
            in_place=self.in_place,
            dry_run=self.dry_run,
            allow_unexpected=self.allow_unexpected,
            adopt=self.adopt,
        )
        if self.adopt and self.in_place:
            raise InvalidArgumentError(
                "[refit] in_place keeps every address, adopt takes others: want one of them"
            )
        want_choice("[refit] non_finite", self.non_finite, NON_FINITE)
        if finite("[refit] wait_seconds", self.wait_seconds) < 0:
            raise InvalidArgumentError(
                f"[refit] wait_seconds: want 0 or more, have {self.wait_seconds}"
            )

    def core(self) -> _regraft.RefitOptions:
        """For the core."""
        options = _regraft.RefitOptions()
        options.partial = self.partial
        options.cast = self.cast
        options.in_place = self.in_place
        options.dry_run = self.dry_run
        options.allow_unexpected = self.allow_unexpected
        options.wait_seconds = self.wait_seconds
        options.adopt = self.adopt
        options.set_non_finite(self.non_finite)
        return options

"""A broken promise, as a checker reports it.

Owns: the value. Does not own: the promises.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """`what` in a sentence; `evidence`: the numbers of the history's entries that prove it."""

    checker: str
    what: str
    evidence: tuple[int, ...] = ()

    def __str__(self) -> str:
        entries = ", ".join(f"#{number}" for number in self.evidence)
        return f"{self.checker}: {self.what}" + (f" [{entries}]" if entries else "")

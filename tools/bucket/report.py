"""What a verification found: findings, what may be collected, counts; as text and as JSON.

Owns: the values and their two forms. Does not own: looking.
Rules: 1 an error is data that can't be read, or might be read wrongly; a warning loses nothing and needs a
person; garbage needs only time: collection takes it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from libs.model.ids import Revision

MIB = 1024 * 1024


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: `kind` in a word, the object or partition, what about it."""

    severity: Severity
    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.severity.value}: {self.kind}: {self.where}: {self.what}"


@dataclass(slots=True, kw_only=True)
class Tally:
    objects: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.objects += 1
        self.size_bytes += size_bytes

    def __str__(self) -> str:
        return f"{self.objects} objects, {self.size_bytes / MIB:.1f} MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome. `revision`: of the metadata that was last asked, None where the bucket was alone."""

    findings: tuple[Finding, ...]
    seen: Mapping[str, Tally]
    """What there is, by kind of object."""
    garbage: Mapping[str, Tally]
    """What collection may take or is taking, by the rule that allows it."""
    chains: int
    partitions: int
    read_bytes: int
    seconds: float
    revision: Revision | None = None
    sample: float = 1.0
    fixed: Mapping[str, Tally] = field(default_factory=dict)
    """What was deleted, by the rule that allowed it."""

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, object]:
        """For machines: plain values."""
        return {"ok": self.ok, **asdict(self)}

    def text(self) -> str:
        """For people."""
        lines = [str(finding) for finding in self.findings]
        lines += [f"  {kind}: {tally}" for kind, tally in sorted(self.seen.items())]
        lines += [f"  to be collected, {rule}: {tally}" for rule, tally in sorted(self.garbage.items())]
        lines += [f"  deleted, {rule}: {tally}" for rule, tally in sorted(self.fixed.items())]
        asked = "the bucket alone" if self.revision is None else f"metadata of revision {self.revision}"
        part = "" if self.sample >= 1 else f", contents of {self.sample:.1%} of the data"
        errors = sum(finding.severity is Severity.ERROR for finding in self.findings)
        lines.append(
            f"{self.chains} chains, {self.partitions} partitions, {self.read_bytes / MIB:.1f} MiB read in "
            f"{self.seconds:.1f} s, by {asked}{part}: "
            f"{errors} errors, {len(self.findings) - errors} warnings"
        )
        return "\n".join(lines)

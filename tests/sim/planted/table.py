"""The table of catches.

Owns: its words. Does not own: the hunts.
"""

from collections.abc import Sequence

from tests.sim.planted.hunt import Hunt

_FORM = "{:34} {:16} {:18} {:>6} {:>6} {:>8}  {}\n"


def head() -> str:
    return _FORM.format("bug", "rule", "checker", "seed", "tried", "seconds", "others that noticed")


def row(found: Hunt) -> str:
    """One bug; a second line where it was not caught."""
    others = ", ".join(f"{name} {count}" for name, count in found.others.most_common(4))
    text = _FORM.format(
        found.bug.name,
        found.bug.rule,
        found.bug.checker,
        "none" if found.seed is None else found.seed,
        found.tried,
        f"{found.seconds:.1f}",
        others,
    )
    return text if found.seed is not None else f"{text}    NOT CAUGHT: {found.bug.what}\n"


def foot(hunts: Sequence[Hunt]) -> str:
    caught = [found for found in hunts if found.seed is not None]
    seconds = sum(found.seconds for found in hunts)
    return f"{len(caught)} of {len(hunts)} bugs caught, {seconds:.0f} s\n"

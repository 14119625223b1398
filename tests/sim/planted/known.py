"""Seeds that are known to catch each bug: the cheap way to see that all judges still see.

Owns: the seeds that a full search found, and none where there was no full search since the code changed. Does
not own: the search.
Rules: 1 a seed is only where to begin: any change of the code may make it another run, so the seeds after it
are tried too, and only a bug that none of them catches is a failure.
"""

from collections.abc import Mapping
from types import MappingProxyType

STEPS = 600
"""Operations of clients in each of these seeds: enough for most, and cheap."""
MORE = 40
"""Seeds that are tried from 1 on, once the known one did not catch."""

SEEDS: Mapping[str, int] = MappingProxyType({})


def seeds_of(name: str) -> list[int]:
    """The known seed first."""
    first = SEEDS.get(name)
    others = [seed for seed in range(1, MORE + 1) if seed != first]
    return others if first is None else [first, *others]

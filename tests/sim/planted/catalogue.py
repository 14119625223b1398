"""All bugs that are planted, in the order of the rules.

Owns: the list. Does not own: the bugs, one file for each part of the design.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tests.sim.planted import changing, ending, life, owning, peers, writing
from tests.sim.planted.bug import PlantedBug

BUGS: Mapping[str, PlantedBug] = MappingProxyType(
    {bug.name: bug for part in (writing, ending, owning, life, changing, peers) for bug in part.BUGS}
)
"""By name."""

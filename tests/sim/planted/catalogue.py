"""All bugs that are planted, in the order of the rules.

Owns: the list, and which of them show in the test command that every checker sees. Does not own: the bugs,
one file for each part of the design.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tests.sim.planted import changing, ending, life, owning, peers, writing
from tests.sim.planted.bug import PlantedBug

BUGS: Mapping[str, PlantedBug] = MappingProxyType(
    {bug.name: bug for part in (writing, ending, owning, life, changing, peers) for bug in part.BUGS}
)
"""By name."""

CANARIES = tuple(
    BUGS[name]
    for name in (
        "ack_before_earlier_objects",
        "readers_see_in_flight",
        "duplicates_appended",
        "log_start_before_commit",
        "ending_seal_deleted",
        "outage_of_metadata_stops_owners",
        "store_trouble_ends_the_process",
        "topic_keyed_by_name",
        "missing_commit_is_0",
        "deleted_topics_left",
        "states_not_referenced",
        "shares_not_evened_out",
        "config_not_unset",
    )
)
"""One for each checker, of those that are caught soonest: cheap enough for every run of the tests."""

"""All judges: one for each promise of the design, and those of groups, changes of topics, owners' shares and
collection.

Owns: the list. Does not own: any judgement.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.sim.checkers import (
    groups,
    no_live_collected,
    no_orphan,
    p1_durable,
    p2_one_value,
    p3_no_holes,
    p4_frontiers,
    p5_clocks,
    p6_data_path,
    p7_never_lies,
    p8_recreated,
    shares,
    topic_changes,
)
from tests.sim.checkers.violation import Violation
from tests.sim.history import History

Checker = Callable[[History], list[Violation]]

_MODULES = (
    p1_durable,
    p2_one_value,
    p3_no_holes,
    p4_frontiers,
    p5_clocks,
    p6_data_path,
    p7_never_lies,
    p8_recreated,
    groups,
    topic_changes,
    shares,
    no_orphan,
    no_live_collected,
)

CHECKERS: Mapping[str, Checker] = MappingProxyType({module.NAME: module.check for module in _MODULES})
"""By name, in the order of the promises."""


def judge(history: History) -> list[Violation]:
    """Everything that any checker finds, in the order of the promises."""
    return [violation for check in CHECKERS.values() for violation in check(history)]

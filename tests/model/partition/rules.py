"""The rules that production keeps to when a partition moves, each of which can be weakened.

Owns: what may be weakened, by the number of its rule in the design (section 3). Does not own: what is done
instead (owners.py, metadata.py).
"""

from dataclasses import dataclass

WINDOW = 2
ASSIGNMENT, STATE = "assignment", "state"
BOTH = frozenset({ASSIGNMENT, STATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What production keeps to; a weakened rule is another value than these."""

    acknowledged_is_durable: bool = True
    """Rule 4: acknowledged is what is durable. Else: what has an offset."""
    predecessor_sealed: bool = True
    """Rule 10: what is opened after a predecessor was sealed. Else: with what its chain holds so far."""
    position_sealed: bool = True
    """Rule 10: so is a position that the state has open, whether or not it is a predecessor's."""
    position_first: bool = True
    """Rule 10: the open position is in the metadata store before the first append."""
    predecessors_appended: bool = True
    """Rule 10: the controller appends predecessors. Else: the last one takes the place of all."""
    closed_recorded: bool = True
    """Rule 10: who removes predecessors records where they ended, in the same transaction."""
    own_flight_awaited: bool = True
    """Rule 10: a session that opens a partition again waits for what it has in flight."""
    release_awaits_durable: bool = True
    """Rule 11: a release waits for `durable` = `assigned`."""
    release_one_way: bool = True
    """Rules 11 and 14: nothing is served after a release was sent, whatever its reply."""
    releasing_refuses: bool = True
    """Rule 11: who releases takes no append."""
    lost_open_is_read: bool = True
    """Rule 14: an opening without a reply is read back. Else: it is taken for success."""
    lost_open_is_tried_again: bool = True
    """Rule 14: and sent again where it is not found. Else: it is taken for failure, and given up."""
    lost_release_is_sent_again: bool = True
    """Rule 14: so is a release. Else: it is taken for success."""
    open_compares: frozenset[str] = BOTH
    """Rules 10 and 14: what an opening's transaction compares."""
    release_compares: frozenset[str] = BOTH
    """Rules 11 and 14: what a release's transaction compares."""
    controller_compares: frozenset[str] = BOTH
    """What the controller's transactions compare, of what production's do."""


KEPT = Rules()

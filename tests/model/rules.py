"""The rules that production keeps to on a chain, each of which can be weakened.

Owns: what may be weakened, by the number of its rule in the design (section 3). Does not own: what is done
instead (writer.py, sealers.py, collector.py).
"""

from dataclasses import dataclass

WINDOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What production keeps to; a weakened rule is another value than these."""

    if_none_match: bool = True
    """Rule 1: a PUT never replaces what is there."""
    in_order: bool = True
    """Rule 4: acknowledged is what has everything before it."""
    window_from_first_unfinished: bool = True
    """Rule 7 counts on it: W places from the first that did not succeed, not W PUTs in flight."""
    taken_is_resolved: bool = True
    """Rule 5: a 412 is resolved by reading. Else: the object is there, so it succeeded."""
    missing_is_failure: bool = True
    """Rule 5: nothing is there after a PUT without an answer: it did not succeed."""
    seal_window: int = WINDOW
    """Rule 7: seals go to n and so many places after it."""
    lost_seal_is_read: bool = True
    """Rule 7: a seal PUT without an answer is read before it counts."""
    markers_listed: bool = True
    """Rule 8: the markers are listed after a seal was written or found."""
    found_seal_is_checked: bool = True
    """Rule 8: also where it was found, not written."""
    listed_after_seal: bool = True
    """Rule 8: the LIST begins after the seal, not before."""
    start_from_bucket: bool = True
    """Rule 8: where the chain starts is what the bucket says, not what the metadata store said once."""
    marker_first: bool = True
    """Rule 8: nothing is deleted before its start marker is there."""
    only_prefix: bool = True
    """Rule 8: what nobody needs, but lies above the start, stays."""
    only_owner_moves_live: bool = True
    """Rule 8: others take a chain's first free place for its end."""
    start_within_durable: bool = True
    """Rule 8: the owner's start never passes `durable`."""
    start_within_needed: bool = True
    """Rule 16: no start passes what a state still names."""
    ending_seal_stays: bool = True
    """Rule 9."""
    greatest_marker_stays: bool = True
    """Rule 9 needs it as well."""
    dead_start_within_end: bool = True
    """Rule 9: a dead chain's start moves to its end, not past it."""


KEPT = Rules()

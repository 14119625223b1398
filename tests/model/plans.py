"""A sealer's plan step by step, as production decides; each step is worked out once.

Owns: calls of libs/segments/chain. Does not own: what the world answers (sealers.py).
Few values come up in many worlds, so a memory of them is most of the search's speed.
"""

from dataclasses import replace
from functools import cache

from libs.model.ids import ChainSeq
from libs.segments.chain import Ended, SealPlan, Slot


@cache
def begin(start: int, window: int) -> SealPlan:
    return SealPlan.begin(ChainSeq(start), window=window, read_ahead=1)


@cache
def saw(plan: SealPlan, seq: int, found: Slot) -> SealPlan:
    return _one_by_one(plan.saw(ChainSeq(seq), found))


@cache
def put(plan: SealPlan, seq: int, *, created: bool) -> SealPlan:
    return _one_by_one(plan.put(ChainSeq(seq), created=created))


@cache
def listed(plan: SealPlan, start: int) -> SealPlan:
    return _one_by_one(plan.listed(ChainSeq(start)))


def _one_by_one(plan: SealPlan) -> SealPlan:
    """The plan reads more at once the farther it is from its start: here it never is."""
    return replace(plan, start=plan.tail)


next_action = cache(SealPlan.next_action)


@cache
def end_of(plan: SealPlan) -> int:
    action = plan.next_action()
    return action.end if isinstance(action, Ended) else -1

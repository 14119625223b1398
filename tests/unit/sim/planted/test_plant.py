"""Planting: every bug fits the code of today, changes it, and is gone afterwards."""

import re
from contextlib import suppress

import pytest

from libs.concurrency.byte_budget import ByteBudget
from tests.sim.checkers.judge import CHECKERS
from tests.sim.planted.bug import Change, PlantedBug
from tests.sim.planted.catalogue import BUGS
from tests.sim.planted.plant import PlantError, planted

_BUDGET = "libs.concurrency.byte_budget"


def bug_of(*changes: Change) -> PlantedBug:
    return PlantedBug(name="x", rule="0", checker="p1_durable", what="", changes=changes)


@pytest.mark.parametrize("name", BUGS)
def test_it_fits_the_code(name: str) -> None:
    with planted(BUGS[name]):
        pass


def test_there_is_one_for_each_rule_and_each_checker_has_one() -> None:
    rules = {int(number) for bug in BUGS.values() for number in re.findall(r"\b\d+\b", bug.rule)}
    assert rules >= set(range(1, 18))
    assert {bug.checker for bug in BUGS.values()} == set(CHECKERS)
    assert len(BUGS) >= 20


async def test_the_code_is_changed_inside_the_block_and_only_there() -> None:
    budget = ByteBudget(10)
    await budget.take(8)
    with planted(BUGS["buffer_without_a_bound"]):
        await budget.take(8)
        assert budget.used_bytes == 16
    budget.give_back(8)
    assert not budget._fits(8)


def test_it_is_taken_out_after_an_error() -> None:
    before = ByteBudget.take.__code__
    with suppress(KeyError), planted(BUGS["buffer_without_a_bound"]):
        assert ByteBudget.take.__code__ is not before
        raise KeyError
    assert ByteBudget.take.__code__ is before


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("not in this file", "", "0 times"),
        ("def ", "def ", "times in"),
        ("self.used_bytes -= size_bytes", "self.used_bytes -= (", "does not compile"),
        ("self.used_bytes -= size_bytes", "self.used_bytes -= size_bytes  # the same", "comes out different"),
    ],
)
def test_what_does_not_fit_fails_loudly(old: str, new: str, complaint: str) -> None:
    with pytest.raises(PlantError, match=complaint), planted(bug_of(Change(_BUDGET, old, new))):
        pass


def test_the_text_of_a_bug_that_does_not_exist_any_more_leaves_nothing_behind() -> None:
    before = ByteBudget.take.__code__
    fits = BUGS["buffer_without_a_bound"].changes
    gone = Change("services.partition_owner.wake", "not in this file", "")
    with pytest.raises(PlantError), planted(bug_of(*fits, gone)):
        pass
    assert ByteBudget.take.__code__ is before

"""The hunt for a planted bug: seeds that break or never end are told, and the search goes on."""

import pytest

from tests.sim.planted import hunt
from tests.sim.planted.catalogue import BUGS

BUG = BUGS["buffer_without_a_bound"]


def _endless(seed: int, *, steps: int) -> None:
    raise BaseExceptionGroup(
        "nursery", [ValueError("also"), BaseExceptionGroup("nursery", [hunt._TooSlow()])]
    )


def _broken(seed: int, *, steps: int) -> None:
    raise ExceptionGroup("nursery", [KeyError("gone")])


@pytest.mark.parametrize("run", [_endless, _broken])
def test_a_seed_that_does_not_end_well_is_no_catch(run: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "run_seed", run)
    found = hunt.hunt(BUG, [1, 2], steps=1)
    assert (found.seed, found.tried, found.others) == (None, 2, {"world": 2})


def test_an_interrupt_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seed: int, *, steps: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hunt, "run_seed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hunt.hunt(BUG, [1], steps=1)


def test_a_seed_has_a_bound_of_cpu() -> None:
    def work() -> None:
        while True:
            pass

    with pytest.raises(hunt._TooSlow), hunt._bounded(0.05):
        work()

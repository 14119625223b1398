"""Where a log may begin after DeleteRecords: between what was acknowledged and what was asked for."""

import pytest

from tests.chaos.vanishing import log_starts


@pytest.mark.parametrize(
    ("start", "kinds"),
    [(4, ["log start went back"]), (5, []), (7, []), (9, []), (10, ["deleted too much"])],
)
def test_a_log_begins_between_what_was_told_and_what_was_asked(start: int, kinds: list[str]) -> None:
    found = log_starts({0: start}, asked={0: 9}, told={0: 5})
    assert [violation.kind for violation in found] == kinds

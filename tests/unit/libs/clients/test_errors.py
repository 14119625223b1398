"""Errors inside replies come back as what they were."""

from hypothesis import given
from hypothesis import strategies as st

from libs.clients.errors import from_proto, to_proto
from libs.model.errors import (
    Corrupt,
    Fenced,
    Invalid,
    KafscaleError,
    Moved,
    NotFound,
    Overloaded,
    Reason,
    Unavailable,
)
from proto.model.error_pb2 import Error

KINDS: list[type[KafscaleError]] = [Invalid, NotFound, Moved, Fenced, Overloaded, Corrupt]


@given(st.sampled_from(KINDS), st.sampled_from(list(Reason)), st.text(max_size=40))
def test_kind_reason_and_message_survive(kind: type[KafscaleError], reason: Reason, message: str) -> None:
    back = from_proto(to_proto(kind(message, reason=reason)))
    assert type(back) is kind
    assert (back.reason, back.message) == (reason, message)


@given(st.booleans())
def test_an_unknown_outcome_stays_unknown(outcome_unknown: bool) -> None:
    back = from_proto(to_proto(Unavailable("store", outcome_unknown=outcome_unknown)))
    assert isinstance(back, Unavailable)
    assert back.outcome_unknown is outcome_unknown


def test_no_kind_is_no_error() -> None:
    assert from_proto(Error()) is None


def test_what_a_newer_peer_says_is_taken_as_an_unknown_outcome() -> None:
    back = from_proto(Error(kind="Sideways", reason="TILTED", message="?"))
    assert isinstance(back, Unavailable)
    assert back.outcome_unknown


def test_a_reason_of_a_newer_peer_falls_back_to_its_kind() -> None:
    back = from_proto(Error(kind="Moved", reason="TO_THE_MOON", message="?"))
    assert isinstance(back, Moved)
    assert back.reason is Reason.NOT_OWNER

"""Kinds to statuses and back."""

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpclib.const import Status

from libs.model.errors import Invalid, KafscaleError, NotFound, Reason, Unavailable
from libs.rpc.status import DOMAIN, OK, CallStatus, error_of, local, status_of


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_survives(reason: Reason) -> None:
    error = error_of(status_of(Invalid("why", reason=reason)))
    assert type(error) is Invalid
    assert error.reason is reason


def test_ok_is_no_error() -> None:
    assert error_of(OK) is None


def test_each_caller_gets_an_exception_of_its_own() -> None:
    status = local(Unavailable("gone", outcome_unknown=True))
    first, second = error_of(status), error_of(status)
    assert first is not second
    assert isinstance(first, Unavailable)
    assert first.outcome_unknown


def _details(**changed: str) -> bytes:
    fields = {"domain": DOMAIN, "kind": "NotFound", "reason": "UNKNOWN_TOPIC_ID"} | changed
    info = error_details_pb2.ErrorInfo(reason=fields["reason"], domain=fields["domain"])
    info.metadata["kind"] = fields["kind"]
    status = status_pb2.Status(code=5)
    status.details.add().Pack(info)
    return status.SerializeToString()


@pytest.mark.parametrize(
    ("details", "kind", "reason"),
    [
        (_details(), NotFound, Reason.UNKNOWN_TOPIC_ID),
        (_details(reason="A_LATER_REASON"), NotFound, NotFound.default_reason),
        (_details(kind="ALaterKind"), Unavailable, Reason.UNSPECIFIED),
        (_details(domain="elsewhere"), Unavailable, Reason.UNSPECIFIED),
        (b"\xff\xff", Unavailable, Reason.UNSPECIFIED),
        (b"", Unavailable, Reason.UNSPECIFIED),
    ],
)
def test_details_of_a_newer_or_foreign_peer(
    details: bytes, kind: type[KafscaleError], reason: Reason
) -> None:
    error = error_of(CallStatus(code=Status.UNAVAILABLE, message="m", details=details))
    assert type(error) is kind
    assert error.reason is reason
    assert error.message == "m"

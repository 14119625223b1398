"""The rim between the platform's seven kinds of error and gRPC statuses.

Owns: both translations, and the details that carry kind, reason and outcome across. Does not own: when a
call fails.
Rules: 1 between our own peers kind, reason, message and outcome survive unchanged (google.rpc.ErrorInfo of
our domain); 2 a foreign status becomes the kind that is safe to act on: where it may have had an effect,
the outcome is unknown. Status codes: grpc/doc/statuscodes.md; details: google/rpc/status.proto.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpclib.const import Status
from grpclib.exceptions import GRPCError

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

DOMAIN = "kafscale"
MESSAGE_CHARS_MAX = 1500  # the peer's header limit (8 KiB in grpcio) holds it twice, encoded

_CODES: dict[type[KafscaleError], Status] = {
    Invalid: Status.INVALID_ARGUMENT,
    NotFound: Status.NOT_FOUND,
    Moved: Status.FAILED_PRECONDITION,
    Fenced: Status.ABORTED,
    Overloaded: Status.RESOURCE_EXHAUSTED,
    Unavailable: Status.UNAVAILABLE,
    Corrupt: Status.DATA_LOSS,
}
_KINDS: dict[str, type[KafscaleError]] = {kind.__name__: kind for kind in _CODES}
_REASON_CODES = {
    Reason.MESSAGE_TOO_LARGE: Status.RESOURCE_EXHAUSTED,
    Reason.UNSUPPORTED_VERSION: Status.UNIMPLEMENTED,
    Reason.NOBODY_CAN_TAKE_OVER: Status.FAILED_PRECONDITION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """How a call ended. `details` is a serialised google.rpc.Status, empty when there are none.

    `error` is set where the end was not told by the peer: the kind that this side made of it.
    """

    code: Status
    message: str = ""
    details: bytes = b""
    error: KafscaleError | None = None


OK = CallStatus(code=Status.OK)


def status_of(error: KafscaleError) -> CallStatus:
    """What a server answers for `error`."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), Status.UNKNOWN)
    if isinstance(error, Invalid):
        code = _REASON_CODES.get(error.reason, code)
    message = error.message[:MESSAGE_CHARS_MAX]
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN)
    info.metadata["kind"] = type(error).__name__
    if isinstance(error, Unavailable):
        info.metadata["outcome_unknown"] = str(error.outcome_unknown).lower()
    status = status_pb2.Status(code=code.value, message=message)
    status.details.add().Pack(info)
    return CallStatus(code=code, message=message, details=status.SerializeToString())


def local(error: KafscaleError, code: Status = Status.UNAVAILABLE) -> CallStatus:
    """The end of a call that this side declared itself."""
    return CallStatus(code=code, message=error.message, error=error)


def error_of(status: CallStatus) -> KafscaleError | None:
    """The error to raise for `status`, new for each caller; None when it is OK."""
    if status.code is Status.OK:
        return None
    error = status.error if status.error is not None else _from_details(status)
    if error is None:
        error = _foreign(status)
        error.__cause__ = GRPCError(status.code, status.message)
        return error
    return _copy(error)


def _copy(error: KafscaleError) -> KafscaleError:
    if isinstance(error, Unavailable):
        return Unavailable(error.message, reason=error.reason, outcome_unknown=error.outcome_unknown)
    return type(error)(error.message, reason=error.reason)


def _from_details(status: CallStatus) -> KafscaleError | None:
    if not status.details:
        return None
    info = error_details_pb2.ErrorInfo()
    try:
        details = status_pb2.Status.FromString(status.details).details
        found = any(detail.Unpack(info) and info.domain == DOMAIN for detail in details)
    except DecodeError:
        return None  # details are a courtesy of the peer; without them the code decides
    kind = _KINDS.get(info.metadata.get("kind", "")) if found else None
    if kind is None:
        return None
    reason = Reason(info.reason) if info.reason in Reason._value2member_map_ else None
    if kind is Unavailable:
        unknown = info.metadata.get("outcome_unknown") != "false"
        return Unavailable(status.message, reason=reason, outcome_unknown=unknown)
    return kind(status.message, reason=reason)


def _foreign(status: CallStatus) -> KafscaleError:  # noqa: PLR0911 - one row a status
    message = status.message or f"the call ended with {status.code.name}"
    match status.code:
        case Status.INVALID_ARGUMENT | Status.OUT_OF_RANGE | Status.ALREADY_EXISTS:
            return Invalid(message)
        case Status.PERMISSION_DENIED | Status.UNAUTHENTICATED:
            return Invalid(f"{status.code.name}: {message}")
        case Status.UNIMPLEMENTED:
            return Invalid(message, reason=Reason.UNSUPPORTED_VERSION)
        case Status.NOT_FOUND:
            return NotFound(message, reason=Reason.UNSPECIFIED)
        case Status.FAILED_PRECONDITION:
            return Moved(message, reason=Reason.UNSPECIFIED)
        case Status.ABORTED:
            return Fenced(message, reason=Reason.UNSPECIFIED)
        case Status.RESOURCE_EXHAUSTED:
            return Overloaded(message)
        case Status.DATA_LOSS:
            return Corrupt(message, reason=Reason.UNSPECIFIED)
        case Status.DEADLINE_EXCEEDED | Status.CANCELLED:
            return Unavailable(message, reason=Reason.TIMED_OUT, outcome_unknown=True)
        case _:  # UNKNOWN, INTERNAL, UNAVAILABLE: nobody says that nothing happened
            return Unavailable(message, reason=Reason.UNSPECIFIED, outcome_unknown=True)

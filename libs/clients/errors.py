"""The Error message inside replies <-> the kinds of libs/model/errors.py.

Owns: the names of kinds on the wire. Does not own: gRPC statuses (libs/rpc).
"""

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

_KINDS: dict[str, type[KafscaleError]] = {
    kind.__name__: kind for kind in (Invalid, NotFound, Moved, Fenced, Overloaded, Unavailable, Corrupt)
}


def to_proto(error: KafscaleError) -> Error:
    return Error(
        kind=type(error).__name__,
        reason=error.reason.value,
        message=error.message,
        outcome_unknown=isinstance(error, Unavailable) and error.outcome_unknown,
    )


def from_proto(message: Error) -> KafscaleError | None:
    """None where the message says that there is no error.

    A kind or reason that this version does not know (a newer peer) becomes the nearest that it does.
    """
    if not message.kind:
        return None
    kind = _KINDS.get(message.kind, Unavailable)
    try:
        reason = Reason(message.reason)
    except ValueError:
        reason = kind.default_reason
    if kind is Unavailable:
        unknown = message.outcome_unknown or message.kind not in _KINDS
        return Unavailable(message.message, reason=reason, outcome_unknown=unknown)
    return kind(message.message, reason=reason)


def raise_from_proto(message: Error) -> None:
    """Raises what the message says, if it says something."""
    error = from_proto(message)
    if error is not None:
        raise error

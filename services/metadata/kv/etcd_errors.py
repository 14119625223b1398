"""What etcd's errors mean to us.

Owns: the translation, once. Does not own: what is tried again (etcd_client.py).
Rules: 1 a write whose error does not say that nothing happened has an unknown outcome.
The texts are those of etcd's api/v3rpc/rpctypes (error.go), which clients are meant to tell errors by.
"""

from libs.model.errors import (
    Corrupt,
    Fenced,
    Invalid,
    KafscaleError,
    NotFound,
    Overloaded,
    Reason,
    Unavailable,
)

_COMPACTED = "required revision has been compacted"
_FUTURE = "required revision is a future revision"
_NO_LEASE = "requested lease not found"
_NO_SPACE = "database space exceeded"
_TOKEN_OVER = ("invalid auth token", "revision of auth store is old")
_AUTH_OFF = "authentication is not enabled"
_CERTAINLY_NOT = ("too many requests", "not leader", "no leader", _NO_SPACE)


def token_is_over(error: KafscaleError) -> bool:
    """Whether signing in anew helps."""
    return any(text in error.message for text in _TOKEN_OVER)


def authentication_is_off(error: KafscaleError) -> bool:
    """The server has no users: a client that has a name needs none."""
    return _AUTH_OFF in error.message


def translate(error: KafscaleError, *, wrote: bool, endpoint: str) -> KafscaleError:
    """The error that the port promises, for one that libs/rpc made of a status or a lost connection."""
    message = f"etcd at {endpoint}: {error.message}"
    if _COMPACTED in error.message:
        return Fenced(message, reason=Reason.GUARD_FAILED)
    if _NO_LEASE in error.message:
        return NotFound("the lease is over: register again", reason=Reason.UNSPECIFIED)
    if _FUTURE in error.message or isinstance(error, Invalid | Corrupt):
        return Invalid(message, reason=error.reason)
    nothing_happened = isinstance(error, Overloaded) or any(text in error.message for text in _CERTAINLY_NOT)
    if isinstance(error, Unavailable) and not error.outcome_unknown:
        nothing_happened = True
    return Unavailable(
        message,
        reason=Reason.METADATA_UNAVAILABLE,
        outcome_unknown=wrote and not nothing_happened,
    )

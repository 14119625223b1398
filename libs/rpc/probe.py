"""Whether anybody listens at an address: told apart from silence.

Owns: the meaning of a failed connection. Does not own: what follows from it.
"""

import trio

from libs.rpc.dial import parse_address

_ANSWER_SECONDS_MAX = 1.0


async def is_refused(address: str) -> bool:
    """True where the host itself says that nobody listens there; False where somebody does, or nothing is
    heard in a second. Raises Invalid for what is no address.
    """
    host, port = parse_address(address)
    with trio.move_on_after(_ANSWER_SECONDS_MAX):
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError as error:
            return _only_refusals(error)
        await trio.aclose_forcefully(stream)
    return False


def _only_refusals(error: OSError) -> bool:
    """Trio tries every address that the name has, and gives the reasons as the cause."""
    cause = error.__cause__
    reasons = cause.exceptions if isinstance(cause, BaseExceptionGroup) else (cause or error,)
    return all(isinstance(reason, ConnectionRefusedError) for reason in reasons)

"""Listening sockets, with an error that says which setting to change.

Owns: binding before anything else starts, so that a process knows its own ports and a port in use is the
first thing that it says.
"""

import errno
import socket
from collections.abc import Sequence

import trio

from libs.model.errors import Invalid, Reason

_BACKLOG = 4096


async def bind(host: str, port: int, *, setting: str) -> list[trio.SocketListener]:
    """Listeners on every address of `host`; port 0 takes any free one, the same for all.

    Raises Invalid(INVALID_CONFIG) that names `setting` where the port can't be had.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        why = {
            errno.EADDRINUSE: "another process listens there: stop it or choose another port",
            errno.EACCES: "this user may not listen there: choose a port above 1023",
            errno.EADDRNOTAVAIL: "this machine has no such address",
        }.get(error.errno or 0, str(error))
        message = f"cannot listen on {host}:{port} ({setting}): {why}"
        raise Invalid(message, reason=Reason.INVALID_CONFIG) from error


def port_of(listeners: Sequence[trio.SocketListener]) -> int:
    """The port that was bound."""
    name = listeners[0].socket.getsockname()
    assert listeners[0].socket.family in (socket.AF_INET, socket.AF_INET6)
    port: int = name[1]
    return port

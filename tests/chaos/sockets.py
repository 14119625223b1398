"""Whose connection it is, whether a port is listened on, and ending a connection with RST. Linux.

Owns: sock_diag(7), /proc, SO_LINGER. Does not own: what is done with the answer.
Rule: 1 the kernel is asked for a socket by both of its ends: one port may have connections to several places.
"""

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

import trio

HOST = "127.0.0.1"
_LOOK_SECONDS = 0.05
_RST_ON_CLOSE = struct.pack("ii", 1, 0)

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ALL_STATES = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBxxI")
"""Family, protocol, states."""
_SOCKET_ID = struct.Struct("!HH4s12x4s12x")
"""Ports and addresses, the asked-for socket's own first."""
_ANY_AND_NO_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
"""Interface and cookie: any."""
_INODE_AT = 68
"""In struct inet_diag_msg."""


def holder_of(stream: trio.SocketStream, pids: Mapping[str, int]) -> str | None:
    """The name of the process at the other end of a connection over loopback; None: none of `pids` is.

    A proxy that serves several processes asks this for each connection: so one address per target is enough,
    whoever learnt it from whom. Raises OSError where the connection is gone.
    """
    wanted = f"socket:[{_inode_of(stream.socket.getpeername(), stream.socket.getsockname())}]"
    for name, pid in pids.items():
        with suppress(OSError):  # it ended meanwhile
            for file in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{file}") == wanted:
                        return name
    return None


def _inode_of(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """Of the socket bound to `local` and connected to `remote`. Raises OSError where there is none."""
    place = _SOCKET_ID.pack(local[1], remote[1], socket.inet_aton(local[0]), socket.inet_aton(remote[0]))
    request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, _ALL_STATES) + place + _ANY_AND_NO_COOKIE
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.sendall(header + request)
        answer = kernel.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        (number,) = struct.unpack_from("=i", answer, _HEADER.size)
        raise OSError(-number, os.strerror(-number))
    (inode,) = struct.unpack_from("=I", answer, _HEADER.size + _INODE_AT)
    return int(inode)


async def is_listening(port: int) -> bool:
    """Loopback answers at once: connected or refused."""
    try:
        connection = await connect(port)
    except OSError:
        return False
    connection.socket.close()
    return True


async def wait_listening(port: int) -> None:
    """Until somebody listens. The kernel tells nobody: it is asked again and again."""
    while not await is_listening(port):  # noqa: ASYNC110 - there is no event
        await trio.sleep(_LOOK_SECONDS)


async def connect(port: int) -> trio.SocketStream:
    """Raises OSError."""
    made = trio.socket.socket()
    try:
        await made.connect((HOST, port))
    except BaseException:
        made.close()
        raise
    return trio.SocketStream(made)


def reset(stream: trio.SocketStream) -> None:
    """RST instead of FIN."""
    with suppress(OSError):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    stream.socket.close()

"""Whose connection it is, whether a port is listened on, and ending a connection with RST. Linux.

Owns: /proc/net/tcp (proc(5)), SO_LINGER. Does not own: what is done with the answer.
"""

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import trio

HOST = "127.0.0.1"
_LOOK_SECONDS = 0.05
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


def holder_of(port: int, pids: Mapping[str, int]) -> str | None:
    """The name of the process that holds the socket bound to 127.0.0.1:`port`; None: none of `pids` does.

    A proxy that serves several processes asks this for the other end of each connection: so one address per
    target is enough, whoever learnt it from whom.
    """
    inode = _inode_of(port)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    for name, pid in pids.items():
        with suppress(OSError):  # it ended meanwhile
            for file in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{file}") == wanted:
                        return name
    return None


def _inode_of(port: int) -> str | None:
    local = f"0100007F:{port:04X}"
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(local) and fields[9] != "0":
                return fields[9]
    return None


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

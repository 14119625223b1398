"""From an address to a byte stream: TCP, and TLS on top.

Owns: addresses, the client's handshake. Does not own: when to dial (`channel`).
"""

from collections.abc import Awaitable, Callable

import trio

from libs.model.errors import Invalid, Reason
from libs.rpc.tls import ALPN_H2, ClientTls

Connector = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and port; raises OSError when it can't."""


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises Invalid(INVALID_CONFIG)."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise Invalid(f"{address!r} is no address; expected host:port", reason=Reason.INVALID_CONFIG)
    return host, int(port)


class Dialer:
    """Opens streams to one address."""

    def __init__(self, address: str, *, tls: ClientTls | None, connector: Connector) -> None:
        """Raises Invalid for an address or TLS files that can't be used."""
        self.address = address
        self.host, self.port = parse_address(address)
        self.scheme = "http" if tls is None else "https"
        self._server_name = self.host if tls is None or tls.server_name is None else tls.server_name
        self._context = tls.context() if tls is not None else None
        self._connector = connector

    async def dial(self) -> trio.abc.Stream:
        """Raises OSError, ssl.SSLError or trio.BrokenResourceError."""
        stream = await self._connector(self.host, self.port)
        if self._context is None:
            return stream
        secure = trio.SSLStream(
            stream, self._context, server_hostname=self._server_name, https_compatible=True
        )
        try:
            await secure.do_handshake()
            if secure.selected_alpn_protocol() != ALPN_H2:
                raise OSError("the server does not speak HTTP/2 over TLS")
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure

"""A peer that speaks HTTP/2 frame by frame, to do what no well-behaved library does."""

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import h2.config
import h2.connection
import h2.events
import h2.settings
import trio
import trio.testing
from google.protobuf.wrappers_pb2 import BytesValue

from libs.rpc import Channel, RpcLimits, Server, open_channel

E = TypeVar("E", bound=h2.events.Event)

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/kafscale.test.Echo/Unary"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]


def framed(body: bytes, *, flag: int = 0) -> bytes:
    """A gRPC message holding a BytesValue."""
    return framed_raw(BytesValue(value=body).SerializeToString(), flag=flag)


def framed_raw(payload: bytes, *, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(payload)) + payload


class RawPeer:
    """h2 without any of our changes, on one end of a stream."""

    def __init__(self, stream: trio.abc.Stream, *, client_side: bool, window: int | None = None) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client_side))
        if window is not None:
            self.h2.local_settings = h2.settings.Settings(
                client=client_side, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.events: list[h2.events.Event] = []
        self.data = b""
        self.h2.initiate_connection()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def pump(self) -> bool:
        """Reads once; False at the end of the stream."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            return False
        if not data:
            return False
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.data += event.data
        with suppress(trio.BrokenResourceError):  # the other end may have closed; the next read says so
            await self.flush()
        return True

    async def wait_event(self, kind: type[E], where: Callable[[E], bool] = lambda event: True) -> E:
        """The first event of that kind, the past included; it is taken out."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and where(event):
                    self.events.remove(event)
                    return event
            assert await self.pump(), f"the connection ended before {kind.__name__}: {self.events}"

    async def wait_closed(self) -> None:
        while await self.pump():
            pass

    async def wait_status(self) -> dict[str, str]:
        """The headers that ended the call."""
        while True:
            for event in self.events:
                trailers = isinstance(event, h2.events.TrailersReceived)
                only = isinstance(event, h2.events.ResponseReceived) and event.stream_ended
                if trailers or only:
                    assert isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived)
                    return {_text(name): _text(value) for name, value in event.headers}
            assert await self.pump(), f"the connection ended without a status: {self.events}"


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


@asynccontextmanager
async def raw_client(server: Server, *, window: int | None = None) -> AsyncIterator[RawPeer]:
    """A raw client of `server`."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs)
        peer = RawPeer(ours, client_side=True, window=window)
        await peer.flush()
        yield peer
        await trio.aclose_forcefully(ours)  # and the server's end of it has to end by itself
        nursery.cancel_scope.deadline = trio.current_time() + 20
    assert not nursery.cancel_scope.cancelled_caught


@asynccontextmanager
async def raw_servers(limits: RpcLimits) -> AsyncIterator[tuple[Channel, trio.MemoryReceiveChannel[RawPeer]]]:
    """A channel, and the raw servers that it connects to, one for each connection."""
    peers_in, peers = trio.open_memory_channel[RawPeer](10)

    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        peer = RawPeer(theirs, client_side=False)
        await peer.flush()
        peers_in.send_nowait(peer)
        return ours

    async with open_channel("raw:1", limits=limits, connector=connect) as channel:
        yield channel, peers

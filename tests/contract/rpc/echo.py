# ruff: noqa: N802, UP006 - the shape of generated code
"""A service with one method of each call kind, shaped exactly like grpclib's generated code.

The messages are protobuf's own wrappers, so that no code has to be generated and grpcio can speak it too.
"""

import abc
import typing

import grpclib.client
import grpclib.const
from google.protobuf.wrappers_pb2 import BytesValue

if typing.TYPE_CHECKING:
    import grpclib.server

PACKAGE = "kafscale.test.Echo"


class EchoBase(abc.ABC):
    @abc.abstractmethod
    async def Unary(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        pass

    @abc.abstractmethod
    async def Expand(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        pass

    @abc.abstractmethod
    async def Collect(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        pass

    @abc.abstractmethod
    async def Chat(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        pass

    def __mapping__(self) -> typing.Dict[str, grpclib.const.Handler]:
        return {
            "/kafscale.test.Echo/Unary": grpclib.const.Handler(
                self.Unary, grpclib.const.Cardinality.UNARY_UNARY, BytesValue, BytesValue
            ),
            "/kafscale.test.Echo/Expand": grpclib.const.Handler(
                self.Expand, grpclib.const.Cardinality.UNARY_STREAM, BytesValue, BytesValue
            ),
            "/kafscale.test.Echo/Collect": grpclib.const.Handler(
                self.Collect, grpclib.const.Cardinality.STREAM_UNARY, BytesValue, BytesValue
            ),
            "/kafscale.test.Echo/Chat": grpclib.const.Handler(
                self.Chat, grpclib.const.Cardinality.STREAM_STREAM, BytesValue, BytesValue
            ),
        }


class EchoStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        self.Unary = grpclib.client.UnaryUnaryMethod(
            channel, "/kafscale.test.Echo/Unary", BytesValue, BytesValue
        )
        self.Expand = grpclib.client.UnaryStreamMethod(
            channel, "/kafscale.test.Echo/Expand", BytesValue, BytesValue
        )
        self.Collect = grpclib.client.StreamUnaryMethod(
            channel, "/kafscale.test.Echo/Collect", BytesValue, BytesValue
        )
        self.Chat = grpclib.client.StreamStreamMethod(
            channel, "/kafscale.test.Echo/Chat", BytesValue, BytesValue
        )


Call = typing.Callable[["grpclib.server.Stream[BytesValue, BytesValue]"], typing.Awaitable[None]]


class Echo(EchoBase):
    """Unary and Chat echo, Expand sends each byte as a message, Collect joins; `handle` replaces them all."""

    def __init__(self, handle: Call | None = None) -> None:
        self._handle = handle

    async def Unary(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        if self._handle is not None:
            return await self._handle(stream)
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(request)
        return None

    async def Expand(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        if self._handle is not None:
            return await self._handle(stream)
        request = await stream.recv_message()
        assert request is not None
        for byte in request.value:
            await stream.send_message(BytesValue(value=bytes([byte])))
        return None

    async def Collect(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        if self._handle is not None:
            return await self._handle(stream)
        parts = [request.value async for request in stream]
        await stream.send_message(BytesValue(value=b"".join(parts)))
        return None

    async def Chat(self, stream: "grpclib.server.Stream[BytesValue, BytesValue]") -> None:
        if self._handle is not None:
            return await self._handle(stream)
        async for request in stream:
            await stream.send_message(request)
        return None


def value(data: bytes = b"") -> BytesValue:
    return BytesValue(value=data)

"""Measures `libs/rpc` beside grpcio, in one run and on one machine.

Owns: the workloads and the table. Each pair of client and server shares one process, ours also one thread, so
a figure is what one core does; grpcio runs as many threads as it likes.

`python -m tools.bench_rpc [--seconds 2] [--keep-memory]`
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import grpclib.client
import grpclib.const
import trio
from google.protobuf.wrappers_pb2 import BytesValue

from libs.rpc import Channel, RpcLimits, Server, memory_channel, open_channel, open_tcp_listeners

MIB = 1024 * 1024
SMALL_BYTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`count` runs of one thing; `message_bytes` each way where `echo`, else up only."""

    name: str
    unit: str
    message_bytes: int
    echo: bool = True
    unary: bool = False
    parallel: int = 1


WORKLOADS = [
    Workload(name="unary, one at a time", unit="calls/s", message_bytes=SMALL_BYTES, unary=True),
    Workload(name="unary, 32 at a time", unit="calls/s", message_bytes=SMALL_BYTES, unary=True, parallel=32),
    Workload(name="stream, 100 B, echoed", unit="messages/s", message_bytes=SMALL_BYTES),
    Workload(name="stream, 100 B, one way", unit="messages/s", message_bytes=SMALL_BYTES, echo=False),
    Workload(name="stream, 64 KiB, one way", unit="MB/s", message_bytes=64 * 1024, echo=False),
    Workload(name="stream, 1 MiB, one way", unit="MB/s", message_bytes=MIB, echo=False),
]

Bench = Callable[[Workload, float], Awaitable[int]]
"""Runs a workload for so many seconds; returns how many messages or calls went through."""


class _Service:
    async def unary(self, stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    async def echo(self, stream: Any) -> None:
        async for message in stream:
            await stream.send_message(message)

    async def sink(self, stream: Any) -> None:
        count = 0
        async for _ in stream:
            count += 1
        await stream.send_message(BytesValue(value=str(count).encode()))

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        kinds = grpclib.const.Cardinality
        return {
            "/bench.S/Unary": grpclib.const.Handler(self.unary, kinds.UNARY_UNARY, BytesValue, BytesValue),
            "/bench.S/Echo": grpclib.const.Handler(self.echo, kinds.STREAM_STREAM, BytesValue, BytesValue),
            "/bench.S/Sink": grpclib.const.Handler(self.sink, kinds.STREAM_STREAM, BytesValue, BytesValue),
        }


async def _run_ours(channel: Channel, workload: Workload, seconds: float) -> int:
    message = BytesValue(value=b"x" * workload.message_bytes)
    until = trio.current_time() + seconds
    count = 0
    if workload.unary:
        call = grpclib.client.UnaryUnaryMethod(channel, "/bench.S/Unary", BytesValue, BytesValue)

        async def caller() -> None:
            nonlocal count
            while trio.current_time() < until:
                await call(message)
                count += 1

        async with trio.open_nursery() as nursery:
            for _ in range(workload.parallel):
                nursery.start_soon(caller)
        return count
    path = "/bench.S/Echo" if workload.echo else "/bench.S/Sink"
    method = grpclib.client.StreamStreamMethod(channel, path, BytesValue, BytesValue)
    async with method.open() as stream, trio.open_nursery() as nursery:

        async def sender() -> None:
            while trio.current_time() < until:
                await stream.send_message(message)
            await stream.end()

        nursery.start_soon(sender)
        async for reply in stream:
            count = count + 1 if workload.echo else int(reply.value)
    return count


async def _ours_on_sockets(workload: Workload, seconds: float) -> int:
    server = Server([_Service()], limits=RpcLimits())
    listeners = await open_tcp_listeners("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]  # type: ignore[attr-defined]
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        async with open_channel(f"127.0.0.1:{port}") as channel:
            count = await _run_ours(channel, workload, seconds)
        nursery.cancel_scope.cancel()
    return count


async def _ours_in_memory(workload: Workload, seconds: float) -> int:
    async with memory_channel(Server([_Service()])) as channel:
        return await _run_ours(channel, workload, seconds)


_OPTIONS = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]
_CODEC: dict[str, Any] = {
    "request_serializer": BytesValue.SerializeToString,
    "response_deserializer": BytesValue.FromString,
}


class _GrpcioService(grpc.GenericRpcHandler):  # type: ignore[misc]
    async def _unary(self, request: BytesValue, _: Any) -> BytesValue:
        return request

    async def _echo(self, requests: AsyncIterator[BytesValue], _: Any) -> AsyncIterator[BytesValue]:
        async for request in requests:
            yield request

    async def _sink(self, requests: AsyncIterator[BytesValue], _: Any) -> AsyncIterator[BytesValue]:
        count = 0
        async for _request in requests:
            count += 1
        yield BytesValue(value=str(count).encode())

    def service(self, details: Any) -> Any:
        codec: dict[str, Any] = {
            "request_deserializer": BytesValue.FromString,
            "response_serializer": BytesValue.SerializeToString,
        }
        method = details.method.rpartition("/")[2]
        if method == "Unary":
            return grpc.unary_unary_rpc_method_handler(self._unary, **codec)
        streaming = self._echo if method == "Echo" else self._sink
        return grpc.stream_stream_rpc_method_handler(streaming, **codec)


@asynccontextmanager
async def _grpcio() -> AsyncIterator[Any]:
    server = grpc.aio.server(handlers=(_GrpcioService(),), options=_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
        yield channel
    await server.stop(None)


async def _run_grpcio(workload: Workload, seconds: float) -> int:
    message = BytesValue(value=b"x" * workload.message_bytes)
    count = 0
    async with _grpcio() as channel:
        until = time.monotonic() + seconds
        if workload.unary:
            call = channel.unary_unary("/bench.S/Unary", **_CODEC)

            async def caller() -> None:
                nonlocal count
                while time.monotonic() < until:
                    await call(message)
                    count += 1

            await asyncio.gather(*(caller() for _ in range(workload.parallel)))
            return count
        path = "/bench.S/Echo" if workload.echo else "/bench.S/Sink"
        stream = channel.stream_stream(path, **_CODEC)()

        async def sender() -> None:
            while time.monotonic() < until:
                await stream.write(message)
            await stream.done_writing()

        sending = asyncio.create_task(sender())
        async for reply in stream:
            count = count + 1 if workload.echo else int(reply.value)
        await sending
    return count


def _rate(workload: Workload, run: Callable[[], int]) -> float:
    started = time.perf_counter()
    count = run()
    elapsed = time.perf_counter() - started
    per_second = count / elapsed
    return per_second * workload.message_bytes / 1e6 if workload.unit == "MB/s" else per_second


def _keep_memory() -> None:
    """Makes glibc keep freed memory: else each large message pays for fresh pages from the kernel.

    Freeing a block of nearly 32 MiB raises its dynamic thresholds to their maximum (mallopt(3)).
    """
    bytearray(32 * MIB - 64 * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--keep-memory", action="store_true", help="malloc returns nothing to the kernel")
    arguments = parser.parse_args()
    if arguments.keep_memory:
        _keep_memory()
    print(f"{'':26}{'':12}{'sockets':>12}{'in memory':>12}{'grpc.aio':>12}{'sockets : grpc.aio':>20}")
    for workload in WORKLOADS:
        seconds = arguments.seconds
        sockets = _rate(workload, lambda: trio.run(_ours_on_sockets, workload, seconds))  # noqa: B023 - run at once
        memory = _rate(workload, lambda: trio.run(_ours_in_memory, workload, seconds))  # noqa: B023
        theirs = _rate(workload, lambda: asyncio.run(_run_grpcio(workload, seconds)))  # noqa: B023
        figures = f"{sockets:12,.0f}{memory:12,.0f}{theirs:12,.0f}{sockets / theirs:20.2f}"
        print(f"{workload.name:26}{workload.unit:12}{figures}", flush=True)


if __name__ == "__main__":
    main()

"""Thousands of Kafka connections to one gateway, silent or asking all the time, in a process of their own.

Owns: opening and closing them, what they were answered. Does not own: what the gateway takes for them.
Rule: 1 not in the process whose clients' latency is measured: they would wait for one interpreter lock.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import trio

from libs.chassis.open_files import raise_open_files
from tests.support.raw_kafka import frame, header

API_VERSIONS = 18
_OPENED_AT_ONCE = 100
ANSWER_SECONDS_MAX = 60.0
ACTIVE_EVERY_SECONDS = 30.0
OPEN_SECONDS_MAX = 180.0


@dataclass(slots=True)
class Connections:
    """`answered`: requests; `longest`: seconds that one of them took. Told at the end."""

    answered: int = 0
    longest: float = 0.0


@contextmanager
def open_connections(port: int, count: int, *, active: bool) -> Iterator[Connections]:
    """Open and each answered once when the block begins. Raises RuntimeError where any of them met an end."""
    command = [sys.executable, "-m", "tests.load.connections", str(port), str(count)]
    told = Connections()
    with subprocess.Popen(
        [*command, "--active"] if active else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield told
        out, errors = process.communicate(timeout=OPEN_SECONDS_MAX)
    if process.returncode:
        raise RuntimeError(f"connections ended: {errors[-2000:]}")
    told.answered, told.longest = json.loads(out).values()


async def _main(port: int, count: int, *, active: bool) -> None:
    async with _connected(port, count, active=active) as told:
        print("open", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
    print(json.dumps(asdict(told)))


@asynccontextmanager
async def _connected(port: int, count: int, *, active: bool) -> AsyncIterator[Connections]:
    """Open, each answered once at least; where `active`, each asks once in ACTIVE_EVERY_SECONDS.

    Raises what any of them meets: an end or a reset is an error.
    """
    raise_open_files()
    told = Connections()
    async with AsyncExitStack() as stack:
        streams: list[trio.SocketStream] = []
        for at in range(0, count, _OPENED_AT_ONCE):
            async with trio.open_nursery() as nursery:

                async def connect() -> None:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                    streams.append(stream)
                    await _ask(stream, told)

                for _ in range(min(_OPENED_AT_ONCE, count - at)):
                    nursery.start_soon(connect)
        for stream in streams:
            stack.push_async_callback(stream.aclose)
        async with trio.open_nursery() as nursery:
            if active:
                for number, stream in enumerate(streams):
                    nursery.start_soon(_ask_on, stream, told, number / count)
            yield told
            nursery.cancel_scope.cancel()
        if not active:
            for stream in streams:
                await _ask(stream, told)  # it is still there


async def _ask_on(stream: trio.SocketStream, told: Connections, phase: float) -> None:
    await trio.sleep(phase * ACTIVE_EVERY_SECONDS)
    for _ in itertools.count():
        await _ask(stream, told)
        await trio.sleep(ACTIVE_EVERY_SECONDS)


async def _ask(stream: trio.SocketStream, told: Connections) -> None:
    """ApiVersions, the request that every client begins with."""
    began = trio.current_time()
    with trio.fail_after(ANSWER_SECONDS_MAX):
        await stream.send_all(frame(header(API_VERSIONS, 0)))
        received = bytearray()
        while len(received) < 4 or len(received) < 4 + int.from_bytes(received[:4], "big"):
            data = await stream.receive_some()
            assert data, "the gateway closed a connection"
            received += data
    told.answered += 1
    told.longest = max(told.longest, trio.current_time() - began)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--active", action="store_true")
    options = parser.parse_args()
    trio.run(partial(_main, options.port, options.count, active=options.active))

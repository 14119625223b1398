"""The proxies of the chaos tests: what they do to connections is what they say."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.chaos.links import CUT, StoreTrouble, Trouble
from tests.chaos.proxies import CLIENTS, Proxies, open_proxies
from tests.chaos.sockets import HOST, connect, holder_of, is_listening
from tests.chaos.store_faults import SLOW_DOWN, Exchange, Fate
from tools.servers import free_ports

TARGET = "owner-0"
ME = "gateway-0"


class Echo:
    """A server that answers with what it is sent, and can end."""

    def __init__(self, nursery: trio.Nursery, port: int) -> None:
        self._nursery = nursery
        self.port = port
        self._scope = trio.CancelScope()
        self.heard: list[bytes] = []

    async def start(self) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host=HOST)
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._run, listeners)

    def die(self) -> None:
        self._scope.cancel()

    async def _run(self, listeners: list[trio.SocketListener]) -> None:
        with self._scope:
            await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                async for data in stream:
                    self.heard.append(bytes(data))
                    await stream.send_all(data)
        except trio.BrokenResourceError:
            pass


@asynccontextmanager
async def _scene(name: str = TARGET) -> AsyncIterator[tuple[Proxies, Echo]]:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, open_proxies(pids=lambda: {ME: os.getpid()}) as proxies:
            port, target_port = free_ports(2)
            echo = Echo(nursery, target_port)
            await echo.start()
            proxies.add(name, port=port, target_port=target_port)
            await proxies.wait_open(name)
            yield proxies, echo
            nursery.cancel_scope.cancel()


async def _ask(stream: trio.SocketStream, data: bytes) -> bytes:
    await stream.send_all(data)
    return bytes(await stream.receive_some())


async def test_bytes_pass_and_the_source_is_known_by_its_process() -> None:
    async with _scene() as (proxies, _), await connect(proxies.ports[TARGET]) as stream:
        assert await _ask(stream, b"hello") == b"hello"
        assert [(link.source, link.target) for link in proxies.links] == [(ME, TARGET)]
        assert len(proxies.link(ME, TARGET).connections) == 1


async def test_an_end_of_the_connection_is_passed_on() -> None:
    async with _scene() as (proxies, _), await connect(proxies.ports[TARGET]) as stream:
        await _ask(stream, b"hello")
        await stream.send_eof()
        assert await stream.receive_some() == b""


@pytest.mark.parametrize("direction", ["forth", "back", "both"])
async def test_what_is_cut_comes_late_and_whole(direction: str) -> None:
    async with _scene() as (proxies, echo), await connect(proxies.ports[TARGET]) as stream:
        link = proxies.link(ME, TARGET)
        await _ask(stream, b"before")
        ways = {"forth": [link.forth], "back": [link.back], "both": [link.forth, link.back]}[direction]
        for way in ways:
            way.suffer(CUT)
        await stream.send_all(b"during")
        with trio.move_on_after(0.1):
            pytest.fail(f"{await stream.receive_some()!r} came through")
        assert echo.heard == ([b"before", b"during"] if direction == "back" else [b"before"])
        link.heal()
        assert await stream.receive_some() == b"during"


async def test_a_death_behind_a_cut_is_not_heard_of_until_it_heals() -> None:
    async with _scene() as (proxies, echo), await connect(proxies.ports[TARGET]) as stream:
        await _ask(stream, b"before")
        proxies.link(ME, TARGET).suffer(CUT)
        echo.die()
        with trio.move_on_after(0.1):
            pytest.fail(f"{await stream.receive_some()!r} came through")
        proxies.link(ME, TARGET).heal()
        assert await _end(stream) == b""


async def _end(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


async def test_while_nobody_listens_behind_it_the_proxy_refuses() -> None:
    async with _scene() as (proxies, echo), await connect(proxies.ports[TARGET]) as stream:
        await _ask(stream, b"before")
        echo.die()
        assert await _end(stream) == b""
        assert not await is_listening(proxies.ports[TARGET])
        await echo.start()
        await proxies.wait_open(TARGET)
        async with await connect(proxies.ports[TARGET]) as again:
            assert await _ask(again, b"after") == b"after"


async def test_refusing_resets_what_is_open_and_what_is_new() -> None:
    async with _scene() as (proxies, _), await connect(proxies.ports[TARGET]) as stream:
        link = proxies.link(ME, TARGET)
        await _ask(stream, b"before")
        link.refuse()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        async with await connect(proxies.ports[TARGET]) as another:
            with pytest.raises(trio.BrokenResourceError):
                await _ask(another, b"refused")
        link.heal()
        async with await connect(proxies.ports[TARGET]) as again:
            assert await _ask(again, b"after") == b"after"


async def test_delay_and_bandwidth() -> None:
    async with _scene() as (proxies, _), await connect(proxies.ports[TARGET]) as stream:
        link = proxies.link(ME, TARGET)
        link.forth.suffer(Trouble(delay_seconds=0.05))
        link.back.suffer(Trouble(bytes_per_second=100))
        began = trio.current_time()
        assert await _ask(stream, b"0123456789") == b"0123456789"
        assert trio.current_time() - began >= 0.15


async def test_two_processes_at_one_address_are_told_apart() -> None:
    """A child holds the other socket; only its link is cut."""
    code = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.recv(1)"
    with trio.fail_after(10):
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        command = [sys.executable, "-c", code, str(listeners[0].socket.getsockname()[1])]
        async with listeners[0], trio.open_nursery() as nursery:
            child = await nursery.start(trio.run_process, command)
            async with await listeners[0].accept() as stream:
                pids = {"me": os.getpid(), "child": child.pid}
                assert holder_of(stream, pids) == "child"
                assert holder_of(stream, {"me": os.getpid()}) is None
                await stream.send_all(b".")


async def test_two_processes_that_connect_from_one_port_are_told_apart() -> None:
    """The kernel gives a port to several connections, where they lead to different places."""
    code = (
        "import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1);"
        "s.bind(('127.0.0.1', int(sys.argv[1]))); s.connect(('127.0.0.1', int(sys.argv[2]))); s.recv(1)"
    )
    with trio.fail_after(10):
        one, other = [(await trio.open_tcp_listeners(0, host=HOST))[0] for _ in range(2)]
        own = trio.socket.socket()
        own.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEPORT, 1)
        await own.bind((HOST, 0))
        await own.connect(one.socket.getsockname())
        ports = [str(own.getsockname()[1]), str(other.socket.getsockname()[1])]
        async with (
            one,
            other,
            trio.SocketStream(own),
            await one.accept() as here,
            trio.open_nursery() as nursery,
        ):
            child = await nursery.start(trio.run_process, [sys.executable, "-c", code, *ports])
            async with await other.accept() as there:
                pids = {"me": os.getpid(), "child": child.pid}
                assert (holder_of(here, pids), holder_of(there, pids)) == ("me", "child")
                await there.send_all(b".")


PUT = b"PUT /bucket/key HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"


async def test_a_store_that_slows_down_has_done_nothing() -> None:
    async with _scene("minio") as (proxies, echo), await connect(proxies.ports["minio"]) as stream:
        proxies.link(ME, "minio").store = StoreTrouble(slow_down=1.0)
        for _ in range(2):  # the connection goes on
            await stream.send_all(PUT[:20])
            assert (await _ask(stream, PUT[20:])).startswith(b"HTTP/1.1 503 Slow Down\r\n")
        assert not echo.heard
        proxies.heal()
        assert await _ask(stream, PUT) == PUT


async def test_a_store_that_fails_though_it_was_done() -> None:
    async with _scene("minio") as (proxies, echo), await connect(proxies.ports["minio"]) as stream:
        proxies.link(ME, "minio").store = StoreTrouble(failed_though_done=1.0)
        assert (await _ask(stream, PUT)).startswith(b"HTTP/1.1 500 ")
        assert b"".join(echo.heard) == PUT


async def test_a_store_whose_answer_is_lost() -> None:
    async with _scene("minio") as (proxies, echo), await connect(proxies.ports["minio"]) as stream:
        proxies.link(ME, "minio").store = StoreTrouble(lost_answer=1.0)
        with pytest.raises(trio.BrokenResourceError):
            await _ask(stream, PUT)
        assert b"".join(echo.heard) == PUT


def test_the_rest_of_a_request_that_was_answered_early_is_no_new_one() -> None:
    fates = iter([Fate.PASS, Fate.SLOW_DOWN])
    exchange = Exchange(lambda: next(fates))
    assert exchange.sent(PUT) == (PUT, b"")
    assert exchange.answered() is Fate.PASS
    assert exchange.sent(b"body, still") == (b"body, still", b"")
    assert exchange.sent(PUT) == (b"", SLOW_DOWN)


async def test_kafka_clients_need_no_look() -> None:
    async with _scene("gateway-1") as (proxies, _), await connect(proxies.ports["gateway-1"]) as stream:
        await _ask(stream, b"hello")
        assert [link.source for link in proxies.links] == [CLIENTS]

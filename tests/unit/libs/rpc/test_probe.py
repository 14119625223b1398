"""A refusal is told apart from an answer and from silence."""

import socket

import pytest
import trio

from libs.model.errors import Invalid
from libs.rpc import is_refused


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def test_where_nobody_listens_the_host_refuses() -> None:
    assert await is_refused(f"127.0.0.1:{_free_port()}")


async def test_whoever_listens_does_not() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        assert not await is_refused(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")


async def test_a_name_that_nobody_knows_says_nothing() -> None:
    assert not await is_refused("no-such-host.invalid:9094")


async def test_what_is_no_address_is_refused_in_words() -> None:
    with pytest.raises(Invalid):
        await is_refused("nowhere")

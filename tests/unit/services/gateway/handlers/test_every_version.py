"""Every API in every version that is named is answered, to the last byte, also when asked nonsense."""

import random
from typing import Any

import pytest
import trio

from services.gateway.codec import schema_of
from services.gateway.handlers.registry import HANDLERS, SERVED
from tests.support.kafka_wire import body_bytes, frame_of, random_entity, read_answer, with_length
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served

EVERY = [(key, version) for key in SERVED for version in range(SERVED[key].low, SERVED[key].high + 1)]


def test_names_are_those_of_the_files() -> None:
    for key, handler in HANDLERS.items():
        function = handler.handle or handler.start
        assert function is not None
        assert function.__module__ == f"services.gateway.handlers.api_{key:02}_{handler.name}"


@pytest.mark.parametrize(("api_key", "version"), EVERY)
async def test_an_empty_request_is_answered(served: Served, api_key: int, version: int) -> None:
    async with connected(served.port) as client:
        values: dict[str, Any] = {"acks": 1, "protocols": [{"name": "range"}], "members": [{}]}
        with trio.fail_after(5):
            await client.ask(api_key, version, values)


@pytest.mark.parametrize(("api_key", "version"), EVERY)
async def test_random_requests_are_answered(served: Served, api_key: int, version: int) -> None:
    rand = random.Random(api_key * 100 + version)
    request_type = schema_of(api_key, version).request_type
    async with connected(served.port) as client:
        for turn in range(3):
            request = random_entity(request_type, rand)
            if api_key == 0 and request.acks == 0:
                continue
            await client.stream.send_all(with_length(frame_of(request, correlation_id=turn)))
            with trio.fail_after(10):
                frame = await client.receive_frame()
            assert frame is not None, f"closed on {request} ({body_bytes(request).hex()})"
            assert read_answer(api_key, version, frame)[0] == turn

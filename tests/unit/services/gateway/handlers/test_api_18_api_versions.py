"""ApiVersions says what is served, to clients of any age."""

import pytest
from kio.schema.errors import ErrorCode

from services.gateway.handlers.registry import SERVED
from tests.support.kafka_wire import read_answer, request_frame, with_length
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


async def test_names_what_is_served(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(18, 3, {"client_software_name": "test", "client_software_version": "1"})
    assert answer.error_code is ErrorCode.none
    named = {each.api_key: (each.min_version, each.max_version) for each in answer.api_keys}
    assert named.keys() == SERVED.keys()
    # librdkafka compresses only where Produce 0 is named (KAFKA-18659).
    assert named[0] == (0, 13)
    assert named[1] == (4, 18)


@pytest.mark.parametrize("version", [5, 99, 32767, -1])
async def test_an_unknown_version_gets_the_answer_of_version_0(served: Served, version: int) -> None:
    frame = bytearray(request_frame(18, 3, correlation_id=9))
    frame[2:4] = version.to_bytes(2, "big", signed=True)
    frame += b"whatever a later version has"
    async with connected(served.port) as client:
        await client.stream.send_all(with_length(bytes(frame)))
        raw = await client.receive_frame()
        assert raw is not None
        correlation_id, answer = read_answer(18, 0, raw)
        assert (correlation_id, answer.error_code) == (9, ErrorCode.unsupported_version)
        assert {each.api_key for each in answer.api_keys} == set(SERVED)
        # The connection goes on.
        assert (await client.ask(18, 0)).error_code is ErrorCode.none

"""Health and reflection, as our own channel sees them."""

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.reflection.v1 import reflection_grpc as v1_grpc
from grpclib.reflection.v1 import reflection_pb2 as v1
from grpclib.reflection.v1alpha import reflection_grpc as v1alpha_grpc
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha

from libs.model.errors import NotFound
from libs.rpc import Health, Server, memory_channel, with_reflection
from tests.contract.rpc.echo import Echo


async def test_health_is_checked() -> None:
    health = Health()
    stub = HealthStub(memory_channel(Server([health])))
    assert (await stub.Check(HealthCheckRequest())).status == HealthCheckResponse.NOT_SERVING
    health.set_serving(True)
    assert (await stub.Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
    with pytest.raises(NotFound):
        await stub.Check(HealthCheckRequest(service="nobody"))


async def test_health_is_watched() -> None:
    health = Health()
    stub = HealthStub(memory_channel(Server([health])))
    async with stub.Watch.open() as stream:
        await stream.send_message(HealthCheckRequest(service="later"))
        states = []
        for serving in (True, True, False):
            reply = await stream.recv_message()
            assert reply is not None
            states.append(reply.status)
            health.set_serving(serving, "later")
            health.set_serving(not serving, "another")
            if serving and len(states) == 2:
                health.set_serving(False, "later")
    assert states == [
        HealthCheckResponse.SERVICE_UNKNOWN,
        HealthCheckResponse.SERVING,
        HealthCheckResponse.NOT_SERVING,
    ]


@pytest.mark.parametrize(("stubs", "messages"), [(v1_grpc, v1), (v1alpha_grpc, v1alpha)])
async def test_reflection_answers(stubs: Any, messages: Any) -> None:
    server = Server(with_reflection([Echo(), Health()]))
    stub = stubs.ServerReflectionStub(memory_channel(server))
    request = messages.ServerReflectionRequest
    replies = await stub.ServerReflectionInfo(
        [
            request(list_services=""),
            request(file_containing_symbol="grpc.health.v1.Health"),
            request(file_by_filename="google/protobuf/wrappers.proto"),
            request(file_containing_symbol="no.such.Symbol"),
            request(all_extension_numbers_of_type="google.protobuf.MessageOptions"),
            request(all_extension_numbers_of_type="no.such.Message"),
            request(),
        ]
    )
    assert [service.name for service in replies[0].list_services_response.service] == [
        "grpc.health.v1.Health",
        "kafscale.test.Echo",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    for reply, name in ((replies[1], "health.proto"), (replies[2], "wrappers.proto")):
        files = reply.file_descriptor_response.file_descriptor_proto
        assert FileDescriptorProto.FromString(files[0]).name.endswith(name)
    assert replies[3].error_response.error_code == 5
    assert replies[4].all_extension_numbers_response.base_type_name == "google.protobuf.MessageOptions"
    assert replies[5].error_response.error_code == 5
    assert replies[6].error_response.error_code == 12

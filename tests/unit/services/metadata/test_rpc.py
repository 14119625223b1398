"""The door: requests that are wrong are Invalid, whatever is in them, and harm nobody."""

from typing import Any
from uuid import UUID

import pytest

from libs.model.errors import Invalid, NotFound
from proto.metadata import metadata_pb2 as messages
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import MetadataStub
from services.metadata.kv.memory import MemoryKV
from tests.support.metadata import open_metadata_cluster

ID = UUID(int=3).bytes

WRONG = [
    ("RegisterOwner", api.RegisterOwnerRequest()),
    (
        "RegisterOwner",
        api.RegisterOwnerRequest(
            owner=messages.OwnerRegistration(owner="o", address="a:1", session=b"short")
        ),
    ),
    (
        "RegisterOwner",
        api.RegisterOwnerRequest(owner=messages.OwnerRegistration(owner="o", session=ID)),
    ),
    ("RegisterGateway", api.RegisterGatewayRequest()),
    ("GetPartition", api.GetPartitionRequest(topic_id=b"x")),
    ("OpenPartition", api.OpenPartitionRequest(topic_id=b"")),
    (
        "OpenPartition",
        api.OpenPartitionRequest(
            topic_id=ID,
            state=messages.PartitionState(positions=[messages.ChainPosition(session=b"short")]),
        ),
    ),
    ("CommitPartition", api.CommitPartitionRequest(topic_id=ID, session=b"short")),
    ("ReleasePartition", api.ReleasePartitionRequest(topic_id=ID, session=b"short")),
    ("MarkSessionSealed", api.MarkSessionSealedRequest(session=b"")),
    ("DrainOwner", api.DrainOwnerRequest(owner="o", session=b"short")),
    (
        "DrainOwner",
        api.DrainOwnerRequest(owner="o", session=ID, partitions=[api.TopicPartitionEntry(topic_id=b"x")]),
    ),
    ("DeleteTopics", api.DeleteTopicsRequest(topics=[api.TopicReference(topic_id=b"x")])),
    ("UpdateTopic", api.UpdateTopicRequest()),
    ("UpdateTopic", api.UpdateTopicRequest(name="t", topic_id=b"x")),
    (
        "UpdateTopic",
        api.UpdateTopicRequest(name="t", config_changes=api.ConfigChanges(set={"a": "1"}, unset=["a"])),
    ),
    ("AllocateProducerIds", api.AllocateProducerIdsRequest(count=2**31)),
    ("CreateTopics", api.CreateTopicsRequest(topics=[api.NewTopic(name=f"t{n}") for n in range(1001)])),
]


@pytest.mark.parametrize(("method", "request_"), WRONG)
async def test_what_is_wrong_is_invalid(method: str, request_: Any, autojump_clock: object) -> None:
    kv = MemoryKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.connect("m0") as channel:
        stub = MetadataStub(channel)
        with pytest.raises(Invalid):
            await getattr(stub, method)(request_)
        with pytest.raises(NotFound):
            await stub.GetPartition(api.GetPartitionRequest(topic_id=ID))
        with pytest.raises(NotFound):
            await stub.KeepAlive(api.KeepAliveRequest(lease_id=123))
        await stub.Deregister(api.DeregisterRequest(lease_id=123))

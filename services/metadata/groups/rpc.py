"""The door: the Groups service of proto/metadata_api.

Owns: messages <-> values, errors of a whole call in the reply's `error` field. Does not own: any decision.
Rules: 1 an error that the group protocol knows is an answer, not a failed call.
"""

from typing import TYPE_CHECKING

from libs.clients import group_codec as codec
from libs.clients.errors import to_proto
from libs.model.errors import KafscaleError
from libs.model.ids import GroupId
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import GroupsBase
from proto.model.error_pb2 import Error
from services.metadata.groups.admin import GroupAdmin
from services.metadata.groups.coordinator import Coordinator
from services.metadata.groups.offsets import Offsets

if TYPE_CHECKING:
    from grpclib.server import Stream


class GroupsRpc(GroupsBase):
    def __init__(self, *, coordinator: Coordinator, offsets: Offsets, admin: GroupAdmin) -> None:
        self._coordinator = coordinator
        self._offsets = offsets
        self._admin = admin

    async def JoinGroup(self, stream: "Stream[api.JoinGroupRequest, api.JoinGroupReply]") -> None:  # noqa: N802
        request = await stream.recv_message()
        assert request is not None
        try:
            reply = codec.join_reply_message(await self._coordinator.join(codec.join(request)))
        except KafscaleError as error:
            reply = api.JoinGroupReply(error=to_proto(error), member_id=request.member_id, generation=-1)
        await stream.send_message(reply)

    async def SyncGroup(self, stream: "Stream[api.SyncGroupRequest, api.SyncGroupReply]") -> None:  # noqa: N802
        request = await stream.recv_message()
        assert request is not None
        try:
            reply = codec.sync_reply_message(await self._coordinator.sync(codec.sync(request)))
        except KafscaleError as error:
            reply = api.SyncGroupReply(error=to_proto(error))
        await stream.send_message(reply)

    async def Heartbeat(self, stream: "Stream[api.HeartbeatRequest, api.HeartbeatReply]") -> None:  # noqa: N802
        request = await stream.recv_message()
        assert request is not None
        reply = api.HeartbeatReply()
        try:
            await self._coordinator.heartbeat(codec.heartbeat(request))
        except KafscaleError as error:
            reply = api.HeartbeatReply(error=to_proto(error))
        await stream.send_message(reply)

    async def LeaveGroup(self, stream: "Stream[api.LeaveGroupRequest, api.LeaveGroupReply]") -> None:  # noqa: N802
        request = await stream.recv_message()
        assert request is not None
        try:
            left = await self._coordinator.leave(codec.leave(request))
            reply = api.LeaveGroupReply(members=[codec.left_member_message(each) for each in left])
        except KafscaleError as error:
            reply = api.LeaveGroupReply(error=to_proto(error))
        await stream.send_message(reply)

    async def CommitOffsets(  # noqa: N802
        self, stream: "Stream[api.CommitOffsetsRequest, api.CommitOffsetsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        try:
            answers = await self._offsets.commit(codec.commit(request))
            errors = [Error() if each is None else to_proto(each) for each in answers]
            reply = api.CommitOffsetsReply(errors=errors)
        except KafscaleError as error:
            reply = api.CommitOffsetsReply(error=to_proto(error))
        await stream.send_message(reply)

    async def FetchOffsets(  # noqa: N802
        self, stream: "Stream[api.FetchOffsetsRequest, api.FetchOffsetsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        try:
            partitions = None if request.all else [codec.partition(each) for each in request.partitions]
            offsets = await self._offsets.fetch(GroupId(request.group), partitions)
            reply = api.FetchOffsetsReply(offsets=[codec.offset_message(each) for each in offsets])
        except KafscaleError as error:
            reply = api.FetchOffsetsReply(error=to_proto(error))
        await stream.send_message(reply)

    async def DescribeGroup(  # noqa: N802
        self, stream: "Stream[api.DescribeGroupRequest, api.DescribeGroupReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        try:
            reply = codec.description_message(await self._admin.describe(GroupId(request.group)))
        except KafscaleError as error:
            reply = api.DescribeGroupReply(error=to_proto(error))
        await stream.send_message(reply)

    async def DeleteGroup(  # noqa: N802
        self, stream: "Stream[api.DeleteGroupRequest, api.DeleteGroupReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        reply = api.DeleteGroupReply()
        try:
            await self._admin.delete(GroupId(request.group))
        except KafscaleError as error:
            reply = api.DeleteGroupReply(error=to_proto(error))
        await stream.send_message(reply)

    async def ListGroups(self, stream: "Stream[api.ListGroupsRequest, api.ListGroupsReply]") -> None:  # noqa: N802
        """Fails as a call: its reply has no error of its own."""
        await stream.recv_message()
        listed = await self._admin.list_groups()
        await stream.send_message(api.ListGroupsReply(groups=[codec.listed_message(each) for each in listed]))

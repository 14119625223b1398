"""SyncGroup: hands the leader's assignment out, byte for byte; parked until it is there."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import MemberAssignment, SyncGroup
from libs.model.errors import KafscaleError
from libs.model.ids import MemberId
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.groups import check_group_id
from services.gateway.handler import Handler, Request, Versions


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    try:
        reply = await gateway.groups.sync(
            SyncGroup(
                group=check_group_id(body.group_id),
                member_id=MemberId(body.member_id),
                group_instance_id=getattr(body, "group_instance_id", None),
                generation=body.generation_id,
                protocol_type=getattr(body, "protocol_type", None) or "",
                protocol=getattr(body, "protocol_name", None) or "",
                assignments=tuple(
                    MemberAssignment(member_id=MemberId(each.member_id), assignment=each.assignment)
                    for each in body.assignments
                ),
            )
        )
    except KafscaleError as error:
        return schema.response(
            throttle_time=NO_THROTTLE,
            error_code=group_code_of(error),
            protocol_type=None,
            protocol_name=None,
            assignment=b"",
        )
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none,
        protocol_type=reply.protocol_type,
        protocol_name=reply.protocol,
        assignment=reply.assignment,
    )


HANDLER = Handler(api_key=14, name="sync_group", versions=Versions(low=0, high=5), handle=handle)

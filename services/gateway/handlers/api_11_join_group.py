"""JoinGroup: parked until the group's rebalance is complete."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import GroupProtocol, JoinGroup, JoinGroupReply
from libs.model.errors import KafscaleError
from libs.model.ids import MemberId
from services.gateway.codec import NO_THROTTLE, Schema, milliseconds_of
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.groups import check_group_id
from services.gateway.handler import Handler, Request, Versions

_KNOWN_MEMBER_ID_FROM = 4  # KIP-394
_NULL_PROTOCOL_FROM = 7
_SKIP_ASSIGNMENT_FROM = 9  # KIP-814


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    session_timeout_ms = milliseconds_of(body.session_timeout)
    rebalance_timeout = getattr(body, "rebalance_timeout", None)
    try:
        reply = await gateway.groups.join(
            JoinGroup(
                group=check_group_id(body.group_id),
                member_id=MemberId(body.member_id),
                group_instance_id=getattr(body, "group_instance_id", None),
                protocol_type=body.protocol_type,
                protocols=tuple(
                    GroupProtocol(name=each.name, metadata=each.metadata) for each in body.protocols
                ),
                session_timeout_ms=max(session_timeout_ms, 0),
                rebalance_timeout_ms=max(
                    session_timeout_ms if rebalance_timeout is None else milliseconds_of(rebalance_timeout), 0
                ),
                client_id=request.header.client_id,
                client_host=f"/{request.peer}",
                require_known_member_id=schema.version >= _KNOWN_MEMBER_ID_FROM,
                reason=getattr(body, "reason", None) or "",
                supports_skip_assignment=schema.version >= _SKIP_ASSIGNMENT_FROM,
            )
        )
    except KafscaleError as error:
        return _failed(schema, group_code_of(error), body.member_id)
    if reply.error is not None:
        return _failed(schema, group_code_of(reply.error), reply.member_id)
    return _joined(schema, reply)


def _joined(schema: Schema, reply: JoinGroupReply) -> Entity:
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none,
        generation_id=reply.generation,
        protocol_type=reply.protocol_type,
        protocol_name=reply.protocol,
        leader=reply.leader,
        skip_assignment=reply.skip_assignment,
        member_id=reply.member_id,
        members=tuple(
            schema.part(
                "JoinGroupResponseMember",
                member_id=each.member_id,
                group_instance_id=each.group_instance_id,
                metadata=each.metadata,
            )
            for each in reply.members
        ),
    )


def _failed(schema: Schema, code: ErrorCode, member_id: str) -> Entity:
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=code,
        generation_id=-1,
        protocol_type=None,
        protocol_name=None if schema.version >= _NULL_PROTOCOL_FROM else "",
        leader="",
        skip_assignment=False,
        member_id=member_id,
        members=(),
    )


HANDLER = Handler(api_key=11, name="join_group", versions=Versions(low=0, high=9), handle=handle)

"""LeaveGroup: one member says good-bye, or an administrator removes several (KIP-345, version 3 and up)."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import LeaveGroup, LeavingMember
from libs.model.errors import KafscaleError
from libs.model.ids import MemberId
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.groups import check_group_id
from services.gateway.handler import Handler, Request, Versions

_SEVERAL_MEMBERS_FROM = 3


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    if schema.version < _SEVERAL_MEMBERS_FROM:
        leaving: tuple[LeavingMember, ...] = (LeavingMember(member_id=MemberId(body.member_id)),)
    else:
        leaving = tuple(
            LeavingMember(
                member_id=MemberId(each.member_id),
                group_instance_id=each.group_instance_id,
                reason=getattr(each, "reason", None) or "",
            )
            for each in body.members
        )
    try:
        left = await gateway.groups.leave(LeaveGroup(group=check_group_id(body.group_id), members=leaving))
    except KafscaleError as error:
        return schema.response(throttle_time=NO_THROTTLE, error_code=group_code_of(error), members=())
    codes = [ErrorCode.none if each.error is None else group_code_of(each.error) for each in left]
    if schema.version < _SEVERAL_MEMBERS_FROM:
        return schema.response(throttle_time=NO_THROTTLE, error_code=codes[0])
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none,
        members=tuple(
            schema.part(
                "MemberResponse",
                member_id=each.member_id,
                group_instance_id=each.group_instance_id,
                error_code=code,
            )
            for each, code in zip(left, codes, strict=True)
        ),
    )


HANDLER = Handler(api_key=13, name="leave_group", versions=Versions(low=0, high=5), handle=handle)

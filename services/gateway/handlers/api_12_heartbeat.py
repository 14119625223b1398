"""Heartbeat: a member is alive; tells it when the group rebalances."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import Heartbeat
from libs.model.errors import KafscaleError
from libs.model.ids import MemberId
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.groups import check_group_id
from services.gateway.handler import Handler, Request, Versions


async def handle(gateway: Gateway, request: Request) -> Entity:
    body = request.body
    code = ErrorCode.none
    try:
        await gateway.groups.heartbeat(
            Heartbeat(
                group=check_group_id(body.group_id),
                member_id=MemberId(body.member_id),
                group_instance_id=getattr(body, "group_instance_id", None),
                generation=body.generation_id,
            )
        )
    except KafscaleError as error:
        code = group_code_of(error)
    return request.schema.response(throttle_time=NO_THROTTLE, error_code=code)


HANDLER = Handler(api_key=12, name="heartbeat", versions=Versions(low=0, high=4), handle=handle)

"""ListGroups: every group, filtered by state and type where the version has that (KIP-518, KIP-848)."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.model.errors import KafscaleError
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.handler import Handler, Request, Versions

_CLASSIC = "classic"


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    try:
        found = await gateway.groups.list_groups()
    except KafscaleError as error:
        return schema.response(throttle_time=NO_THROTTLE, error_code=group_code_of(error), groups=())
    states = {each.lower() for each in getattr(body, "states_filter", ())}
    types = {each.lower() for each in getattr(body, "types_filter", ())}
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none,
        groups=tuple(
            schema.part(
                "ListedGroup",
                group_id=each.group,
                protocol_type=each.protocol_type,
                group_state=each.phase.value,
                group_type=_CLASSIC,
            )
            for each in found
            if (not states or each.phase.value.lower() in states) and (not types or _CLASSIC in types)
        ),
    )


HANDLER = Handler(api_key=16, name="list_groups", versions=Versions(low=0, high=5), handle=handle)

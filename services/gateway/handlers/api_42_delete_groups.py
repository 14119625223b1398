"""DeleteGroups: forgets groups without members, and their offsets."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.model.errors import KafscaleError
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.groups import check_group_id
from services.gateway.handler import Handler, Request, Versions


async def handle(gateway: Gateway, request: Request) -> Entity:
    schema = request.schema
    results = []
    for group_id in request.body.groups_names:
        code = ErrorCode.none
        try:
            await gateway.groups.delete(check_group_id(group_id))
        except KafscaleError as error:
            code = group_code_of(error)
        results.append(schema.part("DeletableGroupResult", group_id=group_id, error_code=code))
    return schema.response(throttle_time=NO_THROTTLE, results=tuple(results))


HANDLER = Handler(api_key=42, name="delete_groups", versions=Versions(low=0, high=2), handle=handle)

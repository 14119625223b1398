"""InitProducerId: an id of its own for each idempotent producer (KIP-98). Transactions are refused."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.model.errors import KafscaleError
from libs.model.ids import NO_PRODUCER_ID
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.handler import Handler, Request, Versions

# Version 6 is about two-phase commit (KIP-939).


async def handle(gateway: Gateway, request: Request) -> Entity:
    code, producer_id = ErrorCode.none, NO_PRODUCER_ID
    if request.body.transactional_id is not None:
        code = ErrorCode.transactional_id_authorization_failed
    else:
        try:
            producer_id = await gateway.producer_ids.take()
        except KafscaleError as error:
            code = group_code_of(error)
    return request.schema.response(
        throttle_time=NO_THROTTLE,
        error_code=code,
        producer_id=producer_id,
        producer_epoch=0 if code is ErrorCode.none else -1,
    )


HANDLER = Handler(api_key=22, name="init_producer_id", versions=Versions(low=0, high=5), handle=handle)

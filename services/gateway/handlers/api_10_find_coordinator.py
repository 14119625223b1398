"""FindCoordinator: always this gateway, which passes group calls on to the coordinator among the metadata
replicas.

The gateway that answers is certainly alive; naming another would send clients to one that may just have died.
"""

from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.handler import Handler, Request, Versions

_GROUP = 0
_TRANSACTION = 1
_SEVERAL_KEYS_FROM = 4


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    code, message = _verdict(getattr(body, "key_type", _GROUP))
    answer = _answer(gateway, code, message)
    if schema.version < _SEVERAL_KEYS_FROM:
        return schema.response(throttle_time=NO_THROTTLE, **answer)
    return schema.response(
        throttle_time=NO_THROTTLE,
        coordinators=tuple(schema.part("Coordinator", key=key, **answer) for key in body.coordinator_keys),
    )


def _verdict(key_type: int) -> tuple[ErrorCode, str | None]:
    if key_type == _GROUP:
        return ErrorCode.none, None
    if key_type == _TRANSACTION:
        # Clients give up on this one; they would ask for ever after COORDINATOR_NOT_AVAILABLE.
        return ErrorCode.transactional_id_authorization_failed, "transactions are not served"
    return ErrorCode.invalid_request, f"coordinators of kind {key_type} are not served"


def _answer(gateway: Gateway, code: ErrorCode, message: str | None) -> dict[str, Any]:
    own = gateway.brokers.own
    found = code is ErrorCode.none
    return {
        "error_code": code,
        "error_message": message,
        "node_id": own.broker_id if found else -1,
        "host": own.host if found else "",
        "port": own.port if found else -1,
    }


HANDLER = Handler(api_key=10, name="find_coordinator", versions=Versions(low=0, high=6), handle=handle)

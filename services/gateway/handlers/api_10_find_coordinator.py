"""FindCoordinator: a gateway, which passes group calls on to the coordinator among the metadata replicas.

Every gateway names the same one. librdkafka asks whichever broker it likes, several times while it starts
and then every ten minutes; a coordinator that differs makes it leave the old connection with a JoinGroup in
flight, and the group then waits a whole session timeout for a member that nobody speaks for.
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
    if schema.version < _SEVERAL_KEYS_FROM:
        return schema.response(throttle_time=NO_THROTTLE, **_answer(gateway, body.key, code, message))
    return schema.response(
        throttle_time=NO_THROTTLE,
        coordinators=tuple(
            schema.part("Coordinator", key=key, **_answer(gateway, key, code, message))
            for key in body.coordinator_keys
        ),
    )


def _verdict(key_type: int) -> tuple[ErrorCode, str | None]:
    if key_type == _GROUP:
        return ErrorCode.none, None
    if key_type == _TRANSACTION:
        # Clients give up on this one; they would ask for ever after COORDINATOR_NOT_AVAILABLE.
        return ErrorCode.transactional_id_authorization_failed, "transactions are not served"
    return ErrorCode.invalid_request, f"coordinators of kind {key_type} are not served"


def _answer(gateway: Gateway, key: str, code: ErrorCode, message: str | None) -> dict[str, Any]:
    chosen = gateway.brokers.coordinator(key)
    found = code is ErrorCode.none
    return {
        "error_code": code,
        "error_message": message,
        "node_id": chosen.broker_id if found else -1,
        "host": chosen.host if found else "",
        "port": chosen.port if found else -1,
    }


HANDLER = Handler(api_key=10, name="find_coordinator", versions=Versions(low=0, high=6), handle=handle)

"""DescribeCluster: the brokers and the cluster's id (KIP-700)."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.handler import Handler, Request, Versions

_BROKERS = 1


async def handle(gateway: Gateway, request: Request) -> Entity:
    schema, endpoint_type = request.schema, getattr(request.body, "endpoint_type", _BROKERS)
    supported = endpoint_type == _BROKERS
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none if supported else ErrorCode.unsupported_endpoint_type,
        error_message=None if supported else "controllers can't be asked: ask brokers",
        endpoint_type=_BROKERS,
        cluster_id=gateway.view.cluster_id,
        controller_id=gateway.brokers.own.broker_id,
        brokers=tuple(
            schema.part(
                "DescribeClusterBroker",
                broker_id=broker.broker_id,
                host=broker.host,
                port=broker.port,
                rack=broker.zone or None,
                is_fenced=False,
            )
            for broker in gateway.brokers.all()
        )
        if supported
        else (),
    )


HANDLER = Handler(api_key=60, name="describe_cluster", versions=Versions(low=0, high=2), handle=handle)

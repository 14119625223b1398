"""ApiVersions: which APIs are served in which versions (KIP-35, KIP-511)."""

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from services.gateway.codec import API_VERSIONS_KEY, NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.handler import Handler, Request, Versions


async def handle(gateway: Gateway, request: Request) -> Entity:
    """An unknown version is answered with UNSUPPORTED_VERSION in version 0, which the connection hands in."""
    schema = request.schema
    known = request.version in HANDLER.versions
    return schema.response(
        error_code=ErrorCode.none if known else ErrorCode.unsupported_version,
        api_keys=tuple(
            schema.part(
                "ApiVersion",
                api_key=api_key,
                min_version=versions.advertised[0],
                max_version=versions.advertised[1],
            )
            for api_key, versions in sorted(gateway.served.items())
        ),
        throttle_time=NO_THROTTLE,
    )


HANDLER = Handler(
    api_key=API_VERSIONS_KEY, name="api_versions", versions=Versions(low=0, high=4), handle=handle
)

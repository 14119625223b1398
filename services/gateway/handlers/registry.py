"""Every API that is served."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.gateway.handler import Handler, Versions
from services.gateway.handlers import (
    api_00_produce,
    api_01_fetch,
    api_03_metadata,
    api_18_api_versions,
)

HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        module.HANDLER.api_key: module.HANDLER
        for module in (
            api_00_produce,
            api_01_fetch,
            api_03_metadata,
            api_18_api_versions,
        )
    }
)

SERVED: Final[Mapping[int, Versions]] = MappingProxyType(
    {key: handler.versions for key, handler in HANDLERS.items()}
)

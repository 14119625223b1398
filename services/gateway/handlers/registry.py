"""Every API that is served."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.gateway.handler import Handler, Versions
from services.gateway.handlers import (
    api_00_produce,
    api_01_fetch,
    api_02_list_offsets,
    api_03_metadata,
    api_08_offset_commit,
    api_09_offset_fetch,
    api_10_find_coordinator,
    api_11_join_group,
    api_12_heartbeat,
    api_13_leave_group,
    api_14_sync_group,
    api_15_describe_groups,
    api_16_list_groups,
    api_18_api_versions,
    api_19_create_topics,
    api_20_delete_topics,
    api_21_delete_records,
    api_22_init_producer_id,
    api_32_describe_configs,
    api_37_create_partitions,
    api_42_delete_groups,
    api_44_incremental_alter_configs,
    api_60_describe_cluster,
)

HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        module.HANDLER.api_key: module.HANDLER
        for module in (
            api_00_produce,
            api_01_fetch,
            api_02_list_offsets,
            api_03_metadata,
            api_08_offset_commit,
            api_09_offset_fetch,
            api_10_find_coordinator,
            api_11_join_group,
            api_12_heartbeat,
            api_13_leave_group,
            api_14_sync_group,
            api_15_describe_groups,
            api_16_list_groups,
            api_18_api_versions,
            api_19_create_topics,
            api_20_delete_topics,
            api_21_delete_records,
            api_22_init_producer_id,
            api_32_describe_configs,
            api_37_create_partitions,
            api_42_delete_groups,
            api_44_incremental_alter_configs,
            api_60_describe_cluster,
        )
    }
)

SERVED: Final[Mapping[int, Versions]] = MappingProxyType(
    {key: handler.versions for key, handler in HANDLERS.items()}
)

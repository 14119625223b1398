"""What a topic's configs are where the topic does not say: settings that gateways and owners share.

Owns: those settings, and which of Kafka's own defaults they replace. Does not own: the table of configs
(libs/model/topic_configs.py), how they are described (gateway) and obeyed (partition owner).
"""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, Field, model_validator

from libs.model.topic_configs import CONFIG_LONG_MAX, TOPIC_CONFIGS


def _long(config: str, what: str) -> int:
    default: int = Field(
        default=int(TOPIC_CONFIGS[config].default), ge=-1, le=CONFIG_LONG_MAX, description=what
    )
    return default


class TopicDefaults(BaseModel):
    """The same for every gateway and owner of a cluster: what one describes the other does."""

    default_retention_ms: int = _long(
        "retention.ms", "retention.ms of topics that set none (Kafka's log.retention.ms); -1: for ever"
    )
    default_retention_bytes: int = _long(
        "retention.bytes", "retention.bytes of topics that set none (Kafka's log.retention.bytes); -1: all"
    )

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        for name in ("default_retention_ms", "default_retention_bytes"):
            if getattr(self, name) == 0:
                raise ValueError(f"KAFSCALE_{name.upper()} must be at least 1, or -1 for no limit")
        return self

    def topic_defaults(self) -> Mapping[str, str]:
        """Topic configs by name whose default here is not Kafka's own."""
        asked = {
            "retention.ms": str(self.default_retention_ms),
            "retention.bytes": str(self.default_retention_bytes),
        }
        return {name: value for name, value in asked.items() if value != TOPIC_CONFIGS[name].default}

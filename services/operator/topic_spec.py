"""What a KafscaleTopic asks for, typed.

Owns: the fields of charts/kafscale/crds/kafscaletopics.yaml. Does not own: what is done about it (topics.py).
"""

from typing import Any, Literal

from pydantic import Field

from libs.model.limits import PARTITIONS_PER_TOPIC_MAX, TOPIC_NAME_LENGTH_MAX
from services.operator.spec import Model


class Announced(Model):
    """A topic as it was about to be created."""

    partitions: int
    configs: dict[str, str] = Field(default_factory=dict)


class TopicSpec(Model):
    cluster_ref: str = Field(min_length=1)
    topic_name: str = Field(default="", max_length=TOPIC_NAME_LENGTH_MAX)
    """Empty: the resource's own name."""
    partitions: int = Field(default=1, ge=1, le=PARTITIONS_PER_TOPIC_MAX)
    retention_ms: int | None = Field(default=None, ge=-1)
    retention_bytes: int | None = Field(default=None, ge=-1)
    config: dict[str, str] = Field(default_factory=dict)
    deletion_policy: Literal["retain", "delete"] = "retain"
    adopt: bool = False

    def announced(self) -> Announced:
        """What is to be created."""
        return Announced(partitions=self.partitions, configs=self.configs())

    def configs(self) -> dict[str, str]:
        """Kafka's topic configs: the free ones, and the two that have fields of their own."""
        named = {"retention.ms": self.retention_ms, "retention.bytes": self.retention_bytes}
        return {**self.config, **{name: str(value) for name, value in named.items() if value is not None}}


class TopicResource(Model):
    """A KafscaleTopic with what the operator needs of its metadata and status."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    deleting: bool
    finalizers: tuple[str, ...]
    spec: TopicSpec
    topic_id: str
    """What its status says: the topic that it made or adopted; empty where there is none yet."""
    announced: Announced | None
    """What its status says was about to be created for it."""

    @property
    def topic_name(self) -> str:
        return self.spec.topic_name or self.name

    @property
    def keeps_topic(self) -> bool:
        """It is going and leaves its topic as it is."""
        return self.deleting and self.spec.deletion_policy == "retain"


def topic_of(item: dict[str, Any]) -> TopicResource:
    """Raises pydantic.ValidationError, whose text names the fields."""
    metadata = item["metadata"]
    status = item.get("status") or {}
    spec = TopicSpec.model_validate(item["spec"])
    # `creating` is what an operator of before wrote for it.
    announced = status.get("announced") or (spec.announced() if status.get("creating") else None)
    return TopicResource(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        created=metadata.get("creationTimestamp") or "",
        deleting=bool(metadata.get("deletionTimestamp")),
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=spec,
        topic_id=status.get("topicId") or "",
        announced=announced,
    )

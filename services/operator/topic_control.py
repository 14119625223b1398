"""One look at a KafscaleTopic: observe, decide, act, report, until it is settled.

Owns: doing what topics.py decides. Does not own: what it decides, when (work_queue.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError

from libs.model.cluster import Topic
from libs.model.errors import Invalid, NotFound, Overloaded, Reason, Unavailable
from libs.model.ids import TopicName
from services.operator.conditions import CONFLICT, READY, Condition, merged
from services.operator.kinds import CLUSTERS, TOPICS, Key, Object, key_of
from services.operator.kube import Kube
from services.operator.links import Links
from services.operator.mirrors import Mirrors
from services.operator.reporting import Reporter
from services.operator.spec import problems
from services.operator.topic_spec import Announced, TopicResource, topic_of
from services.operator.topics import (
    FINALIZER,
    Adopt,
    Announce,
    Claim,
    Conflict,
    Create,
    Decision,
    LetGo,
    Refuse,
    Remove,
    Settled,
    TopicsApi,
    Update,
    decide,
)

_STEPS_MAX = 8
"""Claim, announce, create and report are four; more means that somebody else is at it too."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Look:
    """A resource while it is looked at: what was written last is what the next step begins with."""

    item: Object
    resource: TopicResource

    def now_is(self, item: Object) -> None:
        self.item = item
        self.resource = topic_of(item)


class TopicControl:
    def __init__(self, *, kube: Kube, mirrors: Mirrors, links: Links, reporter: Reporter) -> None:
        self._kube = kube
        self._mirrors = mirrors
        self._links = links
        self._reporter = reporter
        self._uncreated: set[Key] = set()
        """Resources whose topic we announced and certainly did not make since, or that can't be made."""

    async def work(self, key: Key) -> float | None:
        """One look. Returns in how many seconds there has to be another, None where a change will say.

        Raises the kinds of error where it has to be tried again.
        """
        try:
            # Not from the mirror: what was just written, and is not heard of yet, decides whose a topic is.
            item = await self._kube.get(key)
        except NotFound:
            self._uncreated.discard(key)
            return None
        try:
            look = _Look(item, topic_of(item))
        except ValidationError as error:
            await self._report(item, None, _not_ready("InvalidSpec", problems(error)))
            return None
        try:
            return await self._settle(look)
        except Invalid as error:
            # The same request will be wrong again: a person has to change something.
            await self._report(look.item, None, _not_ready("Refused", error.message))
            return 1.0 if _is_edited(look.resource) else None
        except NotFound as error:
            if not look.resource.deleting:
                raise
            log.info("topic_resource_gone", resource=str(key), error=error.message)
            return None
        except (Unavailable, Overloaded) as error:
            await self._report(look.item, None, _not_ready("Unavailable", error.message))
            raise

    async def _settle(self, look: _Look) -> float | None:
        cluster = None if look.resource.keeps_topic else self._cluster_of(look.resource)
        api = None if cluster is None else await self._links.topics(cluster)
        made: Topic | None = None
        for _ in range(_STEPS_MAX):
            topic = made if made is not None or api is None else await api.describe(_name(look.resource))
            if key_of(look.item) in self._uncreated and (topic is not None or _is_edited(look.resource)):
                look.resource = look.resource.model_copy(update={"announced": None})
            rivals = [look.resource, *self._rivals(look.resource)]
            decision = decide(look.resource, topic, rivals=rivals, cluster_exists=cluster is not None)
            if isinstance(decision, Settled | Refuse | Conflict):
                if not look.resource.deleting:
                    said = _said(decision, topic)
                    is_decided = topic is not None and not isinstance(decision, Conflict)
                    await self._report(look.item, topic, said, is_decided=is_decided)
                return None
            made = await self._do(decision, look, topic, api)
            if isinstance(decision, LetGo | Remove):
                return None
        return 1.0

    def _cluster_of(self, resource: TopicResource) -> Key | None:
        """Raises Unavailable where it, or another resource of the topic, may be there and can't be seen."""
        for kind in (CLUSTERS, TOPICS):
            missing = self._mirrors.missing(kind.kind, resource.namespace)
            if missing is not None:
                raise Unavailable(f"the operator may not {missing}")
        cluster = Key(CLUSTERS.kind, resource.namespace, resource.spec.cluster_ref)
        return cluster if self._mirrors.get(cluster) is not None else None

    async def _do(
        self, decision: Decision, look: _Look, topic: Topic | None, api: TopicsApi | None
    ) -> Topic | None:
        """Returns the topic where it is known from this."""
        resource = look.resource
        match decision:
            case Claim():
                look.now_is(await self._finalizers(look.item, [*resource.finalizers, FINALIZER]))
            case Announce():
                said = _not_ready("Creating", "")
                if resource.announced is None:  # else what was announced before may yet be created
                    self._uncreated.add(key_of(look.item))
                announced = resource.spec.announced()
                look.now_is(await self._report(look.item, None, said, announced=announced))
            case Adopt():
                look.now_is(await self._report(look.item, topic, _not_ready("Adopting", "")))
                return topic
            case LetGo():
                await self._unclaim(look)
            case _:
                assert api is not None, "decide does nothing else where there is no cluster"
                return await self._change(decision, look, api)
        return None

    async def _change(self, decision: Decision, look: _Look, api: TopicsApi) -> Topic | None:
        """What concerns the topic itself."""
        name = _name(look.resource)
        match decision:
            case Create():
                made = await self._create(decision, look, api)
                look.now_is(await self._report(look.item, made, _not_ready("Created", "")))
                log.info("topic_created", topic=name, partitions=made.partitions)
                return made
            case Update():
                made = await api.update(
                    name,
                    topic_id=decision.topic_id,
                    partitions=decision.partitions,
                    configs=decision.configs,
                )
                await self._reporter.event(look.item, "Updated", f"{made.partitions} partitions")
                return made
            case Remove():
                await api.delete(decision.topic_id)
                await self._unclaim(look)
                log.info("topic_deleted", topic=name)
                return None
            case _:
                raise AssertionError(f"nothing is done about {decision}")

    async def _create(self, decision: Create, look: _Look, api: TopicsApi) -> Topic:
        key = key_of(look.item)
        try:
            made = await api.create(
                _name(look.resource), partitions=decision.partitions, configs=decision.configs
            )
        except Unavailable as error:
            if error.outcome_unknown:
                self._uncreated.discard(key)
            raise
        except Invalid as error:
            if error.reason is not Reason.TOPIC_ALREADY_EXISTS:
                self._uncreated.add(key)
            raise
        self._uncreated.discard(key)
        return made

    async def _unclaim(self, look: _Look) -> None:
        kept = [each for each in look.resource.finalizers if each != FINALIZER]
        await self._finalizers(look.item, kept)

    def _rivals(self, resource: TopicResource) -> list[TopicResource]:
        found = []
        for each in self._mirrors.items(TOPICS, resource.namespace):
            if each["metadata"]["uid"] == resource.uid:
                continue
            try:
                found.append(topic_of(each))
            except ValidationError:
                continue  # it claims nothing that could be named
        return found

    async def _finalizers(self, item: Object, finalizers: Sequence[str]) -> Object:
        metadata = item["metadata"]
        patch = {"metadata": {"finalizers": list(finalizers), "resourceVersion": metadata["resourceVersion"]}}
        return await self._kube.merge(key_of(item), patch)

    async def _report(
        self,
        item: Object,
        topic: Topic | None,
        said: list[Condition],
        *,
        announced: Announced | None = None,
        is_decided: bool = False,
    ) -> Object:
        status = topic_status(
            item, topic, said, announced=announced, is_decided=is_decided, now_ms=self._reporter.now_ms
        )
        return await self._reporter.report(item, status, said)


def topic_status(
    item: Object,
    topic: Topic | None,
    said: list[Condition],
    *,
    announced: Announced | None = None,
    is_decided: bool = False,
    now_ms: int,
) -> dict[str, Any]:
    """The whole status. What was announced stays until the topic is there, or it `is_decided` whose it is.

    The topic's id stays while the topic is not reached, and is only that of a topic that is this resource's.
    """
    before = item.get("status") or {}
    generation = item["metadata"].get("generation", 1)
    took = any(each.reason in _OWN_REASONS for each in said)
    own = topic is not None and (took or str(topic.topic_id) == before.get("topicId"))
    said_before = None if own or is_decided else before.get("announced")
    fields: dict[str, Any] = {
        "observedGeneration": generation,
        "topicId": str(topic.topic_id) if topic is not None and own else before.get("topicId"),
        "partitions": topic.partitions if topic is not None and own else before.get("partitions"),
        "announced": said_before if announced is None else announced.model_dump(),
        "conditions": merged(before.get("conditions") or (), said, generation=generation, now_ms=now_ms),
    }
    return {name: value for name, value in fields.items() if value is not None}


_OWN_REASONS = frozenset({"Adopting", "Created", "Serving", "Assigning"})


def _said(decision: Settled | Refuse | Conflict, topic: Topic | None) -> list[Condition]:
    match decision:
        case Settled() if topic is not None and not topic.live:
            return _not_ready("Assigning", "its partitions are being given to owners")
        case Settled():
            return [
                Condition(type=READY, holds=True, reason="Serving"),
                Condition(type=CONFLICT, holds=False, reason="NoConflict"),
            ]
        case Refuse(reason=reason, message=message):
            return _not_ready(reason, message)
        case Conflict(other=other):
            text = f"the KafscaleTopic {other!r} has this topic"
            return [
                Condition(type=READY, holds=False, reason="Conflict", message=text),
                Condition(type=CONFLICT, holds=True, reason="NamedTwice", message=text),
            ]


def _not_ready(reason: str, message: str) -> list[Condition]:
    return [
        Condition(type=READY, holds=False, reason=reason, message=message),
        Condition(type=CONFLICT, holds=False, reason="NoConflict"),
    ]


def _is_edited(resource: TopicResource) -> bool:
    """It asks for another topic than the one that was announced."""
    return resource.announced not in (None, resource.spec.announced())


def _name(resource: TopicResource) -> TopicName:
    return TopicName(resource.topic_name)

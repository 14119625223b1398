"""A KafscaleTopic on a fake API server and a fake metadata service."""

from collections.abc import Mapping

import pytest

from libs.model.cluster import Topic
from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.model.ids import TopicName
from services.operator.conditions import CONFLICT, READY
from services.operator.kinds import TOPICS, Key, Object
from services.operator.topics import FINALIZER
from tests.unit.services.operator.fake_kube import FakeKube
from tests.unit.services.operator.making import NAMESPACE, cluster_object, topic_object
from tests.unit.services.operator.running import FakeTopics, World, running


def key(name: str) -> Key:
    return Key(TOPICS.kind, NAMESPACE, name)


def set_spec(world: World, name: str, **fields: object) -> None:
    def change(item: Object) -> None:
        item["spec"].update(fields)

    world.kube.change(key(name), change)


def ready(world: World, name: str) -> bool:
    return world.holds(READY, name, topic=True)


def reason(world: World, name: str) -> str:
    return str(world.condition(READY, name, topic=True)["reason"])


def partitions(world: World, name: str) -> int:
    return next((each.partitions for each in world.topics.topics.values() if each.name == name), 0)


async def test_a_topic_is_made_grows_and_says_its_state(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", partitions=2, retentionMs=1000))
        await world.wait(lambda: ready(world, "orders"))
        (topic,) = world.topics.topics.values()
        assert (topic.partitions, topic.configs) == (2, {"retention.ms": "1000"})
        item = world.kube.objects()[key("orders")]
        assert item["status"]["topicId"] == str(topic.topic_id)
        assert item["status"]["partitions"] == 2
        assert "announced" not in item["status"]
        assert item["metadata"]["finalizers"] == [FINALIZER]
        set_spec(world, "orders", partitions=4)
        await world.wait(lambda: partitions(world, "orders") == 4)
        world.kube.writes.clear()
        await world.settle(900)
        assert [each for _verb, each in world.kube.writes if each.kind == TOPICS.kind] == []


async def test_shrinking_is_refused(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", partitions=4))
        await world.wait(lambda: ready(world, "orders"))
        set_spec(world, "orders", partitions=2)
        await world.wait(lambda: reason(world, "orders") == "PartitionsCannotShrink")
        assert partitions(world, "orders") == 4


async def test_a_topic_of_a_client_is_adopted_when_asked(autojump_clock: object) -> None:
    async with running() as world:
        world.topics.put("orders", partitions=3)
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", partitions=5))
        await world.wait(lambda: reason(world, "orders") == "AlreadyExists")
        assert partitions(world, "orders") == 3
        set_spec(world, "orders", adopt=True)
        await world.wait(lambda: ready(world, "orders"))
        assert partitions(world, "orders") == 5


async def test_two_resources_of_one_topic(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("first", topicName="orders"))
        await world.wait(lambda: ready(world, "first"))
        world.kube.put(topic_object("second", topicName="orders", partitions=9))
        await world.wait(lambda: world.holds(CONFLICT, "second", topic=True))
        assert "'first'" in world.condition(CONFLICT, "second", topic=True)["message"]
        assert ready(world, "first")
        assert partitions(world, "orders") == 1
        world.kube.delete_now(key("second"))
        await world.wait(lambda: key("second") not in world.kube.objects())
        assert partitions(world, "orders") == 1, "it was the first's"


async def test_the_second_may_have_it_when_the_first_is_gone(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("first", topicName="orders"))
        await world.wait(lambda: ready(world, "first"))
        world.kube.put(topic_object("second", topicName="orders", adopt=True))
        await world.wait(lambda: world.holds(CONFLICT, "second", topic=True))
        world.kube.delete_now(key("first"))
        await world.wait(lambda: ready(world, "second") and not world.holds(CONFLICT, "second", topic=True))


async def test_what_becomes_of_the_topic_is_the_policys_choice(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("kept"))
        world.kube.put(topic_object("gone", deletionPolicy="delete"))
        await world.wait(lambda: ready(world, "kept") and ready(world, "gone"))
        world.topics.error = Unavailable("away")
        world.kube.delete_now(key("gone"))
        await world.settle(30)
        assert key("gone") in world.kube.objects(), "held until the topic is deleted"
        world.topics.error = None
        world.kube.delete_now(key("kept"))
        await world.wait(lambda: not {key("gone"), key("kept")} & set(world.kube.objects()))
        assert [str(name) for name in world.topics.topics] == ["kept"]


async def test_a_lost_reply_to_the_creation_is_no_foreign_topic(autojump_clock: object) -> None:
    async with running() as world:
        world.topics.lost_reply = Unavailable("no answer", outcome_unknown=True)
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders"))
        await world.wait(lambda: ready(world, "orders"))
        assert partitions(world, "orders") == 1


async def test_an_edit_after_a_lost_reply_makes_no_foreign_topic_of_it(autojump_clock: object) -> None:
    async with running() as world:
        world.topics.lost_reply = Unavailable("no answer", outcome_unknown=True)
        world.topics.error_after = Unavailable("away")
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", partitions=2))
        await world.wait(
            lambda: partitions(world, "orders") == 2 and reason(world, "orders") == "Unavailable"
        )
        set_spec(world, "orders", partitions=5, retentionMs=1000)
        await world.settle()
        world.topics.error = None
        await world.wait(lambda: ready(world, "orders") and partitions(world, "orders") == 5)


async def test_an_edit_while_the_creation_is_on_its_way_makes_no_foreign_topic_of_it(
    autojump_clock: object,
) -> None:
    """The first creation lands when its answer was given up long ago."""

    class SlowTopics(FakeTopics):
        sent: tuple[TopicName, int, Mapping[str, str]] | None = None
        has_landed = False

        async def create(self, name: TopicName, *, partitions: int, configs: Mapping[str, str]) -> Topic:
            if self.sent is None:
                self.sent = (name, partitions, configs)
                set_spec(world, "orders", partitions=5)
                raise Unavailable("no answer", outcome_unknown=True)
            if not self.has_landed:
                self.has_landed = True
                self.put(self.sent[0], partitions=self.sent[1], configs=self.sent[2])
            return await super().create(name, partitions=partitions, configs=configs)

    world = World(FakeKube())
    world.topics = SlowTopics()
    async with running(world):
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", partitions=2))
        await world.wait(lambda: ready(world, "orders") and partitions(world, "orders") == 5)


async def test_a_config_that_was_repaired_while_no_operator_ran_is_taken(autojump_clock: object) -> None:
    class StrictTopics(FakeTopics):
        async def create(self, name: TopicName, *, partitions: int, configs: Mapping[str, str]) -> Topic:
            if "x" in configs:
                raise Invalid("there is no topic config 'x'", reason=Reason.INVALID_CONFIG)
            return await super().create(name, partitions=partitions, configs=configs)

    world = World(FakeKube())
    world.topics = StrictTopics()
    async with running(world):
        world.kube.put(topic_object("orders", partitions=2))
        await world.wait(lambda: reason(world, "orders") == "ClusterNotFound")
        item = world.kube.objects()[key("orders")]
        said = {**item["status"], "announced": {"partitions": 9, "configs": {"x": "1"}}}
        names = {"name": "orders", "namespace": NAMESPACE}
        head = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": names}
        await world.kube.apply({**head, "status": said}, subresource="status")
        world.kube.put(cluster_object())
        await world.wait(lambda: ready(world, "orders") and partitions(world, "orders") == 2)


async def test_a_topic_that_a_client_made_first_is_not_taken(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.topics.beaten = True
        world.kube.put(topic_object("orders"))
        await world.wait(lambda: reason(world, "orders") == "AlreadyExists")


@pytest.mark.parametrize("error", [Unavailable("no owner is live"), Invalid("no")])
async def test_a_topic_that_a_client_made_after_a_failed_creation_is_not_taken(
    autojump_clock: object, error: KafscaleError
) -> None:
    async with running() as world:
        world.topics.refusal = error
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders"))
        await world.wait(lambda: reason(world, "orders") in ("Unavailable", "Refused"))
        world.topics.put("orders")
        await world.wait(lambda: reason(world, "orders") == "AlreadyExists")


async def test_after_a_lost_reply_only_the_topic_that_was_asked_for_is_its_own(
    autojump_clock: object,
) -> None:
    async with running() as world:
        world.topics.refusal = Unavailable("no answer", outcome_unknown=True)
        world.topics.beaten = True
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", retentionMs=1000))
        await world.wait(lambda: reason(world, "orders") == "AlreadyExists")
        await world.settle()
        (theirs,) = world.topics.topics.values()
        assert theirs.partitions == 8


async def test_a_topic_that_stays_needs_no_metadata_service_to_be_let_go(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("kept"))
        await world.wait(lambda: ready(world, "kept"))
        world.topics.error = Unavailable("away")
        world.kube.delete_now(key("kept"))
        await world.wait(lambda: key("kept") not in world.kube.objects())
        assert [str(name) for name in world.topics.topics] == ["kept"]


async def test_errors_of_the_metadata_service_are_said_and_tried_again(autojump_clock: object) -> None:
    async with running() as world:
        world.topics.error = Unavailable("the metadata service can't be reached")
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders"))
        await world.wait(lambda: reason(world, "orders") == "Unavailable")
        world.topics.error = None
        await world.wait(lambda: ready(world, "orders"))


async def test_a_config_that_is_wrong_is_a_persons_to_repair(autojump_clock: object) -> None:
    async with running() as world:
        world.topics.error = Invalid("there is no topic config 'x'", reason=Reason.INVALID_CONFIG)
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", config={"x": "1"}))
        await world.wait(lambda: reason(world, "orders") == "Refused")
        assert "'x'" in world.condition(READY, "orders", topic=True)["message"]


async def test_it_waits_for_its_cluster(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(topic_object("orders"))
        await world.wait(lambda: reason(world, "orders") == "ClusterNotFound")
        world.kube.put(cluster_object())
        await world.wait(lambda: ready(world, "orders"))


async def test_a_cluster_that_may_not_be_seen_is_not_taken_for_gone(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders", deletionPolicy="delete"))
        await world.wait(lambda: ready(world, "orders"))
        world.kube.forbidden = {"list kafscaleclusters", "watch kafscaleclusters"}
        world.kube.compact()
        await world.settle()
        world.kube.delete_now(key("orders"))
        await world.settle()
        assert key("orders") in world.kube.objects()
        world.kube.forbidden = set()
        await world.wait(lambda: key("orders") not in world.kube.objects())
        assert world.topics.topics == {}


async def test_a_topic_that_somebody_deleted_is_made_again(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        world.kube.put(topic_object("orders"))
        await world.wait(lambda: ready(world, "orders"))
        (first,) = world.topics.topics.values()
        world.topics.topics.clear()
        world.topics.on_change()
        await world.wait(lambda: partitions(world, "orders") == 1)
        (second,) = world.topics.topics.values()
        assert second.topic_id != first.topic_id
        await world.wait(
            lambda: world.kube.objects()[key("orders")]["status"]["topicId"] == str(second.topic_id)
        )

"""Who leads what, as clients are told."""

from collections import Counter
from dataclasses import replace
from uuid import UUID

from libs.clients import convert
from libs.clients.view import ClusterView
from libs.model.cluster import Gateway
from libs.model.ids import BrokerId, GatewayId, TopicId
from proto.metadata_api.metadata_api_pb2 import Change, WatchEvent
from services.gateway.brokers import SERVICE_BROKER_ID, Brokers

TOPIC = TopicId(UUID(int=5))


def gateway(number: int, zone: str = "a") -> Gateway:
    return Gateway(
        gateway_id=GatewayId(f"g{number}"),
        broker_id=BrokerId(number),
        host=f"h{number}",
        port=9092,
        zone=zone,
    )


def view_of(*gateways: Gateway) -> ClusterView:
    view = ClusterView()
    changes = [Change(gateway=convert.gateway_message(each)) for each in gateways]
    view.apply(WatchEvent(revision=1, snapshot=True, changes=changes))
    return view


def brokers_of(own: Gateway, *others: Gateway) -> Brokers:
    brokers = Brokers(view=view_of(*others), mode="instance", zone=own.zone)
    brokers.register(own)
    return brokers


def test_a_gateway_names_itself_whatever_the_view_says() -> None:
    brokers = brokers_of(gateway(3))
    assert [each.broker_id for each in brokers.all()] == [3]
    assert brokers.leaders(TOPIC, 4) == (3, 3, 3, 3)


def test_every_gateway_of_a_zone_names_the_same_leaders() -> None:
    everyone = [gateway(number) for number in (1, 2, 3)]
    answers = {brokers_of(own, *everyone).leaders(TOPIC, 300) for own in everyone}
    assert len(answers) == 1
    shares = Counter(answers.pop())
    assert set(shares) == {1, 2, 3}
    assert min(shares.values()) > 70


def test_leaders_are_of_the_own_zone() -> None:
    brokers = brokers_of(gateway(1, "a"), gateway(1, "a"), gateway(2, "b"), gateway(3, "a"))
    assert set(brokers.leaders(TOPIC, 100)) == {1, 3}
    assert [each.broker_id for each in brokers.all()] == [1, 2, 3]


def test_one_that_goes_moves_only_what_it_led() -> None:
    everyone = [gateway(number) for number in (1, 2, 3)]
    before = brokers_of(everyone[0], *everyone).leaders(TOPIC, 200)
    after = brokers_of(everyone[0], *everyone[:2]).leaders(TOPIC, 200)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert moved
    assert {old for old, _ in moved} == {3}


def test_leaders_follow_the_view_and_grow_with_the_topic() -> None:
    own = gateway(1)
    view = view_of(own)
    brokers = Brokers(view=view, mode="instance", zone="a")
    brokers.register(own)
    assert set(brokers.leaders(TOPIC, 50)) == {1}
    view.apply(WatchEvent(revision=2, changes=[Change(gateway=convert.gateway_message(gateway(2)))]))
    first = brokers.leaders(TOPIC, 50)
    assert set(first) == {1, 2}
    assert brokers.leaders(TOPIC, 80)[:50] == first


def test_service_mode() -> None:
    own = replace(gateway(9), host="kafka.example")
    brokers = Brokers(view=view_of(own, gateway(2)), mode="service", zone="a")
    brokers.register(own)
    (broker,) = brokers.all()
    assert (broker.broker_id, broker.host, broker.zone) == (SERVICE_BROKER_ID, "kafka.example", "")
    assert brokers.leaders(TOPIC, 2) == (SERVICE_BROKER_ID, SERVICE_BROKER_ID)


def test_every_gateway_names_the_same_one_for_a_group_whatever_its_zone() -> None:
    everyone = [gateway(1, "a"), gateway(2, "b"), gateway(3, "b")]
    groups = [f"group-{number}" for number in range(300)]
    answers = {
        tuple(brokers_of(own, *everyone).coordinator(group).broker_id for group in groups) for own in everyone
    }
    assert len(answers) == 1
    before = answers.pop()
    shares = Counter(before)
    assert set(shares) == {1, 2, 3}
    assert min(shares.values()) > 70
    without = brokers_of(everyone[0], everyone[2])
    for group, broker_id in zip(groups, before, strict=True):
        assert broker_id == 2 or without.coordinator(group).broker_id == broker_id


def test_one_address_coordinates_every_group() -> None:
    brokers = Brokers(view=view_of(gateway(1), gateway(2)), mode="service", zone="a")
    brokers.register(gateway(2))
    assert brokers.coordinator("any").broker_id == SERVICE_BROKER_ID

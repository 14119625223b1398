"""A gateway's lease: taken, kept, taken anew, given back."""

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from libs.clients.metadata import Registration
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Gateway
from libs.model.errors import NotFound, Reason, Unavailable
from libs.model.ids import BrokerId, GatewayId
from services.gateway.registration import GatewayRegistration

OWN = Gateway(gateway_id=GatewayId("g"), broker_id=BrokerId(-1), host="h", port=1)


class Metadata:
    def __init__(self) -> None:
        self.registered: list[Gateway] = []
        self.renewed = 0
        self.given_back: list[int] = []
        self.answer: Callable[[], float] = lambda: 6.0

    async def register_gateway(self, gateway: Gateway) -> Registration:
        await trio.lowlevel.checkpoint()
        self.answer()
        self.registered.append(gateway)
        return Registration(lease_id=len(self.registered), lease_seconds=6.0, broker_id=BrokerId(4))

    async def keep_alive(self, lease_id: int, *, timeout_seconds: float) -> float:
        await trio.lowlevel.checkpoint()
        self.renewed += 1
        return self.answer()

    async def deregister(self, lease_id: int) -> None:
        await trio.lowlevel.checkpoint()
        self.answer()
        self.given_back.append(lease_id)


def fail(error: Exception) -> Callable[[], float]:
    def answer() -> float:
        raise error

    return answer


def registration_of(metadata: Any, told: list[Gateway]) -> GatewayRegistration:
    return GatewayRegistration(
        metadata=metadata, gateway=OWN, registered=told.append, rand=SeededRand("registration")
    )


async def test_registers_and_renews_every_third_of_the_lease(autojump_clock: trio.testing.MockClock) -> None:
    metadata, told = Metadata(), list[Gateway]()
    registration = registration_of(metadata, told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registration.run)
        await registration.wait_registered()
        assert [each.broker_id for each in told] == [4]
        await trio.sleep(20.5)
        assert metadata.renewed == 10
        await registration.deregister(seconds_max=1)
        nursery.cancel_scope.cancel()
    assert metadata.given_back == [1]
    assert len(metadata.registered) == 1


async def test_registers_anew_under_the_same_id_when_the_lease_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    metadata, told = Metadata(), list[Gateway]()
    registration = registration_of(metadata, told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registration.run)
        await registration.wait_registered()
        metadata.answer = fail(NotFound("over"))
        await trio.sleep(2.5)
        metadata.answer = lambda: 6.0
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert [each.broker_id for each in metadata.registered] == [-1, 4]
    assert len(told) == 2


async def test_metadata_away_at_start_and_later(autojump_clock: trio.testing.MockClock) -> None:
    metadata, told = Metadata(), list[Gateway]()
    away = fail(Unavailable("away", reason=Reason.METADATA_UNAVAILABLE))
    metadata.answer = away
    registration = registration_of(metadata, told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registration.run)
        await trio.sleep(10)
        assert told == []
        metadata.answer = lambda: 6.0
        await registration.wait_registered()
        metadata.answer = away
        await trio.sleep(60)
        assert metadata.renewed > 20
        await registration.deregister(seconds_max=1)
        nursery.cancel_scope.cancel()
    assert len(told) == 1

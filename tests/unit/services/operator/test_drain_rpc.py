"""DrainPartitions as an owner may answer it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpclib.client
import trio

from libs.chassis.broker_control import DrainStream, ProcessControl
from libs.concurrency.clock import ManualClock
from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.rpc import Server, memory_channel
from proto.control.broker_pb2 import DrainPartitionsRequest, DrainPartitionsResponse, TopicPartition
from services.operator.drain_rpc import RpcDrainer
from services.operator.rolling import Drained, DrainFailed

ADDRESS = "10.0.0.1:9093"


class Owner(ProcessControl):
    """Answers, refuses, or says nothing."""

    def __init__(self, answer: DrainPartitionsResponse | KafscaleError | None) -> None:
        super().__init__(
            service="partition-owner",
            instance="owner-0",
            ready=lambda: True,
            draining=lambda: False,
            samples=list,
            clock=ManualClock(),
        )
        self.asked: DrainPartitionsRequest | None = None
        self._answer = answer

    async def DrainPartitions(self, stream: DrainStream) -> None:  # noqa: N802 - the RPC's name
        self.asked = await stream.recv_message()
        if self._answer is None:
            await trio.sleep_forever()
        if isinstance(self._answer, KafscaleError):
            raise self._answer
        assert self._answer is not None
        await stream.send_message(self._answer)


async def drain(owner: Owner) -> Drained | DrainFailed:
    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[grpclib.client.Channel]:
        assert address == ADDRESS
        async with memory_channel(Server([owner])) as channel:
            yield channel

    return await RpcDrainer(connect, deadline_seconds=60).drain(ADDRESS, reason="rolling update")


async def test_everything_was_handed_over(autojump_clock: object) -> None:
    owner = Owner(DrainPartitionsResponse(drained=[TopicPartition(topic="a", partition=0)]))
    assert await drain(owner) == Drained()
    assert owner.asked == DrainPartitionsRequest(
        all_assigned=True, reason="rolling update", deadline_seconds=60
    )


async def test_what_is_pending_is_no_success(autojump_clock: object) -> None:
    pending = [TopicPartition(topic="a", partition=each) for each in range(3)]
    outcome = await drain(Owner(DrainPartitionsResponse(pending=pending)))
    assert isinstance(outcome, DrainFailed)
    assert outcome.why.startswith("3 partitions are not handed over yet")


async def test_a_refusal_says_why(autojump_clock: object) -> None:
    refusal = Invalid("no other owner is live", reason=Reason.NOBODY_CAN_TAKE_OVER)
    outcome = await drain(Owner(refusal))
    assert isinstance(outcome, DrainFailed)
    assert "no other owner is live" in outcome.why
    assert outcome.refused


async def test_another_error_is_no_refusal(autojump_clock: object) -> None:
    outcome = await drain(Owner(Unavailable("this owner has no session now; try again")))
    assert isinstance(outcome, DrainFailed)
    assert not outcome.refused


async def test_an_owner_that_says_nothing_is_given_up(autojump_clock: object) -> None:
    began = trio.current_time()
    assert isinstance(await drain(Owner(None)), DrainFailed)
    assert trio.current_time() - began < 100

"""BrokerControl of an owner's pod, as the operator calls it.

Owns: one DrainPartitions call and what its answer means. Does not own: when (rolling.py).
"""

from typing import Protocol

from libs.clients.watcher import Connect
from libs.model.errors import KafscaleError, Reason
from proto.control.broker_grpc import BrokerControlStub
from proto.control.broker_pb2 import DrainPartitionsRequest
from services.operator.rolling import Drained, DrainFailed

_ANSWER_SECONDS = 10
"""What the answer may take beyond the deadline that the owner was given."""


class Drainer(Protocol):
    async def drain(self, address: str, *, reason: str) -> Drained | DrainFailed:
        """Asks the owner at this host:port to hand everything over, and waits for it."""
        ...


class RpcDrainer:
    def __init__(self, connect: Connect, *, deadline_seconds: int) -> None:
        self._connect = connect
        self._deadline_seconds = deadline_seconds

    async def drain(self, address: str, *, reason: str) -> Drained | DrainFailed:
        request = DrainPartitionsRequest(
            all_assigned=True, reason=reason, deadline_seconds=self._deadline_seconds
        )
        try:
            async with self._connect(address) as channel:
                reply = await BrokerControlStub(channel).DrainPartitions(
                    request, timeout=self._deadline_seconds + _ANSWER_SECONDS
                )
        except KafscaleError as error:
            refused = error.reason is Reason.NOBODY_CAN_TAKE_OVER
            return DrainFailed(why=error.message, refused=refused)
        if reply.pending:
            count = len(reply.pending)
            return DrainFailed(why=f"{count} partitions are not handed over yet; the hand-over goes on")
        return Drained()

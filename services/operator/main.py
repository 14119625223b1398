"""The operator as a process: the API server's client, its place in the chassis.

Owns: joining the parts of the operator with the process. Does not own: the parts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from libs.chassis.broker_control import ProcessControl
from libs.chassis.process import Host
from libs.rpc import IServable, open_channel
from services.operator.cluster import open_kube, own_namespace
from services.operator.config import OperatorSettings
from services.operator.drain_rpc import RpcDrainer
from services.operator.leader import Election
from services.operator.links import metadata_topics
from services.operator.metrics import show_statistics
from services.operator.service import Operator


class OperatorProcess:
    """What the chassis runs."""

    def __init__(self, operator: Operator, election: Election, control: ProcessControl) -> None:
        self._operator = operator
        self._election = election
        self._control = control

    def ports(self) -> Mapping[str, int]:
        return {}

    def rpc_services(self) -> Sequence[IServable]:
        return ()

    def control_services(self) -> Sequence[IServable]:
        return (self._control,)

    def ready_conditions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {"the API server": self._operator.wait_ready}

    async def serve(self) -> None:
        await self._operator.run()

    async def drain(self, deadline_seconds: float) -> None:
        """Gives the lease back; what was begun is level-triggered and goes on with the next leader."""
        del deadline_seconds
        await self._election.resign()


@asynccontextmanager
async def open_process(host: Host[OperatorSettings]) -> AsyncIterator[OperatorProcess]:
    """Raises Invalid where there is no way to the API server."""
    settings = host.settings
    async with open_kube(settings.operator_kubeconfig) as kube:
        election = Election(
            kube,
            namespace=settings.operator_namespace or own_namespace(),
            identity=f"{settings.instance}-{host.rand.uuid()}",
            seconds=settings.operator_lease_seconds,
            clock=host.clock,
        )
        operator = Operator(
            kube=kube,
            election=election,
            drainer=RpcDrainer(open_channel, deadline_seconds=settings.operator_drain_seconds),
            open_topics=metadata_topics(open_channel, host.rand, name=settings.instance),
            settings=settings,
            clock=host.clock,
            rand=host.rand,
        )
        show_statistics(host.metrics, operator.statistics)
        control = ProcessControl(
            service=settings.service,
            instance=settings.instance,
            ready=lambda: host.readiness.ready,
            draining=lambda: host.readiness.draining,
            samples=host.metrics.samples,
            clock=host.clock,
        )
        yield OperatorProcess(operator, election, control)

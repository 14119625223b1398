"""What all clients have: a name, a connection to some gateway, chance of their own.

Owns: connecting, and connecting again. Does not own: requests.
Rules: 1 any gateway serves any partition, so a client goes to one drawn by chance, each time anew: that is
worse than what a load balancer does; 2 a client that finds nobody tries again after a pause.
"""

from typing import Final

import trio

from tests.sim.actors.kafka import Gone, KafkaConnection, connect
from tests.sim.world.process import SimProcess
from tests.sim.world.world import World

_PAUSE_SECONDS: Final = (0.05, 0.5)


class Client:
    """The base of actors that speak Kafka's protocol. Those that act by themselves have `run`."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rand = world.rand(name)
        self.process = SimProcess(name)
        self._connection: KafkaConnection | None = None

    async def live(self) -> None:
        """Runs it; the world knows of it until it comes to its end."""
        self.world.clients[self.name] = None
        await self.run()
        del self.world.clients[self.name]

    async def run(self) -> None:
        raise NotImplementedError

    async def connection(self) -> KafkaConnection:
        """One that is open, as far as this side knows; waits until there is one."""
        while self._connection is None or not self._connection.is_open:
            gateways = [f"g{index}" for index in range(self.world.plan.gateways)]
            try:
                self._connection = await connect(self.world.network, self.process, self.rand.choice(gateways))
            except Gone:
                await self.pause()
        return self._connection

    async def pause(self) -> None:
        await trio.sleep(self.rand.uniform(*_PAUSE_SECONDS))

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.drop()
            self._connection = None

    def known_topics(self) -> list[str]:
        """Names of topics that the admin created and has not deleted."""
        return sorted(self.world.topics)

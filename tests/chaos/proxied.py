"""A stack in which every connection between processes goes through a proxy.

Owns: joining both. Does not own: what goes wrong (nemesis.py), the load.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.chaos.clocks import Clocks
from tests.chaos.proxies import Proxies, open_proxies
from tests.support.platform import Platform
from tools.servers import free_ports
from tools.stack.layout import SERVICES, STORES, StackSettings
from tools.stack.stack import Stack, open_stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxied:
    stack: Stack
    proxies: Proxies
    clocks: Clocks | None
    """None where they can't be moved here."""

    @property
    def platform(self) -> Platform:
        return Platform(mode="stack", children=self.stack.children, stack=self.stack)


@asynccontextmanager
async def open_proxied(
    directory: Path,
    *,
    seed: int = 0,
    etcd_quota_bytes: int = 0,
    names: Collection[str] = (*SERVICES, *STORES),
    **settings: str,
) -> AsyncIterator[Proxied]:
    """Ready, on free ports. `settings` are KAFSCALE_* variables for every service; `seed` is the proxies'.

    `names`: in front of whom there is a proxy; fewer where what the proxies cost would be measured, too.
    """
    stacks: list[Stack] = []

    def pids() -> dict[str, int]:
        children = stacks[0].children if stacks else {}
        return {name: child.pid for name, child in children.items() if child.pid and child.alive}

    clocks = await trio.to_thread.run_sync(_clocks, directory / "clocks")
    async with open_proxies(pids=pids, seed=seed) as proxies:

        def put_in_front(stack: Stack) -> None:
            stacks.append(stack)
            free = [port for port in free_ports(8 * len(names)) if port not in stack.reserved_ports]
            for name, port in zip(names, free, strict=False):
                stack.fronts[name] = port
                proxies.add(name, port=port, target_port=stack.port_of(name))
            if clocks is not None:
                stack.environment |= {name: clocks.environment(name) for name in SERVICES}

        stack_settings = StackSettings(
            port_base=None, extra=settings, etcd_fsync=False, etcd_quota_bytes=etcd_quota_bytes
        )
        async with open_stack(directory, stack_settings, before_start=put_in_front) as stack:
            for name in names:
                with trio.fail_after(10):
                    await proxies.wait_open(name)
            yield Proxied(stack=stack, proxies=proxies, clocks=clocks)


def _clocks(directory: Path) -> Clocks | None:
    try:
        return Clocks(directory)
    except FileNotFoundError:
        return None

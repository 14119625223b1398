"""Service addresses: each connection to one goes to one of its endpoints, as kube-proxy has it.

Owns: a listener for each port of each ClusterIP, each node port, each port of a balancer. Does not own: which
pods are endpoints (a real controller), which balancer a Service has (balancers.py).
Rules: 1 an endpoint is chosen when a connection is made, among those that are ready; 2 an established
connection stays where it is; 3 a Service without endpoints refuses.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import trio

from tests.e2e.api import Name, Object
from tests.e2e.network import HOST_IP, add_service_address, drop_service_address

_CHUNK = 1 << 18


class Address(NamedTuple):
    ip: str
    port: int


class Proxy:
    def __init__(self) -> None:
        self._open: dict[Address, trio.CancelScope] = {}
        self._ready: dict[Address, list[tuple[str, int]]] = {}

    def fix(self, address: Address, endpoints: list[tuple[str, int]]) -> None:
        """An address that is no Service's."""
        self._ready[address] = endpoints

    async def run(self, wanted: "trio.MemoryReceiveChannel[Mapping[Address, list[tuple[str, int]]]]") -> None:
        """Follows what is wanted, for ever."""
        async with trio.open_nursery() as nursery:
            async for addresses in wanted:
                self._ready = dict(addresses)
                for address in [address for address in self._open if address not in addresses]:
                    self._open.pop(address).cancel()
                    if address.ip != HOST_IP and all(each.ip != address.ip for each in self._open):
                        drop_service_address(address.ip)
                for address in addresses:
                    if address not in self._open:
                        if address.ip != HOST_IP:
                            add_service_address(address.ip)
                        self._open[address] = trio.CancelScope()
                        nursery.start_soon(self._serve, address, self._open[address])

    async def _serve(self, address: Address, scope: trio.CancelScope) -> None:
        with scope:
            await self.serve(address)

    async def serve(self, address: Address) -> None:
        """For ever."""
        listeners = await trio.open_tcp_listeners(address.port, host=address.ip, backlog=512)
        await trio.serve_listeners(partial(self._join, address), listeners)

    async def _join(self, address: Address, stream: trio.SocketStream) -> None:
        endpoints = self._ready.get(address) or []
        for endpoint in random.sample(endpoints, len(endpoints)):
            try:
                other = await trio.open_tcp_stream(*endpoint, happy_eyeballs_delay=1)
                break
            except OSError:
                continue  # between its end and the controller's news of it, as with a real proxy
        else:
            await trio.aclose_forcefully(stream)
            return
        async with other, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, stream, other)
            nursery.start_soon(_copy, other, stream)


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        while chunk := await source.receive_some(_CHUNK):
            await target.send_all(chunk)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(source)
        await trio.aclose_forcefully(target)


def endpoints_of(slices: Iterable[Object]) -> dict[Name, list[Object]]:
    """The slices of each Service."""
    found: dict[Name, list[Object]] = {}
    for each in slices:
        metadata = each["metadata"]
        service = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
        if service:
            found.setdefault(Name(metadata["namespace"], service), []).append(each)
    return found


def service_addresses(
    services: Iterable[Object], slices: Mapping[Name, list[Object]], balancers: Mapping[Name, str]
) -> dict[Address, list[tuple[str, int]]]:
    """ClusterIP and port, the node's address and node port, balancer and port -> ready endpoints."""
    found: dict[Address, list[tuple[str, int]]] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        if not address or address == "None":
            continue
        name = Name(service["metadata"]["namespace"], service["metadata"]["name"])
        for port in service["spec"]["ports"]:
            ready = list(_ready(slices.get(name, ()), port.get("name", "")))
            found[Address(address, port["port"])] = ready
            if port.get("nodePort"):
                found[Address(HOST_IP, port["nodePort"])] = ready
            if name in balancers:
                found[Address(balancers[name], port["port"])] = ready
    return found


def _ready(slices: Iterable[Object], port_name: str) -> Iterator[tuple[str, int]]:
    for each in slices:
        for port in each.get("ports") or ():
            if (port.get("name") or "") != port_name:
                continue
            for endpoint in each.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    yield from ((address, port["port"]) for address in endpoint["addresses"])

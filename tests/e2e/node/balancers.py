"""What a cloud does about LoadBalancer Services: an address each, told in the status, and a name in its DNS.

Owns: which address is whose, the names that external-dns makes. Does not own: serving them (services.py).
Rule: 1 a Service keeps its address until it is gone or asks for none.
"""

import ipaddress
from collections.abc import Iterable, Mapping

import httpx
import structlog
import trio

from tests.e2e.api import MERGE, ApiError, Name, Object, call, name_of
from tests.e2e.network import BALANCER_NET

_LOOK_SECONDS = 0.2
HOST_NAME = "external-dns.alpha.kubernetes.io/hostname"
"""Annotation of a Service: what its address is to be called."""

log = structlog.get_logger(__name__)


class Balancers:
    def __init__(self) -> None:
        self._free = ipaddress.ip_network(BALANCER_NET).hosts()
        self._given: dict[str, str] = {}

    def addresses(self, services: Iterable[Object]) -> dict[Name, str]:
        """Of each Service that asks for one; the same as before for who has one."""
        asking = {each["metadata"]["uid"]: name_of(each) for each in services if _asks(each)}
        self._given = {uid: self._given.get(uid) or str(next(self._free)) for uid in asking}
        return {asking[uid]: address for uid, address in self._given.items()}

    async def tell(self, client: httpx.AsyncClient, services: Mapping[Name, Object]) -> None:
        """Each Service its address, for ever."""
        while True:
            untold = [
                (name, address)
                for name, address in self.addresses(services.values()).items()
                if _told(services[name]) != [address]
            ]
            for name, address in untold:
                await _tell(client, name, address)
            await trio.sleep(_LOOK_SECONDS)


def _told(service: Object) -> list[str]:
    balancer = service.get("status", {}).get("loadBalancer") or {}
    return [each["ip"] for each in balancer.get("ingress") or ()]


async def _tell(client: httpx.AsyncClient, name: Name, address: str) -> None:
    path = f"/api/v1/namespaces/{name.namespace}/services/{name.name}/status"
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    try:
        await call(client, "PATCH", path, status, content_type=MERGE)
    except ApiError as error:
        log.info("balancer_not_told", service=str(name), error=str(error))
    except httpx.TransportError:
        pass  # the next look tries again


def host_names(services: Iterable[Object], balancers: Mapping[Name, str]) -> dict[str, list[str]]:
    """Full name -> addresses, of Services that are annotated with one."""
    return {
        asked: [balancers[name_of(each)]]
        for each in services
        if (asked := (each["metadata"].get("annotations") or {}).get(HOST_NAME))
        and name_of(each) in balancers
    }


def _asks(service: Object) -> bool:
    return service["spec"].get("type") == "LoadBalancer" and not service["metadata"].get("deletionTimestamp")

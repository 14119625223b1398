"""The cluster's DNS: names of Services and of pods behind headless ones.

Owns: the answers (Kubernetes' DNS specification 1.1, A records). Does not own: DNS messages (dnslib).
"""

from collections.abc import Iterable, Mapping

import trio
from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

from tests.e2e.api import Name, Object
from tests.e2e.network import DNS_IP

DOMAIN = "cluster.local"
_TTL_SECONDS = 1


def records(services: Iterable[Object], slices: Mapping[Name, list[Object]]) -> dict[str, list[str]]:
    """Full name -> addresses."""
    found: dict[str, list[str]] = {}
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        full = f"{metadata['name']}.{metadata['namespace']}.svc.{DOMAIN}"
        if spec.get("clusterIP") != "None":
            found[full] = [spec["clusterIP"]] if spec.get("clusterIP") else []
            continue
        found[full] = []
        for each in slices.get(Name(metadata["namespace"], metadata["name"]), ()):
            for endpoint in each.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue  # the controller calls all ready where publishNotReadyAddresses is set
                found[full] += endpoint["addresses"]
                if endpoint.get("hostname"):
                    found[f"{endpoint['hostname']}.{full}"] = list(endpoint["addresses"])
    return found


def resolv_conf(namespace: str) -> str:
    """What a pod of the namespace resolves with."""
    search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
    return f"nameserver {DNS_IP}\nsearch {search}\noptions ndots:5 timeout:2 attempts:3\n"


class Dns:
    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}

    async def run(self) -> None:
        socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with socket:
            await socket.bind((DNS_IP, 53))
            while True:
                data, peer = await socket.recvfrom(4096)
                try:
                    answer = self.answer(data)
                except DNSError:
                    continue
                await socket.sendto(answer, peer)

    def answer(self, query: bytes) -> bytes:
        """Raises DNSError where it is no query."""
        asked = DNSRecord.parse(query)
        reply = asked.reply()
        name = str(asked.q.qname).rstrip(".").lower()
        known = self.records.get(name)
        if known is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif asked.q.qtype == QTYPE.A:
            for address in known:
                reply.add_answer(RR(asked.q.qname, QTYPE.A, rdata=A(address), ttl=_TTL_SECONDS))
        packed: bytes = reply.pack()
        return packed

"""Who runs in a stack, in which order, with which settings and ports. Pure.

Owns: names, start order, ports, each process's environment. Does not own: the processes (processes.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.chassis.config import ServiceSettings, variable_of
from services.gateway.config import GatewaySettings
from services.metadata.config import MetadataSettings
from services.partition_owner.config import OwnerSettings

GATEWAYS = ("gateway-0", "gateway-1")
OWNERS = ("owner-0", "owner-1", "owner-2")
METADATA = ("metadata-0", "metadata-1")
SERVICES = (*GATEWAYS, *OWNERS, *METADATA)
"""Process i uses the ports base + 100 i and up."""
STORES = ("etcd", "minio")

START_ORDER = (STORES, METADATA, OWNERS, GATEWAYS)
"""Each wave is ready before the next one starts; the stack stops in the opposite order."""

BUCKET = "kafscale"
ACCESS_KEY = "kafscale"
SECRET_KEY = "kafscale-secret"  # noqa: S105 - of a MinIO on loopback that the stack itself starts
PORT_BASE_DEFAULT = 9092


_MODULES = {
    "gateway": "services.gateway",
    "owner": "services.partition_owner",
    "metadata": "services.metadata",
}
_SETTINGS: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "owner": OwnerSettings,
    "metadata": MetadataSettings,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """-1 where the process has no such port. For etcd and MinIO `kafka` is unused and `admin` and `rpc` are
    client and peer (etcd), API and console (MinIO)."""

    kafka: int = -1
    admin: int = -1
    rpc: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    port_base: int | None = PORT_BASE_DEFAULT
    """None: free ports, chosen once and kept over restarts (tests)."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Variables for each service that has such a setting, e.g. KAFSCALE_LEASE_SECONDS."""
    etcd_fsync: bool = True
    etcd_quota_bytes: int = 0
    """0: etcd's own default (--quota-backend-bytes)."""


def role_of(name: str) -> str:
    return name.rpartition("-")[0] or name


def module_of(name: str) -> str:
    return _MODULES[role_of(name)]


def ports_of(name: str, port_base: int) -> Ports:
    """The ports of a process of the stack whose first port is `port_base`."""
    order = (*SERVICES, *STORES)
    return _ports(
        name, tuple(range(port_base + 100 * order.index(name), port_base + 100 * order.index(name) + 3))
    )


def ports_from(name: str, numbers: tuple[int, int, int]) -> Ports:
    """The same process on any three ports."""
    return _ports(name, numbers)


def _ports(name: str, numbers: tuple[int, ...]) -> Ports:
    gateway = role_of(name) == "gateway"
    return Ports(kafka=numbers[0] if gateway else -1, admin=numbers[1], rpc=-1 if gateway else numbers[2])


def environment_of(
    name: str,
    ports: Ports,
    *,
    etcd: str,
    minio: str,
    metadata: tuple[str, ...],
    settings: StackSettings,
    advertised: tuple[str, int] | None = None,
) -> dict[str, str]:
    """The KAFSCALE_* variables of one service. `etcd`, `minio`: host:port; `metadata`: RPC addresses.

    `advertised`: host and port at which others reach it, where these are not its own.
    """
    chosen = {
        "KAFSCALE_INSTANCE": name,
        "KAFSCALE_ADMIN_PORT": str(ports.admin),
        "KAFSCALE_LOG_FORMAT": "json",
    }
    role = role_of(name)
    known = {variable_of(field) for field in _SETTINGS[role].model_fields}
    chosen |= {variable: value for variable, value in settings.extra.items() if variable in known}
    if role == "gateway":
        chosen |= {
            "KAFSCALE_KAFKA_PORT": str(ports.kafka),
            "KAFSCALE_METADATA_ADDRESSES": ",".join(metadata),
            "KAFSCALE_ADVERTISED_MODE": "instance",
        }
    if role == "owner":
        chosen |= {
            "KAFSCALE_RPC_PORT": str(ports.rpc),
            "KAFSCALE_METADATA_ADDRESSES": ",".join(metadata),
            "KAFSCALE_S3_BUCKET": BUCKET,
            "KAFSCALE_S3_ENDPOINT": f"http://{minio}",
            "KAFSCALE_S3_REGION": "us-east-1",
            "KAFSCALE_S3_ACCESS_KEY": ACCESS_KEY,
            "KAFSCALE_S3_SECRET_KEY": SECRET_KEY,
        }
    if role == "metadata":
        chosen |= {"KAFSCALE_RPC_PORT": str(ports.rpc), "KAFSCALE_ETCD_ENDPOINTS": f"http://{etcd}"}
    return chosen | _advertised(role, advertised)


def _advertised(role: str, address: tuple[str, int] | None) -> dict[str, str]:
    if address is None:
        return {}
    host, port = address
    if role == "gateway":
        return {"KAFSCALE_ADVERTISED_HOST": host, "KAFSCALE_ADVERTISED_PORT": str(port)}
    return {"KAFSCALE_ADVERTISED_RPC_ADDRESS": f"{host}:{port}"}

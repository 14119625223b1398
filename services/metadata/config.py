"""The metadata service's settings (design section 9).

Owns: names, defaults and checks. Does not own: reading them (libs/chassis), the group coordinator's bounds
(groups/config.py).
"""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from libs.chassis.config import Addresses, Port, ServiceSettings
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX


class MetadataOptions(BaseModel):
    """What the metadata service can be told, alone or inside the standalone process."""

    lease_seconds: float = Field(
        default=6.0, ge=2, le=300, description="how long a silent owner, gateway or replica counts as alive"
    )
    default_partitions: int = Field(
        default=1, ge=1, le=PARTITIONS_PER_TOPIC_MAX, description="partitions of a topic that says no number"
    )
    moves_in_flight_max: int = Field(
        default=8, ge=1, le=64, description="partitions that one owner gives away at a time"
    )
    history_revisions: int = Field(
        default=10_000,
        ge=1000,
        description="changes that the store remembers for watchers; older are compacted",
    )


class MetadataSettings(MetadataOptions, ServiceSettings):
    """Fronts etcd, or an embedded SQLite, for topics, assignments, groups and producer ids."""

    service: ClassVar[str] = "metadata"

    rpc_port: Port = Field(default=9094, description="internal RPC between the services")
    advertised_rpc_address: str = Field(
        default="", description="host:port at which the other replicas and gateways reach it; empty: as bound"
    )
    etcd_endpoints: Addresses = Field(
        default=(), description="etcd's endpoints, by commas; empty: an embedded store in KAFSCALE_DATA_DIR"
    )
    etcd_username: str = Field(default="", description="etcd's user, where it asks for one")
    etcd_password: SecretStr = Field(default=SecretStr(""), description="that user's password")
    etcd_ca_file: Path | None = Field(default=None, description="PEM roots to trust for https endpoints")
    etcd_cert_file: Path | None = Field(default=None, description="PEM certificate shown to etcd")
    etcd_key_file: Path | None = Field(default=None, description="PEM key of that certificate")
    data_dir: Path = Field(default=Path("data"), description="folder of the embedded store")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if bool(self.etcd_username) != bool(self.etcd_password.get_secret_value()):
            raise ValueError(
                "KAFSCALE_ETCD_USERNAME and KAFSCALE_ETCD_PASSWORD go together: set both or none"
            )
        if (self.etcd_cert_file is None) != (self.etcd_key_file is None):
            raise ValueError(
                "KAFSCALE_ETCD_CERT_FILE and KAFSCALE_ETCD_KEY_FILE go together: set both or none"
            )
        schemes = {endpoint.partition("://")[0] for endpoint in self.etcd_endpoints if "://" in endpoint}
        if not schemes <= {"http", "https"}:
            raise ValueError("KAFSCALE_ETCD_ENDPOINTS has endpoints that are neither http:// nor https://")
        return self

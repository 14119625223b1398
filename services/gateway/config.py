"""The gateway's settings (design section 9).

Owns: names, defaults and checks. Does not own: reading them (libs/chassis).
"""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from libs.chassis.config import Addresses, Port, ServiceSettings
from libs.chassis.topic_defaults import TopicDefaults
from libs.model.limits import MIB, REQUEST_BYTES_MAX


class GatewayOptions(TopicDefaults):
    """What a gateway can be told, alone or inside the standalone process."""

    kafka_port: Port = Field(default=9092, description="port that Kafka clients connect to")
    kafka_tls_cert_file: Path | None = Field(
        default=None,
        description="PEM certificate chain shown to Kafka clients, who then have to speak TLS; unset: no TLS",
    )
    kafka_tls_key_file: Path | None = Field(default=None, description="PEM key of that certificate")
    zone: str = Field(default="", description="availability zone, told to clients as the rack")
    advertised_mode: Literal["instance", "service"] = Field(
        default="instance",
        description="instance: each gateway has its own address; service: one address for all of them",
    )
    advertised_host: str = Field(default="", description="host told to clients; empty: the address bound")
    advertised_port: Port = Field(default=0, description="port told to clients; 0: the port bound")
    auto_create_topics: bool = Field(default=True, description="create a topic when it is first asked for")
    connections_max: int = Field(
        default=20_000, ge=1, description="Kafka connections at a time, if the process may open so many files"
    )
    connection_idle_seconds: float = Field(
        default=600.0, gt=0, description="a connection that asks nothing for so long is closed"
    )
    connection_stall_seconds: float = Field(
        default=60.0,
        gt=0,
        description="a connection that stops in the middle of a request or answer is closed",
    )
    connection_requests_max: int = Field(
        default=256, ge=1, description="unanswered requests of one connection before it is read no further"
    )
    request_bytes_max: int = Field(
        default=REQUEST_BYTES_MAX, ge=1024, le=REQUEST_BYTES_MAX, description="size of one request"
    )
    connection_bytes_max: int = Field(
        default=REQUEST_BYTES_MAX, ge=1024, description="unanswered request bytes of one connection"
    )
    in_flight_bytes_max: int = Field(
        default=512 * MIB, ge=1024, description="unanswered request bytes of all connections together"
    )
    fetch_bytes_max: int = Field(
        default=55 * MIB, ge=1024, description="record bytes in one answer, whatever a client asks for"
    )
    fetched_bytes_max: int = Field(
        default=512 * MIB, ge=1024, description="record bytes on their way to all clients together"
    )
    produce_seconds_max: float = Field(
        default=120.0, gt=0, description="longest time that a produce request may ask to wait"
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.request_bytes_max > min(self.connection_bytes_max, self.in_flight_bytes_max):
            raise ValueError(
                "KAFSCALE_REQUEST_BYTES_MAX must not be above KAFSCALE_CONNECTION_BYTES_MAX"
                " or KAFSCALE_IN_FLIGHT_BYTES_MAX"
            )
        if self.fetch_bytes_max > self.fetched_bytes_max:
            raise ValueError("KAFSCALE_FETCH_BYTES_MAX must not be above KAFSCALE_FETCHED_BYTES_MAX")
        if (self.kafka_tls_cert_file is None) != (self.kafka_tls_key_file is None):
            raise ValueError(
                "KAFSCALE_KAFKA_TLS_CERT_FILE and KAFSCALE_KAFKA_TLS_KEY_FILE go together: set both, or none"
            )
        return self


class GatewaySettings(GatewayOptions, ServiceSettings):
    """Terminates Kafka connections and routes them to partition owners."""

    service: ClassVar[str] = "gateway"

    metadata_addresses: Addresses = Field(description="host:port of the metadata replicas, by commas")

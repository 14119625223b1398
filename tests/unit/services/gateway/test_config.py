"""Bounds that contradict each other are refused with the variables' names."""

import pytest

from libs.model.errors import Invalid
from services.gateway.config import GatewayOptions, GatewaySettings

BASE = {"KAFSCALE_METADATA_ADDRESSES": "a:1, b:2"}


def test_defaults() -> None:
    settings = GatewaySettings.load(argv=[], environ=BASE)
    assert (settings.kafka_port, settings.advertised_mode) == (9092, "instance")
    assert settings.metadata_addresses == ("a:1", "b:2")
    assert settings.auto_create_topics
    assert settings.topic_defaults() == {}
    GatewayOptions()


def test_environment() -> None:
    environ = {**BASE, "KAFSCALE_AUTO_CREATE_TOPICS": "false", "KAFSCALE_ADVERTISED_MODE": "service"}
    argv = ["--kafka-port", "1234", "--default-retention-ms", "-1"]
    settings = GatewaySettings.load(argv=argv, environ=environ)
    assert settings.topic_defaults() == {"retention.ms": "-1"}
    assert (settings.kafka_port, settings.advertised_mode) == (1234, "service")
    assert not settings.auto_create_topics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFSCALE_ADVERTISED_MODE", "magic"),
        ("KAFSCALE_KAFKA_PORT", "70000"),
        ("KAFSCALE_IN_FLIGHT_BYTES_MAX", "1000000"),
        ("KAFSCALE_FETCHED_BYTES_MAX", "1000000"),
        ("KAFSCALE_DEFAULT_RETENTION_MS", "0"),
        ("KAFSCALE_DEFAULT_RETENTION_MS", "-2"),
        ("KAFSCALE_DEFAULT_RETENTION_BYTES", "0"),
        ("KAFSCALE_DEFAULT_RETENTION_BYTES", "9223372036854775808"),
    ],
)
def test_bad_values(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name):
        GatewaySettings.load(argv=[], environ={**BASE, name: value})

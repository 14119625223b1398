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
    GatewayOptions()


def test_environment() -> None:
    environ = {**BASE, "KAFSCALE_AUTO_CREATE_TOPICS": "false", "KAFSCALE_ADVERTISED_MODE": "service"}
    settings = GatewaySettings.load(argv=["--kafka-port", "1234"], environ=environ)
    assert (settings.kafka_port, settings.advertised_mode) == (1234, "service")
    assert not settings.auto_create_topics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFSCALE_ADVERTISED_MODE", "magic"),
        ("KAFSCALE_KAFKA_PORT", "70000"),
        ("KAFSCALE_IN_FLIGHT_BYTES_MAX", "1000000"),
        ("KAFSCALE_FETCHED_BYTES_MAX", "1000000"),
    ],
)
def test_bad_values(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name):
        GatewaySettings.load(argv=[], environ={**BASE, name: value})

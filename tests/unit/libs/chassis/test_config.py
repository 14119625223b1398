"""Settings: every error names the variable, and no secret is ever shown."""

from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from libs.chassis.config import Addresses, Port, ServiceSettings
from libs.model.errors import Invalid, Reason


class Settings(ServiceSettings):
    """A service for tests."""

    service: ClassVar[str] = "example"

    kafka_port: Port = 9092
    metadata_addresses: Addresses = ()
    s3_secret_key: SecretStr | None = Field(default=None, min_length=4)


def test_defaults_variables_and_flags_in_that_order() -> None:
    environ = {"KAFSCALE_KAFKA_PORT": "1000", "KAFSCALE_ADMIN_PORT": "2000", "PATH": "/bin"}
    settings = Settings.load(argv=["--admin-port", "3000"], environ=environ)
    assert (settings.kafka_port, settings.admin_port, settings.log_level) == (1000, 3000, "info")


def test_addresses_are_split_at_commas() -> None:
    settings = Settings.load(argv=[], environ={"KAFSCALE_METADATA_ADDRESSES": "a:1, b:2,"})
    assert settings.metadata_addresses == ("a:1", "b:2")


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Settings.load(argv=[], environ={"KAFSCALE_KAFKA_PORT": ""}).kafka_port == 9092


@pytest.mark.parametrize("value", ["banana", "-1", "65536"])
def test_a_bad_value_names_its_variable_and_itself(value: str) -> None:
    with pytest.raises(Invalid, match=rf"KAFSCALE_KAFKA_PORT: .*{value}") as caught:
        Settings.load(argv=[], environ={"KAFSCALE_KAFKA_PORT": value})
    assert caught.value.reason is Reason.INVALID_CONFIG


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="KAFSCALE_KAFKA_PROT is unknown; did you mean KAFSCALE_KAFKA_PORT"):
        Settings.load(argv=[], environ={"KAFSCALE_KAFKA_PROT": "1"})


def test_what_kubernetes_injects_is_ignored() -> None:
    injected = {
        "KAFSCALE_METADATA_SERVICE_HOST": "10.0.0.1",
        "KAFSCALE_METADATA_SERVICE_PORT_GRPC": "9094",
        "KAFSCALE_METADATA_PORT": "tcp://10.0.0.1:9094",
        "KAFSCALE_METADATA_PORT_9094_TCP_ADDR": "10.0.0.1",
    }
    assert Settings.load(argv=[], environ=injected) == Settings.load(argv=[], environ={})


def test_secrets_are_never_shown() -> None:
    with pytest.raises(Invalid) as caught:
        Settings.load(argv=[], environ={"KAFSCALE_S3_SECRET_KEY": "abc"})
    assert "KAFSCALE_S3_SECRET_KEY" in caught.value.message
    assert "abc" not in caught.value.message
    assert "hidden" not in repr(Settings.load(argv=[], environ={"KAFSCALE_S3_SECRET_KEY": "hidden"}))


def test_help_lists_every_flag_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Settings.load(argv=["--help"], environ={})
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for field in Settings.model_fields:
        assert "--" + field.replace("_", "-") in shown
        assert "KAFSCALE_" + field.upper() in shown

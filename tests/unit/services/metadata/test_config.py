"""Settings: what belongs together, what is refused, what is never shown."""

import pytest

from libs.model.errors import Invalid
from services.metadata.config import MetadataSettings


def load(**environ: str) -> MetadataSettings:
    return MetadataSettings.load(
        argv=[], environ={f"KAFSCALE_{name}": value for name, value in environ.items()}
    )


def test_nothing_set_means_an_embedded_store() -> None:
    settings = load()
    assert settings.etcd_endpoints == ()
    assert settings.lease_seconds == 6
    assert settings.default_partitions == 1


def test_etcd_by_endpoints_and_a_password_that_is_not_shown() -> None:
    settings = load(
        ETCD_ENDPOINTS="http://a:2379,https://b:2379 c:2379",
        ETCD_USERNAME="root",
        ETCD_PASSWORD="hidden-word",
    )
    assert settings.etcd_endpoints == ("http://a:2379", "https://b:2379", "c:2379")
    assert "hidden-word" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ETCD_USERNAME": "root"}, "KAFSCALE_ETCD_PASSWORD"),
        ({"ETCD_PASSWORD": "hidden-word"}, "KAFSCALE_ETCD_USERNAME"),
        ({"ETCD_CERT_FILE": "c.pem"}, "KAFSCALE_ETCD_KEY_FILE"),
        ({"ETCD_ENDPOINTS": "ftp://a:1"}, "KAFSCALE_ETCD_ENDPOINTS"),
        ({"LEASE_SECONDS": "0.5"}, "KAFSCALE_LEASE_SECONDS"),
        ({"DEFAULT_PARTITIONS": "2000"}, "KAFSCALE_DEFAULT_PARTITIONS"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(Invalid, match=named) as caught:
        load(**environ)
    assert "hidden-word" not in caught.value.message

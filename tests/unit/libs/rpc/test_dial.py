"""Addresses."""

import pytest

from libs.model.errors import Invalid, Reason
from libs.rpc.dial import parse_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:9094", "127.0.0.1", 9094),
        ("owner-0.owners.svc:1", "owner-0.owners.svc", 1),
        ("[::1]:80", "::1", 80),
    ],
)
def test_addresses(address: str, host: str, port: int) -> None:
    assert parse_address(address) == (host, port)


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(Invalid, match="expected host:port") as caught:
        parse_address(address)
    assert caught.value.reason is Reason.INVALID_CONFIG

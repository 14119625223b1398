"""TLS and mutual TLS from files, between our own peers."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from libs.model.errors import Invalid, Reason, Unavailable
from libs.rpc import ClientTls, Server, ServerTls, open_channel, open_tcp_listeners
from tests.contract.rpc.certificates import Certificates
from tests.contract.rpc.echo import Echo, EchoStub, value
from tests.contract.rpc.harness import connected, serving

MIB = 1024 * 1024


async def test_calls_over_tls(certificates: Certificates) -> None:
    tls = (certificates.server(), certificates.client())
    async with connected("socket", tls=tls) as pair:
        assert await pair.stub.Unary(value(b"x" * 3 * MIB)) == value(b"x" * 3 * MIB)
        assert len(await pair.stub.Chat([value(b"y" * 10_000)] * 50)) == 50


async def test_mutual_tls_shows_the_client_to_the_handler(certificates: Certificates) -> None:
    names: list[Any] = []

    async def handle(stream: Any) -> None:
        names.append(stream.peer.cert()["subjectAltName"])
        await stream.send_message(await stream.recv_message())

    tls = (certificates.server(mutual=True), certificates.client(mutual=True))
    async with connected("socket", handle, tls=tls) as pair:
        await pair.stub.Unary(value(b"x"))
    assert names == [(("DNS", "client.test"),)]


async def test_a_client_without_a_certificate_is_refused(certificates: Certificates) -> None:
    tls = (certificates.server(mutual=True), certificates.client())
    async with connected("socket", tls=tls) as pair:
        with pytest.raises(Unavailable):
            await pair.stub.Unary(value(b"x"))
        assert pair.server.statistics().calls_started == {}


async def test_a_server_of_another_authority_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    tls = (certificates.server(), ClientTls(ca_file=other))
    async with connected("socket", tls=tls) as pair:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await pair.stub.Unary(value(b"x"))
        assert not caught.value.outcome_unknown


async def test_a_server_of_another_name_is_refused(certificates: Certificates) -> None:
    client = ClientTls(ca_file=certificates.ca_file, server_name="elsewhere.test")
    async with connected("socket", tls=(certificates.server(), client)) as pair:
        with pytest.raises(Unavailable, match="elsewhere"):
            await pair.stub.Unary(value(b"x"))


async def test_plain_and_tls_do_not_mix(certificates: Certificates) -> None:
    async with (
        serving(Server([Echo()]), tls=certificates.server()) as address,
        open_channel(address) as channel,
    ):
        with pytest.raises(Unavailable), trio.fail_after(5):
            await EchoStub(channel).Unary(value(b"x"))
    async with (
        serving(Server([Echo()])) as address,
        open_channel(address, tls=certificates.client()) as channel,
    ):
        with pytest.raises(Unavailable), trio.fail_after(5):
            await EchoStub(channel).Unary(value(b"x"))


async def test_files_that_cant_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(Invalid, match=r"missing\.pem") as caught:
        async with open_channel("127.0.0.1:1", tls=ClientTls(ca_file=missing)):
            pass
    assert caught.value.reason is Reason.INVALID_CONFIG
    with pytest.raises(Invalid, match=r"missing\.pem"):
        await open_tcp_listeners(
            "127.0.0.1", 0, tls=ServerTls(cert_file=missing, key_file=certificates.server().key_file)
        )

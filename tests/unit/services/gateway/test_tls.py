"""Kafka over TLS: what clients see, files that can't be used, files that are renewed."""

import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from libs.model.errors import Invalid
from services.gateway import tls
from services.gateway.config import GatewaySettings
from services.gateway.tls import LOOK_SECONDS, KafkaTls, send_bytes_max
from tests.support.certificates import ServerCertificate, issue
from tests.unit.services.gateway.client import Client, connected
from tests.unit.services.gateway.cluster import Served, open_served

HOST = "127.0.0.1"
KEY_WITH_A_PASSWORD = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBB9d8+opK6kBvjPRt1u
gLPcAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ+sTuxiKcCDTHRj/I
MHxBFwSBkKW2oWPpDsdv70sXvPE6A7w7JXKPZdDsqFSuqw6B9aZHE87077yzVR2U
KiAhTwLkTJXuN9ccTJRraHypVtnl67ZPI9j43NCBaVgjlhyYACvLYFKpMBNybepG
TbdhEMkl8xwcVZGc+RXQ4xddtBJdDmRF0xD0x+SnvBm9pRKlPNHShZoAoS+JaYCH
YE9oRiyx3Q==
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return issue(tmp_path / "secret", HOST)


@asynccontextmanager
async def served_by(certificate: ServerCertificate, **options: Any) -> AsyncIterator[Served]:
    async with open_served(
        kafka_tls_cert_file=certificate.cert_file, kafka_tls_key_file=certificate.key_file, **options
    ) as served:
        yield served


@asynccontextmanager
async def connected_by_tls(served: Served, certificate: ServerCertificate) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=certificate.ca_file)
    stream = await trio.open_ssl_over_tcp_stream(HOST, served.port, ssl_context=context)
    try:
        await stream.do_handshake()
        yield Client(stream)
    finally:
        await trio.aclose_forcefully(stream)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


async def test_requests_and_answers(certificate: ServerCertificate) -> None:
    async with served_by(certificate) as served:
        served.cluster.metadata.create("orders", 2)
        await served.cluster.wait_seen()
        async with connected_by_tls(served, certificate) as client:
            assert isinstance(client.stream, trio.SSLStream)
            assert client.stream.version() == "TLSv1.3"
            await client.ask(18, 0)
            for _ in range(3):  # pipelined
                await client.send(3, 9, {"topics": [{"name": "orders"}], "allow_auto_topic_creation": False})
            for _ in range(3):
                answer = await client.receive()
                assert len(answer.topics[0].partitions) == 2
            assert answer.brokers[0].port == served.port


async def test_the_end_of_a_session_is_said(certificate: ServerCertificate) -> None:
    """A connection that is cut would be an error in clients' logs."""
    async with served_by(certificate, connection_idle_seconds=0.1) as served:
        async with connected_by_tls(served, certificate) as client:
            await client.ask(18, 0)
            with trio.fail_after(5):
                assert await client.receive_frame() is None  # BrokenResourceError without a close_notify
        await until(lambda: not served.gateway.statistics().connections)


async def test_who_speaks_no_tls_or_distrusts_is_closed(certificate: ServerCertificate) -> None:
    async with served_by(certificate) as served:
        with capture_logs() as logs:
            async with connected(served.port) as plain:
                await plain.send(18, 0)
                with trio.fail_after(5), suppress(trio.BrokenResourceError):
                    while await plain.stream.receive_some():  # an alert, which is no frame
                        pass
            stranger = ssl.create_default_context()
            stream = await trio.open_ssl_over_tcp_stream(HOST, served.port, ssl_context=stranger)
            with pytest.raises(trio.BrokenResourceError):
                await stream.do_handshake()
            await trio.aclose_forcefully(stream)
            old = ssl.create_default_context(cafile=certificate.ca_file)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            stream = await trio.open_ssl_over_tcp_stream(HOST, served.port, ssl_context=old)
            await stream.do_handshake()
            assert stream.version() == "TLSv1.2"
            await trio.aclose_forcefully(stream)
            await until(lambda: not served.gateway.statistics().connections)
        failed = [each for each in logs if each["event"] == "tls_handshake_failed"]
        assert len(failed) == 2
        assert all(each["peer"].startswith(HOST) for each in failed)


async def test_a_handshake_counts_and_has_an_end(
    certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_HANDSHAKE_SECONDS", 0.2)
    async with served_by(certificate, connections_max=1) as served:
        async with connected(served.port) as silent:
            await until(lambda: bool(served.gateway.statistics().connections))
            with trio.fail_after(5):
                async with connected(served.port) as second:
                    assert await second.receive_frame() is None
                assert served.gateway.statistics().connections_refused == 1
                assert await silent.receive_frame() is None
        async with connected_by_tls(served, certificate) as client:
            await client.ask(18, 0)


async def test_a_drain_says_goodbye(certificate: ServerCertificate) -> None:
    async with served_by(certificate) as served, connected_by_tls(served, certificate) as client:
        await client.ask(18, 0)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(served.gateway.drain, trio.current_time() + 4)
                assert await client.receive_frame() is None


async def test_large_answers_and_a_client_that_asks_meanwhile(certificate: ServerCertificate) -> None:
    """Reading and writing are two tasks on one session."""
    async with served_by(certificate) as served:
        for number in range(200):
            served.cluster.metadata.create(f"topic-{number}", 20)
        await served.cluster.wait_seen()
        async with connected_by_tls(served, certificate) as client, trio.open_nursery() as nursery:
            asked = 20

            async def ask() -> None:
                for _ in range(asked):
                    await client.send(3, 9, {"topics": None, "allow_auto_topic_creation": False})

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            for _ in range(asked):
                assert len((await client.receive()).topics) == 200


def serial_of(context: ssl.SSLContext, ca_file: Path) -> str:
    """Of the certificate that a server with this context shows, by a handshake in memory."""
    client = ssl.create_default_context(cafile=ca_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=HOST)
    for _ in range(4):
        for side in (theirs, ours):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = theirs.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


async def test_renewed_files_are_taken(tmp_path: Path, autojump_clock: MockClock) -> None:
    authority = trustme.CA()
    certificate = issue(tmp_path / "secret", HOST, authority=authority)
    other = issue(tmp_path / "new", HOST, authority=authority)
    followed = KafkaTls(cert_file=certificate.cert_file, key_file=certificate.key_file)

    def shown() -> str:
        return serial_of(followed._context, certificate.ca_file)

    first = shown()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(followed.run)
        await trio.sleep(LOOK_SECONDS * 3)
        assert shown() == first
        with capture_logs() as logs:
            shutil.copy(other.cert_file, certificate.cert_file)  # its key comes later
            await trio.sleep(LOOK_SECONDS * 3)
            assert shown() == first
            certificate.key_file.unlink()
            await trio.sleep(LOOK_SECONDS * 3)
            assert shown() == first
            shutil.copy(other.key_file, certificate.key_file)
            await trio.sleep(LOOK_SECONDS + 1)
            assert shown() != first
        assert [each["event"] for each in logs] == [
            "tls_files_unusable",
            "tls_files_unusable",
            "tls_files_taken",
        ]
        nursery.cancel_scope.cancel()


async def test_files_behind_a_link_as_kubernetes_exchanges_them(tmp_path: Path) -> None:
    authority = trustme.CA()
    issue(tmp_path / "..1", HOST, authority=authority)
    issue(tmp_path / "..2", HOST, authority=authority)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    followed = KafkaTls(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    first = serial_of(followed._context, tmp_path / "ca.crt")
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    followed.look_again()
    assert serial_of(followed._context, tmp_path / "ca.crt") != first


def _remove(path: str) -> Callable[[ServerCertificate, Path], None]:
    return lambda certificate, _: getattr(certificate, path).unlink()


def _other_key(certificate: ServerCertificate, folder: Path) -> None:
    shutil.copy(issue(folder / "other", HOST).key_file, certificate.key_file)


def _no_pem(certificate: ServerCertificate, _: Path) -> None:
    certificate.cert_file.write_text("not a certificate")


def _large(certificate: ServerCertificate, _: Path) -> None:
    certificate.key_file.write_bytes(bytes(1024 * 1024 + 1))


def _with_password(certificate: ServerCertificate, _: Path) -> None:
    certificate.key_file.write_text(KEY_WITH_A_PASSWORD)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_remove("cert_file"), "KAFSCALE_KAFKA_TLS_CERT_FILE: .*tls.crt can't be read: No such file"),
        (_remove("key_file"), "KAFSCALE_KAFKA_TLS_KEY_FILE: .*tls.key can't be read: No such file"),
        (_other_key, "KAFSCALE_KAFKA_TLS_KEY_FILE: the key in .* is not that of the certificate in "),
        (_no_pem, "tls.crt has to hold a PEM certificate chain"),
        (_with_password, "PEM key without a password"),
        (_large, "KAFSCALE_KAFKA_TLS_KEY_FILE: .* has 1048577 bytes"),
    ],
)
async def test_files_that_cannot_be_used_end_the_start(
    spoil: Callable[[ServerCertificate, Path], None],
    words: str,
    certificate: ServerCertificate,
    tmp_path: Path,
) -> None:
    spoil(certificate, tmp_path)
    with pytest.raises(Invalid, match=words):
        KafkaTls(cert_file=certificate.cert_file, key_file=certificate.key_file)


@pytest.mark.parametrize("name", ["CERT", "KEY"])
def test_one_without_the_other_is_refused(name: str) -> None:
    environ = {"KAFSCALE_METADATA_ADDRESSES": "a:1", f"KAFSCALE_KAFKA_TLS_{name}_FILE": "x"}
    with pytest.raises(Invalid, match="go together"):
        GatewaySettings.load(argv=[], environ=environ)


async def test_a_session_keeps_no_buffer_as_large_as_its_largest_answer(
    certificate: ServerCertificate,
) -> None:
    """OpenSSL keeps what it once needed: records of 16 KiB are what it has anyway."""
    async with served_by(certificate) as served, connected_by_tls(served, certificate) as client:
        await client.ask(18, 0)
        assert send_bytes_max(client.stream, 1 << 20) == 16 * 1024
    async with open_served() as served, connected(served.port) as plain:
        assert send_bytes_max(plain.stream, 1 << 20) == 1 << 20

"""S3's answers, byte for byte from a canned server, in the platform's kinds of error."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from botocore.exceptions import CredentialRetrievalError
from pydantic import SecretStr

from libs.model.errors import Invalid, KafscaleError, NotFound, Unavailable
from libs.objectstore.opening import ObjectStoreSettings
from libs.objectstore.pools import store_threads
from libs.objectstore.port import ObjectStore, PutResult
from libs.objectstore.s3 import S3Settings, open_s3_store

BODY = b"x" * 300_000


def answer(status: int, code: str = "", headers: str = "", body: bytes | None = None) -> bytes:
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    content = body if body is not None else document if code else b""
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head


@contextmanager
def server(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Gives one answer a connection, then closes it; an empty answer is a lost reply."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for reply in answers:
                connection, _ = listener.accept()
                with (
                    suppress(ssl.SSLError),
                    tls.wrap_socket(connection, True) if tls else connection as connection,
                ):
                    heads.append(read_request(connection))
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", heads
        thread.join()


async def ask(
    endpoint: str,
    call: Callable[[ObjectStore], object],
    *,
    ca_file: str | None = None,
    kms_key: str | None = None,
) -> object:
    settings = S3Settings(
        bucket="b",
        endpoint=endpoint,
        access_key="k",
        secret_key=SecretStr("s"),
        ca_file=ca_file,
        kms_key=kms_key,
    )
    threads = store_threads(puts_max=1, gets_max=1)
    async with open_s3_store(settings, threads=threads, connections_max=1) as store:
        return await call(store)  # type: ignore[misc]


async def failure(endpoint: str, call: Callable[[ObjectStore], object]) -> KafscaleError:
    with pytest.raises(KafscaleError) as caught:
        await ask(endpoint, call)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "kind", "outcome_unknown"),
    [
        (answer(503, "SlowDown"), Unavailable, False),
        (answer(503), Unavailable, True),  # a proxy's, perhaps: S3 always says a code
        (answer(409, "ConditionalRequestConflict"), Unavailable, False),
        (answer(429, "TooManyRequests"), Unavailable, False),
        (answer(400, "RequestTimeout"), Unavailable, False),
        (answer(400, "BadDigest"), Unavailable, False),
        (answer(400, "KMS.ThrottlingException"), Unavailable, False),
        (answer(400, "KMS.DisabledException"), Invalid, None),
        (answer(500, "InternalError"), Unavailable, True),
        (answer(502, body=b"<html>Bad Gateway</html>"), Unavailable, True),
        (answer(504), Unavailable, True),
        (answer(404), Unavailable, True),  # an ingress without a backend: a put has no object to miss
        (answer(404, "NoSuchKey"), Unavailable, True),
        (b"", Unavailable, True),
        (b"HTTP/1.1 20", Unavailable, True),
        (b"garbage\r\n\r\n", Unavailable, True),
        (answer(404, "NoSuchBucket"), Invalid, None),
        (answer(403, "AccessDenied"), Invalid, None),
        (answer(301, "PermanentRedirect", "Location: http://127.0.0.1:1/\r\n"), Invalid, None),
        (answer(400, "InvalidRequest"), Invalid, None),
        (answer(501, "NotImplemented"), Invalid, None),
    ],
)
async def test_a_put_that_fails(
    reply: bytes, kind: type[KafscaleError], outcome_unknown: bool | None
) -> None:
    with server(reply) as (endpoint, _):
        error = await failure(endpoint, lambda store: store.put_if_absent("a", BODY))
    assert type(error) is kind
    assert getattr(error, "outcome_unknown", None) is outcome_unknown


async def test_the_condition_is_the_stores_to_decide() -> None:
    with server(answer(412, "PreconditionFailed"), answer(200)) as (endpoint, heads):
        assert (
            await ask(endpoint, lambda store: store.put_if_absent("a b/é", [BODY, b"y"])) is PutResult.EXISTS
        )
        await ask(endpoint, lambda store: store.put("a", b""))
    assert b"PUT /b/a%20b/%C3%A9 HTTP/1.1" in heads[0]
    assert b"If-None-Match: *" in heads[0]
    assert b"x-amz-checksum-crc32c: " in heads[0]
    assert b"Content-Length: 300001" in heads[0]
    assert b"100-continue" not in heads[0]
    assert b"If-None-Match" not in heads[1]


async def test_every_put_names_the_kms_key_and_signs_it() -> None:
    key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"
    asked = (answer(200), answer(200), answer(412, "PreconditionFailed"), answer(200, body=b"1"))
    with server(*asked) as (endpoint, heads):
        await ask(endpoint, lambda store: store.put("a", BODY), kms_key=key)
        created = await ask(endpoint, lambda store: store.put_if_absent("a", BODY), kms_key=key)
        taken = await ask(endpoint, lambda store: store.put_if_absent("a", BODY), kms_key=key)
        await ask(endpoint, lambda store: store.get("a"), kms_key=key)
    assert (created, taken) == (PutResult.CREATED, PutResult.EXISTS)
    for head in heads[:3]:
        assert b"x-amz-server-side-encryption: aws:kms\r\n" in head
        assert f"x-amz-server-side-encryption-aws-kms-key-id: {key}\r\n".encode() in head
        (signed,) = (part for part in head.split() if part.startswith(b"SignedHeaders="))
        assert b"x-amz-server-side-encryption;x-amz-server-side-encryption-aws-kms-key-id" in signed
    assert b"server-side-encryption" not in heads[3]


async def test_without_a_kms_key_the_bucket_decides() -> None:
    with server(answer(200), answer(412, "PreconditionFailed")) as (endpoint, heads):
        await ask(endpoint, lambda store: store.put("a", BODY))
        with pytest.raises(Invalid):  # a precondition that was never set
            await ask(endpoint, lambda store: store.put("a", BODY), kms_key="k")
    assert b"server-side-encryption" not in heads[0]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(404, "NoSuchKey"), NotFound),
        (answer(404, "NoSuchBucket"), Invalid),
        (answer(403, "SignatureDoesNotMatch"), Invalid),
        (answer(503, "SlowDown"), Unavailable),
        (b"", Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", Unavailable),
    ],
)
async def test_a_get_that_fails(reply: bytes, kind: type[KafscaleError]) -> None:
    with server(reply) as (endpoint, _):
        error = await failure(endpoint, lambda store: store.get("a"))
    assert type(error) is kind
    assert not getattr(error, "outcome_unknown", False)


class LostCredentials:
    """A role whose credentials can't be fetched at the moment."""

    def get_frozen_credentials(self) -> None:
        raise CredentialRetrievalError(provider="assume-role", error_msg="no answer")


async def test_credentials_that_cannot_be_fetched_now_are_no_end() -> None:
    settings = S3Settings(
        bucket="b", endpoint="http://127.0.0.1:1", access_key="k", secret_key=SecretStr("s")
    )
    threads = store_threads(puts_max=1, gets_max=1)
    async with open_s3_store(settings, threads=threads, connections_max=1) as store:
        store._wire._credentials = LostCredentials()  # type: ignore[assignment]
        with pytest.raises(Unavailable) as put:
            await store.put_if_absent("a", BODY)
        with pytest.raises(Unavailable):
            await store.get("a")
    assert not put.value.outcome_unknown


async def test_over_tls_the_checksum_is_left_to_it(tmp_path: Path) -> None:
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with server(answer(200), tls=tls) as (endpoint, heads):
        await ask(endpoint, lambda store: store.put("a", BODY), ca_file=str(tmp_path / "ca.pem"))
    assert b"x-amz-checksum" not in heads[0]
    assert b"X-Amz-Content-SHA256: UNSIGNED-PAYLOAD" in heads[0]


async def test_a_server_that_is_not_trusted_is_sent_nothing() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with server(answer(200), tls=tls) as (endpoint, heads):
        error = await failure(endpoint, lambda store: store.put("a", BODY))
    assert isinstance(error, Unavailable)
    assert "certificate" in error.message
    assert not error.outcome_unknown
    assert heads == []


async def test_a_delete_that_fails_for_one_key() -> None:
    document = b"<DeleteResult><Error><Key>a</Key><Code>InternalError</Code></Error></DeleteResult>"
    with server(answer(200, body=document)) as (endpoint, _):
        error = await failure(endpoint, lambda store: store.delete(["a", "b"]))
    assert isinstance(error, Unavailable)
    assert "'a'" in error.message


def test_secrets_are_never_shown() -> None:
    secret = SecretStr("do-not-show")
    shown = repr(ObjectStoreSettings(secret_key=secret)) + repr(S3Settings(bucket="b", secret_key=secret))
    assert "do-not-show" not in shown

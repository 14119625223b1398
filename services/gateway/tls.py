"""TLS for Kafka clients: what certificate gateways show, and the handshake of a connection.

Owns: the files, taking them anew when they change, so that who renews certificates restarts nothing.
Does not own: connections, issuing certificates.
Rules: 1 files that can't be used end the start, with the setting's name; later the certificate before them
stays, with an error in the log, until they can; 2 a connection keeps the certificate that it began with; 3
who does not finish a handshake in time is closed.
"""

import os
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
import trio

from libs.model.errors import Invalid, Reason
from libs.model.limits import MIB

CERT_SETTING: Final = "KAFSCALE_KAFKA_TLS_CERT_FILE"
KEY_SETTING: Final = "KAFSCALE_KAFKA_TLS_KEY_FILE"
LOOK_SECONDS: Final = 10.0
"""How often it is looked whether the files changed."""
_HANDSHAKE_SECONDS: Final = 10.0
_GOODBYE_SECONDS: Final = 0.5
_FILE_BYTES_MAX: Final = MIB

log = structlog.get_logger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


_RECORD_BYTES: Final = 16 * 1024  # RFC 8446 section 5.1


class HandshakeFailed(Exception):
    """The client does not speak TLS, does not trust us, or was too slow."""


def send_bytes_max(stream: trio.abc.Stream, plain: int) -> int:
    """How many bytes to hand to the stream at a time, `plain` without TLS.

    OpenSSL keeps, for as long as a session lives, a buffer as large as what it was once given: a record's
    worth costs nothing, 1 MiB stays 1 MiB.
    """
    return _RECORD_BYTES if isinstance(stream, trio.SSLStream) else plain


class KafkaTls:
    """`wrap` connections, `run` to follow the files."""

    def __init__(self, *, cert_file: Path, key_file: Path) -> None:
        """`cert_file`: PEM, the certificate and those between it and its root. `key_file`: its PEM key.

        Raises Invalid(INVALID_CONFIG) that says which file is wrong and why.
        """
        self._files = ((CERT_SETTING, cert_file), (KEY_SETTING, key_file))
        self._stamp = self._look()
        self._context = self._load()
        self._said = ""

    async def run(self) -> None:
        """Follows the files until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            self.look_again()

    def look_again(self) -> None:
        """Takes the files anew if they changed."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._context = self._load()
        except Invalid as error:
            if error.message != self._said:
                log.error("tls_files_unusable", error=error.message)
            self._said = error.message
        else:
            self._stamp, self._said = stamp, ""
            log.info("tls_files_taken", cert_file=str(self._files[0][1]))

    async def wrap(self, stream: trio.abc.Stream) -> "trio.SSLStream[trio.abc.Stream]":
        """The stream after its handshake. Raises HandshakeFailed; closing is the caller's."""
        wrapped = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
        try:
            with trio.fail_after(_HANDSHAKE_SECONDS):
                await wrapped.do_handshake()
        except trio.TooSlowError:
            raise HandshakeFailed(f"no handshake within {_HANDSHAKE_SECONDS:g} seconds") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HandshakeFailed(str(error.__cause__ or error)) from error
        return wrapped

    def _look(self) -> _Stamp:
        return tuple(_stamp(setting, path) for setting, path in self._files)

    def _load(self) -> ssl.SSLContext:
        (_, cert_file), (_, key_file) = self._files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # With a password of no bytes a key that has one is an error, not a question on the terminal.
            context.load_cert_chain(cert_file, key_file, password=b"")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                text = f"{KEY_SETTING}: the key in {key_file} is not that of the certificate in {cert_file}"
            else:
                text = (
                    f"{CERT_SETTING}, {KEY_SETTING}: {cert_file} has to hold a PEM certificate chain,"
                    f" and {key_file} its PEM key without a password ({error.reason or error})"
                )
            raise _invalid(text) from error
        except OSError as error:
            raise _invalid(f"{CERT_SETTING}, {KEY_SETTING}: they can't be read: {error.strerror}") from error
        return context


async def say_goodbye(stream: trio.abc.Stream) -> None:
    """Ends a TLS session as the protocol has it, so that clients don't report a connection that was cut.

    What is below it is for the caller to close.
    """
    if isinstance(stream, trio.SSLStream):
        with (
            trio.move_on_after(_GOODBYE_SECONDS),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError),
        ):
            await stream.unwrap()


def _stamp(setting: str, path: Path) -> tuple[int, int, int]:
    """Changes when the file does, also behind a link, as Kubernetes exchanges a Secret's files."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        raise _invalid(f"{setting}: {path} can't be read: {error.strerror}") from error
    if found.st_size > _FILE_BYTES_MAX:
        raise _invalid(f"{setting}: {path} has {found.st_size} bytes, which is no certificate and no key")
    return found.st_ino, found.st_size, found.st_mtime_ns


def _invalid(text: str) -> Invalid:
    return Invalid(text, reason=Reason.INVALID_CONFIG)

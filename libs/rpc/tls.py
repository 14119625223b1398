"""TLS and mutual TLS from files.

Owns: how certificates become SSL contexts for HTTP/2 (ALPN h2, TLS 1.2 or newer). Does not own: when files
are read again; a context is built where a channel or a listener is opened.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from libs.model.errors import Invalid, Reason

ALPN_H2 = "h2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """What a channel trusts and shows.

    `ca_file`: PEM roots, the system's when None. `cert_file` and `key_file`: the client's own certificate for
    mutual TLS. `server_name`: the name to verify when it differs from the address's host.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises Invalid(INVALID_CONFIG) naming the file that can't be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise _unusable(error, self.ca_file, self.cert_file, self.key_file) from error
        return _h2_only(context)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What a server shows, and with `client_ca_file` which clients it admits (mutual TLS)."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises Invalid(INVALID_CONFIG) naming the file that can't be used."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.cert_file, self.key_file)
            if self.client_ca_file is not None:
                context.load_verify_locations(cafile=self.client_ca_file)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            raise _unusable(error, self.cert_file, self.key_file, self.client_ca_file) from error
        return _h2_only(context)


def _h2_only(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN_H2])
    return context


def _unusable(error: OSError, *files: Path | None) -> Invalid:
    names = ", ".join(str(file) for file in files if file is not None)
    return Invalid(f"TLS can't be set up from {names}: {error}", reason=Reason.INVALID_CONFIG)

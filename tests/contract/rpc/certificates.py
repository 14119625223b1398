"""Certificates of a throw-away authority, as files."""

from dataclasses import dataclass
from pathlib import Path

import trustme

from libs.rpc import ClientTls, ServerTls


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """An authority, a server 127.0.0.1 and a client client.test."""

    ca_file: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path

    def server(self, *, mutual: bool = False) -> ServerTls:
        return ServerTls(
            cert_file=self.server_cert,
            key_file=self.server_key,
            client_ca_file=self.ca_file if mutual else None,
        )

    def client(self, *, mutual: bool = False) -> ClientTls:
        if not mutual:
            return ClientTls(ca_file=self.ca_file)
        return ClientTls(ca_file=self.ca_file, cert_file=self.client_cert, key_file=self.client_key)


def issue(folder: Path) -> Certificates:
    """Issues new certificates into `folder`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "client.test")):
        issued = authority.issue_cert(identity)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(folder / f"{name}.pem", append=number > 0)
    return Certificates(
        ca_file=folder / "ca.pem",
        server_cert=folder / "server.pem",
        server_key=folder / "server.key",
        client_cert=folder / "client.pem",
        client_key=folder / "client.key",
    )

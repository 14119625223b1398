"""Certificates of a throw-away authority, as the files of a Kubernetes Secret of type kubernetes.io/tls."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    ca_file: Path
    cert_file: Path
    key_file: Path


def issue(folder: Path, *names: str, authority: trustme.CA | None = None) -> ServerCertificate:
    """Writes ca.crt, tls.crt (the whole chain) and tls.key for these names or addresses."""
    authority = authority or trustme.CA()
    folder.mkdir(parents=True, exist_ok=True)
    authority.cert_pem.write_to_path(folder / "ca.crt")
    issued = authority.issue_cert(*names)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (folder / "tls.crt").write_bytes(chain)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    return ServerCertificate(
        ca_file=folder / "ca.crt", cert_file=folder / "tls.crt", key_file=folder / "tls.key"
    )

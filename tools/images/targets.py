"""What the Containerfile makes: a target for each service, and one for all.

Owns: targets, the images' names, the version. Does not own: how they are built (buildah.py).
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

SERVICES: Mapping[str, str] = {
    "gateway": "services.gateway",
    "partition-owner": "services.partition_owner",
    "metadata": "services.metadata",
    "operator": "services.operator",
    "standalone": "services.standalone",
}
"""Targets of one service, and what their entry point runs."""

ALL = "kafscale"
"""The last target, which has every service and is told by its command which one to run."""

ETCD = "etcd"
"""Members of the etcd that the operator runs where a cluster's is managed."""

TARGETS = (*SERVICES, ETCD, ALL)


def image_name(target: str, tag: str) -> str:
    """kafscale:0.1.0 for all services, which the charts name, and kafscale-gateway:0.1.0 for one."""
    return f"{ALL}:{tag}" if target == ALL else f"{ALL}-{target}:{tag}"


def missing_services(root: Path) -> tuple[str, ...]:
    """Targets whose service the tree does not have."""
    return tuple(
        target
        for target, module in SERVICES.items()
        if not (root / module.replace(".", "/") / "__main__.py").is_file()
    )


def version_of(root: Path) -> str:
    """The project's version, which is the charts' appVersion."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return version

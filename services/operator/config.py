"""The operator's settings (design section 9).

Owns: names, defaults and checks. Does not own: reading them (libs/chassis), what a cluster may be told
(spec.py).
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from libs.chassis.config import Addresses, ServiceSettings


class OperatorSettings(ServiceSettings):
    """Makes the objects of each KafscaleCluster and writes the topic of each KafscaleTopic."""

    service: ClassVar[str] = "operator"

    operator_namespace: str = Field(
        default="", max_length=63, description="namespace of the operator's own Lease; empty: its pod's"
    )
    operator_watch_namespaces: Addresses = Field(
        default=(), description="namespaces whose resources it looks after, by commas; empty: all"
    )
    operator_image: str = Field(
        default="kafscale:0.1.0", min_length=1, description="image of clusters that name none"
    )
    operator_kubeconfig: Path | None = Field(
        default=None, description="kubeconfig file; unset: the pod's service account, else the user's own"
    )
    operator_lease_seconds: float = Field(
        default=15.0, ge=3, le=300, description="how long a silent leader counts as alive"
    )
    operator_resync_seconds: float = Field(
        default=300.0, gt=0, description="how often everything is looked at, whether it changed or not"
    )
    operator_workers: int = Field(default=4, ge=1, le=64, description="resources worked on at a time")
    operator_drain_seconds: int = Field(
        default=60, ge=1, le=600, description="how long one DrainPartitions call may take"
    )

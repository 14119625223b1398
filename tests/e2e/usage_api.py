"""Registers what the agent serves as metrics.k8s.io and custom.metrics.k8s.io.

Owns: the APIServices and the Service that lead to the agent.
"""

from tests.e2e.api import Object
from tests.e2e.network import HOST_IP

USAGE_PORT = 4443

_NAME = {"name": "metrics-server", "namespace": "kube-system"}


def _api_service(version: str, group: str) -> tuple[str, Object]:
    return (
        "/apis/apiregistration.k8s.io/v1/apiservices",
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "service": {**_NAME, "port": 443},
                "group": group,
                "version": version,
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    )


OBJECTS: list[tuple[str, Object]] = [
    (
        "/api/v1/namespaces/kube-system/services",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _NAME,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": USAGE_PORT}]},
        },
    ),
    (
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**_NAME, "labels": {"kubernetes.io/service-name": "metrics-server"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": USAGE_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [HOST_IP], "conditions": {"ready": True}}],
        },
    ),
    _api_service("v1beta1", "metrics.k8s.io"),
    _api_service("v1beta2", "custom.metrics.k8s.io"),
]

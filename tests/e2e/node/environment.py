"""What a container sees: environment variables as the kubelet puts them together. Pure.

Owns: fields of the downward API, references to ConfigMaps and Secrets, $(NAME), service variables.
Source of the rules: the pod API's EnvVar, ObjectFieldSelector and Service variables.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tests.e2e.api import Name, Object

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
_LABEL = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")

Lookup = Callable[[str, Name], Object | None]
"""("configmaps" or "secrets", name) -> the object."""


class NotYet(Exception):
    """Something that the container refers to does not exist: it waits, as a kubelet does."""


def environment(
    pod: Object, container: Object, *, ip: str, host_ip: str, lookup: Lookup, services: Iterable[Object]
) -> dict[str, str]:
    """Raises NotYet."""
    spec = pod["spec"]
    namespace = pod["metadata"]["namespace"]
    links = spec.get("enableServiceLinks", True)
    found = dict(_service_variables(services, namespace, links=links))
    own: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        own |= _all_of(source, namespace, lookup)
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            value = _value_from(variable["valueFrom"], pod, namespace, ip, host_ip, lookup)
            if value is None:
                continue
        else:
            value = expand(variable.get("value", ""), {**found, **own})
        own[variable["name"]] = value
    return {**found, **own}


def expand(text: str, known: Mapping[str, str]) -> str:
    """$(NAME) of a known name is its value, of another stays; $$ is a dollar."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def field(pod: Object, path: str, *, ip: str, host_ip: str) -> str:
    """A field of the downward API; a label that is not there is empty."""
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _LABEL.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    return str(
        {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "spec.nodeName": spec["nodeName"],
            "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
            "status.podIP": ip,
            "status.podIPs": ip,
            "status.hostIP": host_ip,
        }[path]
    )


def data_of(item: Object) -> dict[str, bytes]:
    """What a ConfigMap or Secret holds."""
    if item.get("kind") == "Secret" or "type" in item:
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}
    return {**plain, **binary}


def _value_from(
    source: Mapping[str, Any], pod: Object, namespace: str, ip: str, host_ip: str, lookup: Lookup
) -> str | None:
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], ip=ip, host_ip=host_ip)
    for key, plural in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if key in source:
            reference = source[key]
            item = lookup(plural, Name(namespace, reference["name"]))
            data = {} if item is None else data_of(item)
            if reference["key"] in data:
                return data[reference["key"]].decode()
            if reference.get("optional"):
                return None
            raise NotYet(f"{plural} {reference['name']} has no {reference['key']}")
    raise NotYet(f"{sorted(source)} is nothing that this agent knows")


def _all_of(source: Mapping[str, Any], namespace: str, lookup: Lookup) -> dict[str, str]:
    for key, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        if key in source:
            reference = source[key]
            item = lookup(plural, Name(namespace, reference["name"]))
            if item is None and not reference.get("optional"):
                raise NotYet(f"{plural} {reference['name']} is missing")
            data = {} if item is None else data_of(item)
            return {source.get("prefix", "") + name: value.decode() for name, value in data.items()}
    return {}


def _service_variables(
    services: Iterable[Object], namespace: str, *, links: bool
) -> Iterator[tuple[str, str]]:
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        is_api = (metadata["namespace"], metadata["name"]) == ("default", "kubernetes")
        if spec.get("clusterIP") in (None, "", "None"):
            continue
        if not (is_api or (links and metadata["namespace"] == namespace)):
            continue
        name = metadata["name"].upper().replace("-", "_")
        port = str(spec["ports"][0]["port"])
        yield f"{name}_SERVICE_HOST", spec["clusterIP"]
        yield f"{name}_SERVICE_PORT", port
        yield f"{name}_PORT", f"tcp://{spec['clusterIP']}:{port}"

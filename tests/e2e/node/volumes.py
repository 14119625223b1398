"""Volumes of a pod as folders on this machine.

Owns: emptyDir, ConfigMap, Secret, projected tokens, claims. Does not own: where they are mounted (pods.py).
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.api import Name, Object
from tests.e2e.node.environment import Lookup, NotYet, data_of, field

NewToken = Callable[[Object, Mapping[str, Any]], Awaitable[str]]
"""(pod, the projected serviceAccountToken source) -> a token."""


class Volumes:
    """The folders of one pod, made below `folder`; claims are below `claims` and stay."""

    def __init__(self, folder: Path, claims: Path, lookup: Lookup, new_token: NewToken) -> None:
        self._folder = folder
        self._claims = claims
        self._lookup = lookup
        self._new_token = new_token

    async def prepare(self, pod: Object, *, ip: str, host_ip: str) -> dict[str, Path]:
        """By the volumes' names. Raises NotYet."""
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        made: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or ():
            if "persistentVolumeClaim" in volume:
                namespace = pod["metadata"]["namespace"]
                place = self._claims / namespace / volume["persistentVolumeClaim"]["claimName"]
            else:
                place = self._folder / volume["name"]
            place.mkdir(parents=True, exist_ok=True)
            for name, data in (await self._files(volume, pod, ip, host_ip)).items():
                path = place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                path.chmod(0o440 if group is not None else 0o444)
                if group is not None:
                    os.chown(path, 0, group)
            if group is not None:
                os.chown(place, 0, group)
                place.chmod(0o2775)
            else:
                place.chmod(0o777)
            made[volume["name"]] = place
        return made

    async def _files(self, volume: Mapping[str, Any], pod: Object, ip: str, host_ip: str) -> dict[str, bytes]:
        namespace = pod["metadata"]["namespace"]
        if "configMap" in volume:
            return self._of("configmaps", volume["configMap"], volume["configMap"]["name"], namespace)
        if "secret" in volume:
            return self._of("secrets", volume["secret"], volume["secret"]["secretName"], namespace)
        if "projected" not in volume:
            return {}
        files: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            if "serviceAccountToken" in source:
                asked = source["serviceAccountToken"]
                files[asked["path"]] = (await self._new_token(pod, asked)).encode()
            elif "configMap" in source:
                files |= self._of("configmaps", source["configMap"], source["configMap"]["name"], namespace)
            elif "secret" in source:
                files |= self._of("secrets", source["secret"], source["secret"]["name"], namespace)
            elif "downwardAPI" in source:
                for item in source["downwardAPI"]["items"]:
                    text = field(pod, item["fieldRef"]["fieldPath"], ip=ip, host_ip=host_ip)
                    files[item["path"]] = text.encode()
        return files

    def _of(self, plural: str, source: Mapping[str, Any], name: str, namespace: str) -> dict[str, bytes]:
        item = self._lookup(plural, Name(namespace, name))
        if item is None:
            if source.get("optional"):
                return {}
            raise NotYet(f"{plural} {name} is missing")
        data = data_of(item)
        if not source.get("items"):
            return data
        return {each["path"]: data[each["key"]] for each in source["items"]}

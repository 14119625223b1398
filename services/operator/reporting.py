"""Statuses and events: what a person sees with kubectl.

Owns: writing a status only where it changed, one event for each turn. Does not own: what they say.
Rules: 1 an event that can't be written is logged and forgotten: it decides nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from libs.concurrency.clock import Clock
from libs.model.errors import KafscaleError
from services.operator.conditions import PROGRESSING, Condition, as_time, is_warning, turned
from services.operator.kinds import EVENTS, Object
from services.operator.kube import Kube

_COMPONENT = "kafscale-operator"
_MESSAGE_LENGTH_MAX = 1000

log = structlog.get_logger(__name__)


class Reporter:
    def __init__(self, kube: Kube, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock

    @property
    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def report(self, item: Object, status: Mapping[str, Any], said: Sequence[Condition]) -> Object:
        """Writes the status where it changed, then the events of what turned. Raises what apply raises."""
        before = item.get("status") or {}
        if before == status:
            return item
        metadata = item["metadata"]
        changed = await self._kube.apply(
            {
                "apiVersion": item["apiVersion"],
                "kind": item["kind"],
                "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
                "status": dict(status),
            },
            subresource="status",
        )
        for each in turned(before.get("conditions") or (), said):
            if each.type != PROGRESSING:
                await self.event(item, each.reason, each.message, warning=is_warning(each))
        return changed

    async def event(self, item: Object, reason: str, message: str, *, warning: bool = False) -> None:
        metadata = item["metadata"]
        now = as_time(self._clock.now_ms())
        unique = f"{metadata['uid']} {reason} {message} {now}".encode()
        event: Object = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{metadata['name']}.{hashlib.sha256(unique).hexdigest()[:16]}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": item["apiVersion"],
                "kind": item["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message[:_MESSAGE_LENGTH_MAX],
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": _COMPONENT},
        }
        try:
            await self._kube.create(event)
        except KafscaleError as error:
            log.info("event_not_written", reason=reason, error=error.message)

"""Why a pod is not ready, as its status tells it. Pure.

Owns: which words of a pod's status say it best. Does not own: the condition that they are in (status.py).
Source: the pod API's PodStatus. A container's last words are its log's end (terminationMessagePolicy); a log
of ours ends with why the process did.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

_PLAIN_LENGTH_MAX = 200
_PLAIN_REASON = "Error"
"""What a container's end is called where there is nothing else to say of it, as OOMKilled."""
_FAILED = "process_failed"
"""The event of our log that says why a process ended (libs/chassis/process.py)."""


def trouble(pods: Iterable[Mapping[str, Any]]) -> str:
    """What keeps one of them from being ready; empty where nothing is known but that it is not."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if not pod["metadata"].get("deletionTimestamp") and (text := _trouble(pod.get("status") or {})):
            return f"pod {pod['metadata']['name']} {text}"
    return ""


def _trouble(status: Mapping[str, Any]) -> str:
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"is on no node: {scheduled.get('message') or scheduled.get('reason', '')}"
    if status.get("reason"):  # of the pod as a whole: it was evicted
        return f"failed, {status['reason']}: {status.get('message') or ''}"
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    found = (_of_container(each) for each in containers if not each.get("ready"))
    return next((text for text in found if text), "")


def _of_container(container: Mapping[str, Any]) -> str:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated")
    if ended is not None and ended.get("exitCode"):
        return f"ended with {_how(ended)}"
    waiting = state.get("waiting") or {}
    if not waiting.get("message"):
        return ""  # on its way
    return f"waits, {waiting.get('reason')}: {waiting['message']}"


def _how(ended: Mapping[str, Any]) -> str:
    code, reason = ended.get("exitCode"), ended.get("reason") or "Error"
    words = _last_words(str(ended.get("message") or ""))
    if reason == _PLAIN_REASON and words:
        return f"{code}: {words}"
    return f"{code}: {reason}, {words}" if words else f"{code}: {reason}"


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                told = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if told.get("event") == _FAILED and told.get("error"):
                return str(told["error"])
    return lines[-1][:_PLAIN_LENGTH_MAX] if lines else ""

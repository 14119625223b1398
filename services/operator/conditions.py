"""Conditions of a status, as Kubernetes' API conventions have them.

Owns: the words, keeping the time of the last transition. Does not own: when which is true (status.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

READY = "Ready"
PROGRESSING = "Progressing"
ROLL_BLOCKED = "RollBlocked"
PERMISSIONS_MISSING = "PermissionsMissing"
CONFLICT = "Conflict"

_MESSAGE_LENGTH_MAX = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    type: str
    holds: bool
    reason: str
    """CamelCase, for machines."""
    message: str = ""


def as_time(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(
    before: Sequence[Mapping[str, Any]], now: Sequence[Condition], *, generation: int, now_ms: int
) -> list[dict[str, Any]]:
    """As JSON; one whose status did not change keeps its transition time, so that nothing changed is nothing
    to write.
    """
    known = {each.get("type"): each for each in before}
    return [_as_json(each, known.get(each.type), generation, now_ms) for each in now]


def _as_json(
    each: Condition, before: Mapping[str, Any] | None, generation: int, now_ms: int
) -> dict[str, Any]:
    status = "True" if each.holds else "False"
    same = before is not None and before.get("status") == status
    return {
        "type": each.type,
        "status": status,
        "reason": each.reason,
        "message": each.message[:_MESSAGE_LENGTH_MAX],
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if same and before else as_time(now_ms),
    }


def turned(before: Sequence[Mapping[str, Any]], now: Sequence[Condition]) -> list[Condition]:
    """Those that deserve an event: they came true or ended, or have another reason where that is the news.

    A trouble that is first looked for and not there is no news.
    """
    known = {each.get("type"): each for each in before}
    return [each for each in now if _is_news(each, known.get(each.type, {}))]


def _is_news(each: Condition, before: Mapping[str, Any]) -> bool:
    held = before.get("status") == "True"
    other = before.get("reason") != each.reason
    return held != each.holds or (other and (each.holds or each.type == READY))


def is_warning(each: Condition) -> bool:
    """Something that a person should look at; what is on its way is none."""
    return not each.holds and each.reason not in _ON_THE_WAY if each.type == READY else each.holds


_ON_THE_WAY = frozenset({"PodsNotReady", "Creating", "Created", "Adopting", "Assigning"})

"""Which of a bucket's lifecycle rules would take objects from under us.

Owns: the decision, on S3's own rule documents. Does not own: reading them.
Source: Amazon S3 User Guide, "Lifecycle configuration elements".
"""

from collections.abc import Mapping, Sequence
from typing import Any

_UNREADABLE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # a GET needs a restore of hours first


def dangerous_rules(rules: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    """The enabled rules that delete or archive objects under `prefix`, in words.

    Rules for tagged objects do not touch ours, which have no tags. Deleting old versions, expired delete
    markers and unfinished uploads is harmless.
    """
    return [
        f"rule {rule.get('ID') or '(no id)'!r} for prefix {_prefix(rule)!r} {what}"
        for rule in rules
        if rule.get("Status") == "Enabled" and not _has_tags(rule) and _overlap(_prefix(rule), prefix)
        for what in _harm(rule)
    ]


def _harm(rule: Mapping[str, Any]) -> list[str]:
    expiration = rule.get("Expiration", {})
    harm = ["deletes objects"] if "Days" in expiration or "Date" in expiration else []
    classes = {transition.get("StorageClass") for transition in rule.get("Transitions", [])}
    return harm + [f"archives objects to {name}" for name in sorted(classes & _UNREADABLE_CLASSES)]


def _prefix(rule: Mapping[str, Any]) -> str:
    chosen = rule.get("Filter", {})
    return str(chosen.get("And", chosen).get("Prefix", rule.get("Prefix", "")))


def _has_tags(rule: Mapping[str, Any]) -> bool:
    chosen = rule.get("Filter", {})
    return "Tag" in chosen or bool(chosen.get("And", {}).get("Tags"))


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)

"""Whether what the API server has is what was applied. Pure.

Owns: comparing a partial object with a whole one. Rules: 1 fields that we don't name are others' or defaults,
and never differ; 2 items of a list are found by their key as server-side apply finds them, so that one that
somebody added is no difference; 3 quantities are numbers: 1000m is 1.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from services.operator.kinds import GROUP, Object

HASH = f"{GROUP}/applied"
"""Annotation: the hash of what was applied last. A field that is not wanted any more shows by it alone."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_FACTORS: Mapping[str, Decimal] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000**power) for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{
        unit: Decimal(1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)
    },
}
_LIST_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "type", "uid")


def stamped(item: Object) -> Object:
    """The object with its own hash in an annotation."""
    text = json.dumps(item, sort_keys=True, separators=(",", ":"))
    value = hashlib.sha256(text.encode()).hexdigest()[:32]
    metadata = item["metadata"]
    annotations = {**metadata.get("annotations", {}), HASH: value}
    return {**item, "metadata": {**metadata, "annotations": annotations}}


def is_applied(wanted: Object, seen: Mapping[str, Any]) -> bool:
    """Whether applying `wanted` (stamped) would change nothing."""
    return covers(seen, wanted)


def covers(seen: Any, wanted: Any) -> bool:
    """Whether everything that `wanted` says is so in `seen`."""
    if isinstance(wanted, Mapping):
        return isinstance(seen, Mapping) and all(
            key in seen and covers(seen[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(seen, list) and _list_covers(seen, wanted)
    if isinstance(wanted, bool) or isinstance(seen, bool):
        return wanted is seen
    return wanted == seen or _same_quantity(seen, wanted)


def _list_covers(seen: Sequence[Any], wanted: Sequence[Any]) -> bool:
    if all(isinstance(each, Mapping) for each in (*seen, *wanted)):
        key = next((key for key in _LIST_KEYS if wanted and all(key in each for each in wanted)), None)
        if key is not None:
            return all(
                any(each.get(key) == item[key] and covers(each, item) for each in seen) for item in wanted
            )
    return len(seen) == len(wanted) and all(map(covers, seen, wanted))


def _same_quantity(seen: Any, wanted: Any) -> bool:
    pair = [_QUANTITY.fullmatch(str(each)) for each in (seen, wanted) if isinstance(each, str | int | float)]
    numbers = {Decimal(match[1]) * _FACTORS[match[2] or ""] for match in pair if match is not None}
    return len(pair) == 2 and None not in pair and len(numbers) == 1

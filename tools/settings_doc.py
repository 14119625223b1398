"""Writes docs/settings.md: every setting of every service, from the code. `python -m tools.settings_doc`.

Owns: how the table looks. Does not own: settings (each service's config.py, libs/chassis).
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from libs.chassis.config import ServiceSettings, variable_of
from libs.model.limits import KIB, MIB
from services.gateway.config import GatewaySettings
from services.metadata.config import MetadataSettings
from services.operator.config import OperatorSettings
from services.partition_owner.config import OwnerSettings
from services.standalone.config import StandaloneSettings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
SERVICES: tuple[type[ServiceSettings], ...] = (
    StandaloneSettings,
    GatewaySettings,
    OwnerSettings,
    MetadataSettings,
    OperatorSettings,
)
_HEAD = """\
# Settings

Written by `python -m tools.settings_doc` from the code; don't edit it by hand.

Each setting is an environment variable and a flag: `KAFSCALE_KAFKA_PORT=9192` is `--kafka-port 9192`, and a
flag wins. An empty variable counts as unset. A variable that is unknown or has a bad value ends the start
with exit code 2 and a line that names it; names that Kubernetes injects (`KAFSCALE_..._SERVICE_HOST`, ...)
are ignored. `python -m services.standalone --help` prints the same for one service.
"""
_EVERY = "Every process"
_LIMITS: Mapping[str, str] = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "min_length": "length at least",
    "max_length": "length at most",
}
"""By the names of the constraints of annotated_types, which pydantic keeps."""


def document() -> str:
    """The whole page."""
    fields = dict(ServiceSettings.model_fields)
    readers: dict[str, list[str]] = {}
    for settings in SERVICES:
        for name, info in settings.model_fields.items():
            fields.setdefault(name, info)
            readers.setdefault(name, []).append(settings.service)
    sections: dict[str, list[str]] = {}
    for name, info in fields.items():
        sections.setdefault(_section(readers[name]), []).append(_row(name, info))
    return _HEAD + "".join(_table(title, rows) for title, rows in sorted(sections.items(), key=_order))


def _section(readers: list[str]) -> str:
    return _EVERY if len(readers) == len(SERVICES) else "Read by " + ", ".join(readers)


def _order(section: tuple[str, list[str]]) -> tuple[bool, str]:
    return section[0] != _EVERY, section[0]


def _table(title: str, rows: list[str]) -> str:
    head = "| variable | default | values | what |\n|---|---|---|---|\n"
    return f"\n## {title}\n\n{head}" + "".join(rows)


def _row(name: str, info: FieldInfo) -> str:
    cells = (f"`{variable_of(name)}`", _default(name, info), _values(name, info), info.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(name: str, info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is PydanticUndefined or value in (None, "", ()) or isinstance(value, SecretStr):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" + _in_words(name, value)


def _in_words(name: str, value: object) -> str:
    if "bytes" not in name or not isinstance(value, int) or value < KIB or value % KIB:
        return ""
    return f" ({value // MIB} MiB)" if value % MIB == 0 else f" ({value // KIB} KiB)"


def _values(name: str, info: FieldInfo) -> str:
    annotation = info.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if annotation is bool:
        return "`true`, `false`"
    return ", ".join(_limits(name, info))


def _limits(name: str, info: FieldInfo) -> Iterator[str]:
    for each in info.metadata:
        for attribute, words in _LIMITS.items():
            value = getattr(each, attribute, None)
            if value is not None:
                yield f"{words} {value}" + _in_words(name, value)
        if pattern := getattr(each, "pattern", None):
            yield f"`{pattern}`"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    sys.stdout.write(f"{DOCUMENT}\n")

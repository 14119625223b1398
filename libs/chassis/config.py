"""Typed settings from `KAFSCALE_*` variables and flags, checked at start.

Owns: reading them, the settings that every process has, errors that name the variable.
Rules: 1 a bad or unknown variable is an error that names it and what would be right; 2 secrets are
`SecretStr` and never appear in an error, a log or a repr; 3 a flag wins over a variable.
"""

import argparse
import difflib
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from libs.model.errors import Invalid, Reason

PREFIX = "KAFSCALE_"

Port = Annotated[int, Field(ge=0, le=65535)]
"""0 asks for any free port."""


def _split(value: object) -> object:
    return tuple(filter(None, re.split(r"[,\s]+", value))) if isinstance(value, str) else value


Addresses = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""host:port, separated by commas."""

# What Kubernetes injects for services whose name begins with kafscale.
_INJECTED = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)$")
_INJECTED_PORT = re.compile(r"^(tcp|udp|sctp)://")
# Read by the project's own tools, not by a service.
_TOOL_VARIABLES = frozenset({"KAFSCALE_STACK_PORT_BASE", "KAFSCALE_TOOLCHAIN_DIR"})


class ServiceSettings(BaseModel):
    """The settings that every process has; a service adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    service: ClassVar[str] = "kafscale"

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level logged"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: for people on a terminal, else JSON"
    )
    cluster: str = Field(
        default="kafscale", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="the cluster's name"
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=253,
        description="this process's stable name, a pod's name; default the host's name",
    )
    zone: str = Field(default="", description="availability zone of this process")
    bind_host: str = Field(default="127.0.0.1", description="address that every port listens on")
    admin_port: Port = Field(default=9093, description="control gRPC, /metrics, /healthz and /readyz")
    drain_seconds: float = Field(
        default=25.0, gt=0, le=600, description="how long a stopping process may hand over and finish"
    )

    @classmethod
    def load(cls, *, argv: Sequence[str], environ: Mapping[str, str]) -> Self:
        """Reads variables and flags.

        Raises Invalid(INVALID_CONFIG), whose message names each bad variable. `--help` exits as usual.
        """
        unknown = _unknown_variables(cls, environ)
        if unknown:
            raise Invalid("; ".join(unknown), reason=Reason.INVALID_CONFIG)
        values: dict[str, str] = {}
        for field in cls.model_fields:
            # An empty variable is an unset one, as charts write it.
            if value := environ.get(variable_of(field)):
                values[field] = value
        flags = vars(_parser(cls).parse_args(list(argv)))
        values.update({field: value for field, value in flags.items() if value is not None})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(_problem(cls, each, values) for each in error.errors())
            raise Invalid(problems, reason=Reason.INVALID_CONFIG) from None


def variable_of(field: str) -> str:
    """The variable that sets a field."""
    return PREFIX + field.upper()


def _parser(settings: type[ServiceSettings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=settings.service, description=settings.__doc__)
    for field, info in settings.model_fields.items():
        default = "" if info.default in (None, PydanticUndefined, "") else f"; default {info.default}"
        text = f"{info.description or field} [{variable_of(field)}{default}]"
        flag = "--" + field.replace("_", "-")
        parser.add_argument(flag, dest=field, metavar="VALUE", help=text.replace("%", "%%"))
    return parser


def _unknown_variables(settings: type[ServiceSettings], environ: Mapping[str, str]) -> list[str]:
    known = {variable_of(field) for field in settings.model_fields} | _TOOL_VARIABLES
    problems = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in known:
            continue
        if _INJECTED.search(name) or _INJECTED_PORT.match(value):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{settings.service} has no such setting"
        problems.append(f"{name} is unknown; {hint}")
    return problems


def _problem(settings: type[ServiceSettings], error: ErrorDetails, values: Mapping[str, str]) -> str:
    if not error["loc"]:
        return error["msg"]
    field = str(error["loc"][0])
    secret = "Secret" in str(settings.model_fields[field].annotation)
    given = "" if secret or field not in values else f" (it is {values[field]!r})"
    return f"{variable_of(field)}: {error['msg']}{given}"

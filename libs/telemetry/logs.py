"""Structured logs: one line an event, JSON for machines, columns for people.

Owns: the set-up, once per process. Rule: the event is a name in snake_case, all else are fields.
"""

import logging
import sys
from typing import Literal, TextIO

import structlog


def configure_logs(
    *,
    service: str,
    level: Literal["debug", "info", "warning", "error"],
    log_format: Literal["auto", "json", "console"],
    stream: TextIO = sys.stderr,
) -> None:
    """Sets structlog up for this process; libraries that log by `logging` come out the same way."""
    people = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if people else "iso", utc=not people),
    ]
    if people:
        finish: list[structlog.typing.Processor] = [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    else:
        shared.append(_named(service))
        finish = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries' own chatter is worth reading only when something is being looked for.
    root.setLevel(max(number, logging.WARNING) if level != "debug" else logging.INFO)


def _named(service: str) -> structlog.typing.Processor:
    def add(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add

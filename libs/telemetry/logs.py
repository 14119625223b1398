"""Structured logs: one line an event, JSON for machines, columns for people.

Owns: the set-up, once per process. Rules: 1 the event is a name in snake_case, all else are fields; 2 a log
that can't be written (a full disk, a reader that went away) is no reason to stop serving.
"""

import logging
import sys
from contextlib import suppress
from typing import Literal, TextIO, cast

import structlog


def configure_logs(
    *,
    service: str,
    level: Literal["debug", "info", "warning", "error"],
    log_format: Literal["auto", "json", "console"],
    stream: TextIO = sys.stderr,
) -> None:
    """Sets structlog up for this process; libraries that log by `logging` come out the same way."""
    unfailing = cast(TextIO, _Unfailing(stream))
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
        logger_factory=structlog.PrintLoggerFactory(unfailing),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(unfailing)
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


class _Unfailing:
    """Writes to a stream while that can be written to; what can't be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _named(service: str) -> structlog.typing.Processor:
    def add(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add

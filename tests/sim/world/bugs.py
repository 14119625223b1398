"""What supervisors caught and logged: nothing that is in order logs an error.

Owns: the list of such lines of a run. Does not own: which exceptions supervisors catch.
"""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog


class Bugs(logging.Handler):
    """Lines of level error, by structlog or logging, with what was raised."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        self.lines.append(line)

    def process(self, _logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
        """The last of structlog's processors."""
        if event.pop("level", "") in ("error", "critical"):
            trace = event.pop("exception", "")
            self.lines.append(f"{event}" + (f"\n{trace}" if trace else ""))
        return ""


@contextmanager
def watching_for_bugs(*, verbose: bool = False) -> Iterator[Bugs]:
    """Collects them as long as the block runs; `verbose`: all lines go to standard error, too."""
    bugs = Bugs()
    root = logging.getLogger()
    root.addHandler(bugs)
    finish: list[Any] = [structlog.dev.ConsoleRenderer(colors=False)] if verbose else [bugs.process]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            *finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory() if verbose else _Nowhere,
        cache_logger_on_first_use=False,
    )
    try:
        yield bugs
    finally:
        root.removeHandler(bugs)
        structlog.reset_defaults()


class _Nowhere:
    """A logger that writes nothing."""

    def __init__(self, *_args: object) -> None: ...

    def msg(self, _line: str) -> None: ...

    error = critical = exception = failure = msg

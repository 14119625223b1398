"""Logs are written while they can be, and never stop who writes them."""

import errno
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from libs.telemetry.logs import configure_logs


class FullDisk(io.StringIO):
    """A stream that takes nothing while `is_full`."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def stream() -> Iterator[FullDisk]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = FullDisk()
    configure_logs(service="gateway", level="info", log_format="json", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _events(stream: FullDisk) -> list[str]:
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def test_a_log_on_a_full_disk_loses_lines_and_nothing_else(stream: FullDisk) -> None:
    log = structlog.get_logger("test")
    log.info("before")
    stream.is_full = True
    log.info("lost")
    logging.getLogger("library").warning("lost as well")
    stream.is_full = False
    log.info("after")
    assert _events(stream) == ["before", "after"]

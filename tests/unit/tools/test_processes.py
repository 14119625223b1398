"""A child of the stack as other threads see it."""

import signal
import sys
from pathlib import Path

import trio

from tools.stack.processes import Child


async def test_any_thread_may_ask_whether_a_child_lives(tmp_path: Path) -> None:
    """A test's thread asked just when it had died: only Trio's own thread may take its exit code."""
    child = Child(name="sleeper", log_path=tmp_path / "log", cwd=tmp_path)
    assert not child.alive
    await child.start([sys.executable, "-c", "import time; time.sleep(60)"], {})
    assert await trio.to_thread.run_sync(lambda: child.alive)
    child.send(signal.SIGTERM)
    with trio.fail_after(60):
        while await trio.to_thread.run_sync(lambda: child.alive):  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.01)
    assert await child.wait_ended() == -signal.SIGTERM
    assert not child.alive

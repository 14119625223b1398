"""A process that was told to stop has stopped, with every thread of it."""

import signal
import subprocess
import sys
from pathlib import Path

from tools.servers import wait_stopped

_BUSY = """
import threading
def run():
    while True:
        pass
for _ in range(8):
    threading.Thread(target=run, daemon=True).start()
print("busy", flush=True)
run()
"""


def _states(pid: int) -> set[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks}


def test_after_the_wait_no_thread_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(20):
                process.send_signal(signal.SIGSTOP)
                wait_stopped(process.pid)
                assert _states(process.pid) == {"T"}
                process.send_signal(signal.SIGCONT)
        finally:
            process.kill()


def test_a_process_that_has_ended_is_not_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    wait_stopped(process.pid)

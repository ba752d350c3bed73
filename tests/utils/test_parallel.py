"""Worker processes do what `map` does, and never outlive the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from zsbench.utils.parallel import parallel_map

SCRIPT = """
import os
import time
from zsbench.utils.parallel import parallel_map

def work(seconds):
    os.write(1, b"begun\\n")
    time.sleep(seconds)

if __name__ == "__main__":
    list(parallel_map(work, [60] * 16, 2))  # an item of each of two workers, the others wait
"""


def test_like_map():
    items = list(range(-20, 0))
    assert list(parallel_map(abs, items, 2)) == list(parallel_map(abs, items, 0)) == [abs(item) for item in items]


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    words = [sys.executable, tmp_path / "script.py"]
    parent = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert [parent.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        parent.kill()
        assert parent.communicate(timeout=20)[0] == ""  # ends once no process has the output open any more
    finally:
        if parent.poll() is None or not parent.stdout.closed:
            os.killpg(parent.pid, signal.SIGKILL)

"""What a command leaves running has a parent that collects it when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import reaper

pytestmark = pytest.mark.unit


def run(script: str) -> int:
    return subprocess.run([sys.executable, reaper.__file__, "bash", "-c", script], check=False, timeout=30).returncode


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def until(ended: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{ended}").exists():
        assert time.monotonic() < deadline, f"process {ended} is not collected"
        time.sleep(0.02)


@pytest.mark.parametrize(("script", "status"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_status_is_the_command_s(script: str, status: int) -> None:
    assert run(script) == status


def test_what_is_left_running_is_collected_and_then_nothing_is_left(tmp_path: Path) -> None:
    # As a daemon starts: its parent ends at once.
    assert run(f"(sleep 60 & echo $! > {tmp_path}/first); (sleep 60 & echo $! > {tmp_path}/second)") == 0
    first, second = (int((tmp_path / name).read_text()) for name in ("first", "second"))
    collector = parent(first)
    assert collector == parent(second) not in {1, os.getpid()}
    assert "reaper.py" in Path(f"/proc/{collector}/cmdline").read_text()
    os.kill(first, 15)
    until(first)
    assert parent(second) == collector
    os.kill(second, 15)
    until(second)
    until(collector)


def test_a_ctrl_c_is_left_to_who_waits(tmp_path: Path) -> None:
    command = [sys.executable, reaper.__file__, "bash", "-c", f"touch {tmp_path}/begun; sleep 1; exit 3"]
    with subprocess.Popen(command, start_new_session=True) as running:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.killpg(running.pid, 2)
        assert running.wait(timeout=20) == 3

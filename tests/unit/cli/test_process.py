"""Programs that `lab` starts: signals reach them, and nothing of Python's is inherited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from lab_harness import let_ctrl_c_arrive

from cli.folders import ROOT

pytestmark = pytest.mark.unit


def start(code: str) -> subprocess.Popen[str]:
    """Python with this code, in a process group of its own. Ctrl-C arrives in it."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from cli import process\n{code}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=let_ctrl_c_arrive,  # noqa: PLW1509 - no thread of these tests holds a lock
    )


def test_no_signal_is_ignored_in_the_program_that_takes_the_place() -> None:
    output, _ = start("process.replace_by('grep', ['grep', 'SigIgn', '/proc/self/status'])").communicate(timeout=30)
    ignored = int(output.split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1) and not ignored & (1 << signal.SIGXFSZ - 1)


def test_after_ctrl_c_the_program_ends_first() -> None:
    script = "trap 'sleep 0.6; echo cleaned up; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    code = f"try:\n    process.run(['sh', '-c', {script!r}])\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    with start(code) as running:
        assert running.stdout is not None and running.stdout.readline() == "ready\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.communicate(timeout=30)[0] == "cleaned up\ninterrupted\n"


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM)])
def test_the_status_is_the_program_s(script: str, status: int) -> None:
    output, _ = start(f"print(process.run(['sh', '-c', {script!r}]))").communicate(timeout=30)
    assert output == f"{status}\n"


def test_verbs_that_read_no_settings_start_without_what_reads_them() -> None:
    """`pydantic` and `pulumi` take most of a second, and `needs` runs before they are installed."""
    light = ("needs", "verbs.up", "verbs.preview", "verbs.destroy", "verbs.refresh", "verbs.pulumi", "verbs.test")
    imports = "; ".join(f"import cli.{name}" for name in light)
    done = subprocess.run([sys.executable, "-S", "-c", imports], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""The program ends without a traceback when Pulumi ends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.interrupt import LAUNCHER

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PROGRAM = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job does not have
from components import interrupt
interrupt.exit_without_traceback()
os.kill(os.getpid(), signal.SIGINT)
signal.pause()
"""


@pytest.mark.parametrize(("name", "quiet"), [(LAUNCHER, True), ("other", False)])
def test_sigint(tmp_path: Path, name: str, quiet: bool) -> None:
    """As Pulumi's launcher does: the program is run under the name __main__, in the launcher's place."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / name).write_text(f"import runpy\nrunpy.run_path({str(tmp_path / 'program.py')!r}, run_name='__main__')\n")
    done = subprocess.run([sys.executable, str(tmp_path / name)], capture_output=True, text=True, timeout=60, check=False)
    assert ("KeyboardInterrupt" in done.stderr) != quiet
    assert done.returncode != 0
    assert done.stderr == "" or not quiet

"""The chapters of a story of the e2e tier: those after one that failed are skipped, and no others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
STORY = """
import pytest
pytestmark = pytest.mark.chapters
@pytest.mark.observes
def test_zeroth(): assert False
def test_first(): pass
def test_second(): assert False
def test_third(): pass
def test_fourth(): pass
"""
OTHER_STORY = "import pytest\npytestmark = pytest.mark.chapters\ndef test_its_own_chapter(): pass\n"
NO_STORY = "def test_first(): assert False\ndef test_second(): pass\n"


def test_chapters_after_a_failed_one_are_skipped_with_its_name(tmp_path: Path) -> None:
    for file in (ROOT / "tests/e2e").glob("*.py"):
        if not file.name.startswith("test_"):
            shutil.copy(file, tmp_path)
    for name, text in {"story": STORY, "other_story": OTHER_STORY, "no_story": NO_STORY}.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    options = ["-q", "-rA", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "3 failed, 3 passed, 2 skipped" in done.stdout, done.stdout + done.stderr
    assert "an earlier chapter of its story failed: test_second" in done.stdout
    for test in ("test_story.py::test_first", "test_other_story.py::test_its_own_chapter", "test_no_story.py::test_second"):
        assert f"PASSED {test}" in done.stdout

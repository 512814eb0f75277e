"""docs/known-troubles.md: each row is there, and each test that it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
# What was gathered of multus-cni's, K3s's and libvirt's troubles before this program was written.
NUMBERS = [f"M{number}" for number in range(1, 26)] + [f"L{number}" for number in range(1, 16)]


def rows() -> dict[str, list[str]]:
    by_trouble = {}
    for line in (ROOT / "docs/known-troubles.md").read_text().splitlines():
        if re.match(r"\| [ML]\d+ \|", line):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert cells[0].strip() not in by_trouble, f"{cells[0]} is there twice"
            by_trouble[cells[0].strip()] = cells
    return by_trouble


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The node ids of all tests in the files that the page names."""
    text = (ROOT / "docs/known-troubles.md").read_text()
    files = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::", text)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_no_row_is_missing() -> None:
    assert list(rows()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_row_says_what_is_done_and_names_tests_that_exist(number: str, collected: set[str]) -> None:
    _number, trouble, here, shown = (cell.strip("| ") for cell in rows()[number])
    assert trouble
    assert here
    named = re.findall(r"`(tests/[^`]+)`", shown)
    assert "".join(f"`{test}`" for test in named) == shown.replace("` `", "``")
    assert named or here.startswith("Cannot arise: ")
    known = collected | {test.partition("[")[0] for test in collected}
    assert [test for test in named if test not in known] == []

"""What the code and the docs cite is in the repository: lines of docs/measured.md, decisions of docs/how-it-works.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/measured.md"


KINDS = (".py", ".sh", ".md", ".yml", ".yaml")
FOLDERS = ("components", "cli", "tools", "bench", "policy", "docs", "tests", ".github")


def texts() -> dict[str, str]:
    """The text files of the repository, but this one."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    paths += [path for path in ROOT.iterdir() if path.suffix in KINDS or path.name == "lab"]
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in paths
        if path.is_file() and path != Path(__file__).resolve()
    }


def cited() -> dict[str, set[str]]:
    """The numbers that each file cites: `measured.md 23`, `measured.md 23, 24`."""
    by_file = {}
    for name, text in texts().items():
        parts = re.findall(r"measured\.md[`)\]]*,? +(N?\d+(?:(?:,| and) N?\d+)*)", text)
        numbers = {number for part in parts for number in re.findall(r"N?\d+", part)}
        if numbers:
            by_file[name] = numbers
    return by_file


def numbers() -> list[str]:
    return re.findall(r"(?m)^\| (N?\d+) \| .+ \| .+ \|$", PAGE.read_text())


def test_each_number_has_one_line_and_they_are_in_order() -> None:
    listed = numbers()
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (?!#|-)", line)]
    assert len(listed) == len(rows) > 40 and len(set(listed)) == len(listed)
    plain = [int(number) for number in listed if number.isdigit()]
    assert plain == sorted(plain)


def test_what_is_cited_is_there() -> None:
    by_file = cited()
    assert {"components/network/pod.py", "components/libvirt/domain_spec.py", "docs/own-pods.md"} <= set(by_file)
    known = set(numbers())
    assert {name: numbers - known for name, numbers in by_file.items() if numbers - known} == {}


def test_no_page_is_cited_that_is_not_there() -> None:
    """A page is named by its place in the repository, and the sentence of a decision by its first words."""
    heads = (ROOT / "docs/how-it-works.md").read_text()
    for name, text in texts().items():
        assert not re.search(r"\(design,? ?\d|\bdesign, \d", text), f"{name}: cite a decision of docs/how-it-works.md"
        for page in re.findall(r"\bdocs/[a-z0-9-]+\.(?:md|svg|json)\b", text):
            if not name.startswith(("tests/", "docs/")):
                assert (ROOT / page).exists(), f"{name}: {page}"
        for words in re.findall(r'how-it-works\.md, "([^"]+)"', text):
            assert f"**{words}.**" in heads, f"{name}: no decision {words!r}"

"""CHANGELOG.md: its form, that its newest version is the one in VERSION, and what a release is made with."""

from __future__ import annotations

import datetime
import itertools
import re
from pathlib import Path

import pytest
from changelog import UNRELEASED, ChangelogError, main, notes, sections

from cli.version import version

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
"""Of Keep a Changelog 1.1.0."""
URL = "https://example.org/a/b"
EXAMPLE = """# Changelog

## [Unreleased]

### Added

- c

## [1.1.0] - 2026-02-01

### Fixed

- b [page](docs/x.md#y) of [a site](https://example.org/)

## [1.0.0] - 2026-01-01

### Added

- a

[Unreleased]: ../../compare/v1.1.0...HEAD
[1.1.0]: ../../compare/v1.0.0...v1.1.0
[1.0.0]: ../../releases/tag/v1.0.0
"""


def test_versions_are_in_order_the_unreleased_first_and_the_newest_is_this_one() -> None:
    unreleased, *released = sections(CHANGELOG)
    assert (unreleased.version, unreleased.date) == (UNRELEASED, "")
    numbers = [tuple(map(int, section.version.split("."))) for section in released]
    assert released[0].version == version()
    assert numbers == sorted(set(numbers), reverse=True)
    dates = [datetime.date.fromisoformat(section.date) for section in released]
    assert dates == sorted(dates, reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", section.date) for section in released)


def test_headings_are_those_of_the_form_and_none_is_empty() -> None:
    heads = re.findall(r"(?m)^(#+) (.*)$", CHANGELOG)
    assert [text for level, text in heads if level == "#"] == ["Changelog"]
    assert len([text for level, text in heads if level == "##"]) == len(sections(CHANGELOG))
    for section in sections(CHANGELOG):
        kinds = re.findall(r"(?m)^### (.*)$", section.text)
        assert kinds == sorted(set(kinds), key=KINDS.index), section.version
        for part in re.split(r"(?m)^### .*$", section.text)[1:]:
            assert re.search(r"(?m)^- \S", part), section.version


def test_each_version_has_its_link() -> None:
    """Relative to the page on the site that has the repository, whichever that is."""
    versions = [section.version for section in sections(CHANGELOG)]
    tags = ["HEAD" if version == UNRELEASED else f"v{version}" for version in versions]
    links = [f"../../compare/{older}...{newer}" for newer, older in itertools.pairwise(tags)]
    expected = dict(zip(versions, [*links, f"../../releases/tag/{tags[-1]}"], strict=True))
    assert dict(re.findall(r"(?m)^\[([^\]]+)\]: (\S+)$", CHANGELOG)) == expected


def test_links_into_the_repository_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", CHANGELOG):
        if not target.startswith("https://"):
            assert (ROOT / target.partition("#")[0]).is_file(), target


def test_a_release_has_the_text_of_its_version_alone() -> None:
    text = notes(EXAMPLE, "1.1.0", "v1.1.0", URL)
    assert text == f"### Fixed\n\n- b [page]({URL}/blob/v1.1.0/docs/x.md#y) of [a site](https://example.org/)"
    assert [section.version for section in sections(EXAMPLE)] == ["Unreleased", "1.1.0", "1.0.0"]
    assert sections(EXAMPLE)[-1].text == "### Added\n\n- a"


@pytest.mark.parametrize(
    ("number", "tag", "said"),
    [
        ("1.1.0", "v1.0.0", "tag v1.1.0, or correct VERSION"),
        ("1.1.0", "1.1.0", "tag v1.1.0, or correct VERSION"),
        ("1.2.0", "v1.2.0", "the newest version in CHANGELOG.md is 1.1.0"),
        ("1.0.0", "v1.0.0", "the newest version in CHANGELOG.md is 1.1.0"),
    ],
)
def test_what_does_not_agree_is_no_release(number: str, tag: str, said: str) -> None:
    with pytest.raises(ChangelogError, match=re.escape(said)):
        notes(EXAMPLE, number, tag, URL)


def test_the_program_prints_the_notes_or_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"v{version()}", URL]) == 0
    assert "### " in capsys.readouterr().out
    assert main(["v99.0.0", URL]) == 1
    assert "the tag is v99.0.0" in capsys.readouterr().err

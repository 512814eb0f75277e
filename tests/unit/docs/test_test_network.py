"""docs/test-network.md names what the tiers take from a closed test network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/test-network.md").read_text()
TIERS = [path.read_text() for folder in ("tests/e2e", "tests/provider") for path in sorted((ROOT / folder).glob("*.py"))]
TIERS += [(ROOT / "tests" / name).read_text() for name in ("bridge_lan.py", "ssh_hypervisor.py")]
STACKS = "".join(path.read_text() for path in sorted(ROOT.glob("Pulumi.testnet*.yaml")))


def test_every_address_of_the_stack_file_is_named() -> None:
    urls = set(re.findall(r"https?://[^\s\]\"']+", STACKS))
    assert len(urls) >= 7
    assert {url for url in urls if f"`{url}`" not in PAGE} == set()


def test_every_version_that_is_installed_there_is_named() -> None:
    later = re.findall(r'"(v1\.[\d.]+\+k3s\d)"', (ROOT / "tests/e2e/builds.py").read_text())
    versions = set(re.findall(r"(?m)^ +version: (\S+)$", STACKS)) | set(later)
    assert later and len(versions) >= 3
    assert {version for version in versions if version not in PAGE} == set()


def test_every_image_that_the_tiers_pull_is_named() -> None:
    tags = set(re.findall(r"docker\.io/library/nginx:([\w.-]+)", "".join(TIERS)))
    assert tags >= {"1.25-alpine", "none"}
    tags.remove("none")  # requested because nobody has it
    row = next(line for line in PAGE.splitlines() if line.startswith("| `library/nginx`"))
    assert {tag for tag in tags if f"`{tag}`" not in row} == set()


def test_every_verb_that_lab_calls_is_explained() -> None:
    calls = (ROOT / "cli/closed_network.py").read_text()
    verbs = set(re.findall(r'\[self\.script, "(\w+)"', calls))
    assert verbs == {"status", "start", "stop", "exec"} == set(re.findall(r"(?m)^\| `(\w+)(?: COMMAND…)?` \|", PAGE))
    assert '== ["MISSING"]' in calls and '== ["up"]' in calls


def test_networks_that_the_tiers_make_are_named() -> None:
    made = set(re.findall(r"\b(?:10|192)\.\d+\.\d+\.0/24", "".join(TIERS)))
    assert made
    assert {network for network in made if network not in PAGE} == set()

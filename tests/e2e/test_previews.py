"""Each stack file with the real engine, on a state that the engine itself recorded without machines: what later previews say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Checkout

from bench import checkout as bench
from bench import recorded, scale

pytestmark = pytest.mark.e2e

STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))


@pytest.fixture(scope="module")
def copy(engine: str) -> Iterator[bench.Checkout]:
    """A copy of the checkout, of whose stacks nothing exists but the state. engine: skips where there is no engine to test with."""
    place = ROOT / ".lab" / "previews"
    shutil.rmtree(place, ignore_errors=True)
    yield bench.prepare(place)
    shutil.rmtree(place)


@pytest.mark.parametrize("name", STACKS)
def test_a_second_preview_has_neither_changes_nor_unknowns_and_comments_make_none(copy: bench.Checkout, name: str) -> None:
    copy.write_stack(name, bench.stack_document(ROOT / f"Pulumi.{name}.yaml", scale.changes(1)))
    recorded.record(copy, name)
    checkout = Checkout(copy.path, name)
    assert checkout.preview() == ({}, [])
    retouch(copy.path, name)
    assert checkout.preview() == ({}, [])


def retouch(path: Path, stack: str) -> None:
    """A comment more in each file of the program, at the head of each script, and in the stack's file, which is set otherwise."""
    for file in [path / "__main__.py", *(path / "components").rglob("*.py")]:
        file.write_text(f"# A comment more.\n\n{file.read_text()}\n\n# And one.\n")
    scripts = list((path / "components" / "node" / "scripts").rglob("*.sh"))
    assert scripts
    for file in scripts:
        first, rest = file.read_text().split("\n", 1)
        file.write_text(f"{first}\n# A comment more.\n\n{rest}")
    file = path / f"Pulumi.{stack}.yaml"
    text = yaml.safe_dump(yaml.safe_load(file.read_text()), sort_keys=True, indent=6, default_flow_style=True)
    assert text != file.read_text()
    file.write_text(f"# A comment more.\n{text}")

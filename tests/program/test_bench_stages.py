"""The stages that a benchmark compares are resources of the program."""

from __future__ import annotations

import pytest

from bench import stages
from bench.checkout import stack_document
from bench.compare import settings_of
from bench.events import Bar

from .conftest import Run
from .engine import ROOT

pytestmark = pytest.mark.program


def test_every_stage_is_a_resource(deploy: Run) -> None:
    _, plan = settings_of(stack_document(ROOT / "Pulumi.dev.yaml", {}), "dev")
    names = [resource.name for resource in deploy("dev").custom]
    bars = [Bar(name=name, kind="", urn=name, op="create", start=0, end=index) for index, name in enumerate(names)]
    assert stages.done_at(bars, plan).keys() == {stage.key for stage in stages.STAGES}

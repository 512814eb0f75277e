"""What agents wait for, and which releases may follow, by the real engine: no libvirt, and commands of this machine as nodes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable

import pytest

from .test_policy_engine import ROOT, Checkout, engine

pytestmark = pytest.mark.program

AGENTS = 6
PROGRAM = f"""
import json
from pathlib import Path
from pulumi import ResourceOptions
from pulumi_command.local import Command
from components.custom.cluster_identity import ReachedRelease, ReachedReleaseArgs
from components.custom.server_gate import Failure, Serving, Settled, SettledArgs

here = Path(__file__).parent
version, before = json.loads((here / "run.json").read_text())
failure = Failure()
serving = Serving(failure)
gate = Settled("servers", SettledArgs(of=version, serving=serving, limit=60, refusal="the agents are left as they are"))
for number in range(3):
    step = Command(f"server-{{number}}", create=f"{{before}} && echo server {{version}} >> log", dir=str(here),
        opts=ResourceOptions(depends_on=serving.steps[-1:], hooks=failure.hooks))
    serving.steps.append(step)
for number in range({AGENTS}):
    Command(f"agent-{{number}}", create=f"echo agent {{version}} >> log", dir=str(here),
        opts=ResourceOptions(depends_on=[serving.steps[0], gate], hooks=failure.hooks))
ReachedRelease("reached", ReachedReleaseArgs(version=version, cluster="one"), ResourceOptions(depends_on=serving.steps))
"""
AFTER_AN_AGENT = "[ ! -s log ] || until grep -q agent log; do sleep 0.1; done"
"""Of a server: the first goes ahead."""
Up = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Up:
    """Runs `pulumi up` with a release; its status, what it printed, and what the nodes did."""
    folder = engine()
    if folder is None:
        pytest.skip("there is no pulumi as new as Pulumi.yaml requires, on PATH or in ~/.pulumi/bin")
    if shutil.which("pulumi-resource-command", path=f"{folder}:{os.environ['PATH']}") is None:
        pytest.skip("there is no pulumi-resource-command on PATH")
    path = tmp_path_factory.mktemp("waits")
    (path / "Pulumi.yaml").write_text("name: waits\nruntime: {name: python, options: {virtualenv: .venv}}\n")
    (path / "__main__.py").write_text(PROGRAM)
    (path / ".venv").symlink_to(sys.prefix)
    (path / "components").symlink_to(ROOT / "components")
    (path / "state").mkdir()
    checkout = Checkout(path, "s")
    done = checkout.pulumi("stack", "init")
    assert done.returncode == 0, done.stderr

    def run(version: str, *, before: str = "true") -> tuple[int, str, list[str]]:
        (path / "run.json").write_text(json.dumps([version, before]))
        log = path / "log"
        log.write_text("")
        # Fewer steps at once than there are agents.
        done = checkout.pulumi("up", "--yes", "--skip-preview", "--parallel", "2")
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    return run


def test_agents_wait_for_all_servers_without_taking_their_steps(up: Up) -> None:
    status, said, _ = up("v1.36.3+k3s1", before=AFTER_AN_AGENT)
    assert status == 0, f"when they are made they wait for the first server alone: {said}"
    status, said, done = up("v1.36.4+k3s1")
    assert status == 0, said
    assert done == ["server v1.36.4+k3s1"] * 3 + ["agent v1.36.4+k3s1"] * AGENTS


def test_a_release_that_could_not_be_had_is_taken_back_and_one_that_ran_is_not(up: Up) -> None:
    status, said, done = up("v1.36.40+k3s1", before="false")
    assert status != 0 and "the agents are left as they are" in said and done == []
    status, said, _ = up("v1.36.4+k3s1")
    assert status == 0, said
    for version, text in (("v1.36.3+k3s1", "K3s cannot go back"), ("v1.38.1+k3s1", "Set a v1.37 release first")):
        status, said, _ = up(version)
        assert status != 0 and text in said

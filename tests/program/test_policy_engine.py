"""The policy pack and the real engine: previews of a copy of this checkout, with a state of their own and no libvirt."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in ROOT.glob("Pulumi.*.yaml"))
UNMANAGED = """
import pulumi_kubernetes as kubernetes
inside = pulumi.ResourceOptions(provider=cluster.provider{deleted_with})
"""
POD = """
container = {"name": "web", "image": machines[0].disk_id, "securityContext": {"privileged": True}}
kubernetes.core.v1.Pod("pod", metadata={"name": "Bad_Name"}, opts=inside, spec={
    "containers": [container], "initContainers": [{"name": "init", "image": "nginx"}],
})
"""
NETWORK = """
config = '{"name": "wide", "ipam": {"type": "host-local", "subnet": "192.168.122.0/24", "rangeEnd": "192.168.122.210"}}'
kubernetes.apiextensions.CustomResource("wide", api_version="k8s.cni.cncf.io/v1", kind="NetworkAttachmentDefinition",
    metadata={"name": "wide"}, spec={"config": config}, opts=inside)
"""

ROUTES = """
config = '{"name": "off", "ipam": {"type": "static", "routes": [{"dst": "0.0.0.0/1"}, {"dst": "10.43.0.0/16"}]}}'
kubernetes.apiextensions.CustomResource("off", api_version="k8s.cni.cncf.io/v1", kind="NetworkAttachmentDefinition",
    metadata={"name": "off"}, spec={"config": config}, opts=inside)
"""


def engine() -> str | None:
    """The folder of a Pulumi new enough for Pulumi.yaml."""
    for folder in (*os.get_exec_path(), str(Path.home() / ".pulumi/bin")):
        pulumi = Path(folder) / "pulumi"
        if pulumi.is_file():
            version = subprocess.run([str(pulumi), "version"], capture_output=True, text=True, check=False).stdout
            installed = tuple(map(int, re.findall(r"\d+", version)[:3]))
            wanted = re.findall(r"\d+", yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["requiredPulumiVersion"])
            if installed >= tuple(map(int, wanted)):
                return folder
    return None


@dataclass(frozen=True)
class Preview:
    """What a preview with the policy pack came to."""

    exit_code: int
    document: str
    """As `pulumi preview --json --show-sames` writes it."""
    violations: frozenset[tuple[str, str, str]]
    """Level, policy and resource."""

    def broken(self, level: str, resource: str | None = None) -> set[str]:
        """Names of the policies of this level that are broken, by one resource or by any."""
        return {policy for enforced, policy, name in self.violations if enforced == level and resource in (None, name)}

    def without_deleted_with(self) -> tuple[int, str]:
        """Exit code and output of policy/deleted_with.py."""
        command = [sys.executable, str(ROOT / "policy/deleted_with.py")]
        done = subprocess.run(command, input=self.document, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout


@dataclass(frozen=True)
class Checkout:
    """A copy of what a preview needs, and one stack in it that has never been up."""

    path: Path
    stack: str

    def pulumi(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": f"{engine()}:{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "PULUMI_HOME": os.environ.get("PULUMI_HOME", str(Path.home() / ".pulumi")),
            "PULUMI_CREDENTIALS_PATH": str(self.path),
            "PULUMI_BACKEND_URL": f"file://{self.path}/state",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # the engine has --event-log only with it
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            ["pulumi", *words, "--non-interactive", "--stack", self.stack],
            cwd=self.path,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def preview(self, *options: str) -> Preview:
        """A preview with the policy pack; a violation that is mandatory must have made it fail, and nothing else may have."""
        log = self.path / "events.json"
        log.unlink(missing_ok=True)
        words = ("preview", "--json", "--show-sames", "--policy-pack", "policy", "--event-log", str(log), *options)
        done = self.pulumi(*words)
        output = done.stdout[-3000:] + done.stderr
        assert log.exists(), output
        events = [json.loads(line) for line in log.read_text().splitlines()]
        ran = {event["policyAnalyzeSummaryEvent"]["policyPackName"] for event in events if "policyAnalyzeSummaryEvent" in event}
        assert ran == {"k3s-macvlan"}, output
        broken = [event["policyEvent"] for event in events if "policyEvent" in event]
        violations = {
            (event["enforcementLevel"], event["policyName"], event["resourceUrn"].rpartition("::")[2]) for event in broken
        }
        assert (done.returncode != 0) == any(level == "mandatory" for level, _, _ in violations), output
        assert "can't run policy" not in output
        return Preview(done.returncode, done.stdout, frozenset(violations))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkout]:
    """checkout(stack, appended): a copy with this text at the end of its program."""

    def copy(stack: str, appended: str = "") -> Checkout:
        if engine() is None:
            pytest.skip("there is no pulumi as new as Pulumi.yaml requires, on PATH or in ~/.pulumi/bin")
        path = tmp_path_factory.mktemp(stack)
        for pattern in ("Pulumi*.yaml", "__main__.py"):
            for file in ROOT.glob(pattern):
                shutil.copy(file, path)
        for folder in ("components", "policy"):
            shutil.copytree(ROOT / folder, path / folder, ignore=shutil.ignore_patterns("__pycache__"))
        with (path / "__main__.py").open("a") as program:
            program.write(appended)
        (path / ".venv").symlink_to(sys.prefix)
        (path / "state").mkdir()
        made = Checkout(path, stack)
        done = made.pulumi("stack", "init")
        assert done.returncode == 0, done.stderr
        return made

    return copy


@pytest.fixture(scope="module")
def preview(checkout: Callable[..., Checkout]) -> Callable[[str], Preview]:
    """preview(stack): of the program as it is, once for all tests of this file."""
    return functools.cache(lambda stack: checkout(stack).preview())


@pytest.fixture(scope="module")
def refused(checkout: Callable[..., Checkout]) -> Preview:
    """The preview of a program with a pod and two networks that the policies refuse."""
    appended = UNMANAGED.format(deleted_with="") + POD
    appended += UNMANAGED.format(deleted_with=", deleted_with=machines[0].domain") + NETWORK + ROUTES
    return checkout("dev", appended).preview()


@pytest.mark.parametrize("stack", STACKS)
def test_each_stack_holds(preview: Callable[[str], Preview], stack: str) -> None:
    """No mandatory rule is broken, and everything that lives in a machine is deleted with it."""
    previewed = preview(stack)
    assert previewed.exit_code == 0
    assert previewed.without_deleted_with() == (0, "")
    kinds = {step["newState"]["type"].partition(":")[0] for step in json.loads(previewed.document)["steps"]}
    assert {"kubernetes", "command", "pulumi-python"} <= kinds


def test_what_the_scenario_requires_is_advice_alone(preview: Callable[[str], Preview]) -> None:
    """It has nginx:latest, the default route and the unverified script."""
    assert preview("cn").broken("advisory") == {"image-not-latest", "install-script-verified"}


def test_a_team_may_refuse_what_is_advice_here(checkout: Callable[..., Checkout], tmp_path: Path) -> None:
    strict = tmp_path / "strict.json"
    strict.write_text(json.dumps({"image-not-latest": {"enforcementLevel": "mandatory"}}))
    assert checkout("cn").preview("--policy-pack-config", str(strict)).broken("mandatory") == {"image-not-latest"}


def test_routes_that_take_pods_off_the_cluster_are_refused(refused: Preview) -> None:
    """In a network that the program does not manage: the settings refuse those of its own, with every preview."""
    assert refused.broken("mandatory", "off") == {"no-default-route", "no-cluster-route"}


def test_a_bad_pod_is_refused(refused: Preview) -> None:
    """With an image that is not known before `up` next to one that is."""
    assert refused.broken("mandatory", "pod") == {"image-pinned", "no-privileged-pod", "name-limits"}
    exit_code, output = refused.without_deleted_with()
    assert exit_code == 1
    assert output.endswith("Pod::pod lives in a machine and has no deletedWith\n")


def test_a_range_that_dhcp_gives_out_is_refused(refused: Preview) -> None:
    assert refused.broken("mandatory", "wide") == {"range-out-of-dhcp"}


def test_nothing_else_is_refused(refused: Preview) -> None:
    assert {name for level, _, name in refused.violations if level == "mandatory"} == {"pod", "off", "wide"}

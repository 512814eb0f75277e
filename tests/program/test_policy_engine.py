"""The policy pack and the real engine: previews of a copy of this checkout, with a state of their own and no libvirt."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in ROOT.glob("Pulumi.*.yaml"))
FOREIGN = """
import pulumi_kubernetes as kubernetes
inside = pulumi.ResourceOptions(provider=cluster.provider{deleted_with})
"""
POD = """
container = {"name": "web", "image": machines[0].serial, "securityContext": {"privileged": True}}
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
            found = tuple(map(int, re.findall(r"\d+", version)[:3]))
            wanted = re.findall(r"\d+", yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["requiredPulumiVersion"])
            if found >= tuple(map(int, wanted)):
                return folder
    return None


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

    def append(self, text: str) -> None:
        with (self.path / "__main__.py").open("a") as program:
            program.write(text)

    def violations(self, level: str, *options: str) -> set[str]:
        """Names of the policies that a preview says are broken; one that is mandatory must have made it fail."""
        done = self.pulumi("preview", "--color", "never", "--policy-pack", "policy", *options)
        said = done.stdout + done.stderr
        assert "k3s-macvlan@v" in said, said
        assert (done.returncode != 0) == ("[mandatory]" in said), said
        assert "can't run policy" not in said
        return set(re.findall(rf"\[{level}\]\s+(\S+)", said))


@pytest.fixture
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    """Parametrized with a stack's name; dev otherwise."""
    if engine() is None:
        pytest.skip("there is no pulumi as new as Pulumi.yaml asks for, on PATH or in ~/.pulumi/bin")
    for pattern in ("Pulumi*.yaml", "__main__.py"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, tmp_path)
    for folder in ("components", "policy"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "state").mkdir()
    made = Checkout(tmp_path, getattr(request, "param", "dev"))
    done = made.pulumi("stack", "init")
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("checkout", STACKS, indirect=True)
def test_each_stack_holds(checkout: Checkout) -> None:
    """No mandatory rule is broken, and everything that lives in a machine goes with it."""
    done = checkout.pulumi("preview", "--json", "--show-sames", "--policy-pack", "policy")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    command = [sys.executable, str(ROOT / "policy/deleted_with.py")]
    found = subprocess.run(command, input=done.stdout, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    kinds = {step["newState"]["type"].partition(":")[0] for step in json.loads(done.stdout)["steps"]}
    assert {"kubernetes", "command", "pulumi-python"} <= kinds


@pytest.mark.parametrize("checkout", ["cn"], indirect=True)
def test_what_the_scenario_asks_for_is_only_said(checkout: Checkout, tmp_path: Path) -> None:
    """nginx:latest, the default route and the unverified script are in it; a team may say no to the first."""
    assert checkout.violations("advisory") == {"image-not-latest", "install-script-verified"}
    (tmp_path / "strict.json").write_text(json.dumps({"image-not-latest": {"enforcementLevel": "mandatory"}}))
    assert checkout.violations("mandatory", "--policy-pack-config", "strict.json") == {"image-not-latest"}


def test_routes_that_take_pods_off_the_cluster_are_refused(checkout: Checkout) -> None:
    """In a network of somebody else's: those of the program's own are refused by the settings, with every preview."""
    checkout.append(FOREIGN.format(deleted_with=", deleted_with=machines[0].domain") + ROUTES)
    assert checkout.violations("mandatory") == {"no-default-route", "no-cluster-route"}


def test_a_bad_pod_is_refused(checkout: Checkout) -> None:
    """With an image that is not known before `up` beside one that is."""
    checkout.append(FOREIGN.format(deleted_with="") + POD)
    assert checkout.violations("mandatory") == {"image-pinned", "no-privileged-pod", "name-limits"}
    done = checkout.pulumi("preview", "--json", "--show-sames")
    command = [sys.executable, str(ROOT / "policy/deleted_with.py")]
    found = subprocess.run(command, input=done.stdout, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stdout.endswith("Pod::pod lives in a machine and has no deletedWith\n")


def test_a_range_that_dhcp_gives_out_is_refused(checkout: Checkout) -> None:
    checkout.append(FOREIGN.format(deleted_with=", deleted_with=machines[0].domain") + NETWORK)
    assert checkout.violations("mandatory") == {"range-out-of-dhcp"}

"""The graph with a directory of artifacts: a disk per hypervisor, a step per node, and no download left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pulumi import RunError

from components.config import downloads
from components.config.reading import parse

from .engine import UNKNOWN, Deployment, config_of, leaves, opened, run
from .test_changes import R, U, changes

pytestmark = pytest.mark.program

Stocked = Callable[..., dict[str, Any]]


@pytest.fixture
def stocked(tmp_path: Path) -> Stocked:
    """The configuration of a stack with a directory that fits it."""

    def fill(name: str = "dev", *, files: bool = True, **change: Any) -> dict[str, Any]:
        config = config_of(name, {**change, "artifacts": {"directory": str(tmp_path)}})
        artifacts = []
        for download in downloads.for_settings(parse(name, config)):
            data = download.source.encode()
            (tmp_path / download.file).unlink(missing_ok=True)
            if files:
                (tmp_path / download.file).write_bytes(data)
            artifact = {
                "file": download.file,
                "kind": download.kind,
                "source": download.source,
                "checksum": download.checksum,
                "size": len(data),
            }
            digest = hashlib.sha256(data).hexdigest()
            artifacts.append({**artifact, "sha256": digest, "version": download.version, "reference": download.reference})
        (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "artifacts": artifacts}))
        return config

    return fill


def ha(**more: Any) -> dict[str, Any]:
    return {
        "servers": {"count": 3},
        "agents": {"count": 1},
        "podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.229", "addressesPerNode": 3}},
        **more,
    }


def test_one_disk_for_all_machines_and_a_step_on_each(stocked: Stocked) -> None:
    deployment = run(stocked(**ha()))
    (disk,) = deployment.of("ArtifactDisk")
    assert disk.name == "local-artifacts" and {"local-pool"} <= deployment.before("local-artifacts")
    assert disk.deleted_with == deployment["local-pool"].urn
    for domain in deployment.of("Domain"):
        assert domain.input("extra_disks") == [disk.input("path")]
    for node in ("server-1", "server-2", "server-3", "agent-1"):
        step = deployment[f"{node}-k3s-artifacts"]
        assert f"DIGEST={disk.input('digest')}" in step.input("create")
        assert step.deleted_with == deployment[f"{node}-domain"].urn
        assert {f"{node}-answers", "local-artifacts"} <= deployment.before(step.name)
        assert step.name in deployment.before(f"{node}-k3s-install")
        assert step.name in deployment.before(f"{node}-k3s-plugins-install")


def test_nothing_is_left_to_download(stocked: Stocked) -> None:
    deployment = run(stocked("cn"), stack_name="cn")
    image = deployment["local-prepared-image"]
    assert image.input("source").startswith("/") and image.input("checksum").startswith("sha")
    for step in ("server-1-k3s-install", "server-1-k3s-plugins-install"):
        text = deployment[step].input("create")
        assert "URL=file:///var/lib/k3s-macvlan/artifacts/" in text and "URL=http" not in text
    install = deployment["server-1-k3s-install"]
    assert "K3S_BINARY=/var/lib/k3s-macvlan/artifacts/" in install.input("create")
    assert "system-default-registry" not in str(opened(install.inputs["stdin"]))
    pull = [container["imagePullPolicy"] for _, container in _containers(deployment)]
    assert pull and set(pull) == {"IfNotPresent"}


def _containers(deployment: Deployment) -> list[tuple[str, dict[str, Any]]]:
    containers = []
    for kind in ("DaemonSet", "Pod"):
        for resource in deployment.of(kind):
            spec = opened(resource.inputs)["spec"]
            spec = spec["template"]["spec"] if kind == "DaemonSet" else spec
            containers += [(resource.name, container) for container in (*spec.get("initContainers", ()), *spec["containers"])]
    return containers


def test_a_second_preview_knows_everything_and_needs_the_manifest_alone(stocked: Stocked) -> None:
    old = run(stocked())
    new = run(stocked(files=False), mode="again")
    assert changes(old, new) == {}
    for resource in new.custom:
        assert not [path for path, value in leaves(resource.inputs) if value is UNKNOWN], resource.name


def test_up_without_the_files_makes_nothing(stocked: Stocked) -> None:
    with pytest.raises(RunError, match="cannot be read") as error:
        run(stocked(files=False))
    assert error.value.deployment.names == []  # type: ignore[attr-defined]


def test_another_file_is_another_disk_of_the_same_machines(stocked: Stocked) -> None:
    old = run(stocked())
    new = run(stocked(workload={"image": "docker.io/library/nginx:1.27"}))
    changed = changes(old, new)
    assert changed.pop("nginx-macvlan") == "changed"
    assert changed == {
        "local-artifacts": R,
        "server-1-domain": U,
        "server-1-k3s-artifacts": U,
        "server-1-k3s-install": U,
        "server-1-k3s-plugins-install": U,
    }


def test_the_guest_agent_s_script_is_set_to_download_nothing(stocked: Stocked) -> None:
    deployment = run(stocked(machine={"guestAgent": True}))
    assert "OFFLINE=true" in deployment["server-1-guest-agent"].input("create")


def test_a_stack_that_runs_keeps_its_machines_when_artifacts_are_set(stocked: Stocked) -> None:
    old, new = run(config_of("dev")), run(stocked())
    assert set(new.names) - set(old.names) == {"ArtifactDisk local-artifacts", "Command server-1-k3s-artifacts"}
    changed = changes(old, new)
    assert R not in changed.values(), changed

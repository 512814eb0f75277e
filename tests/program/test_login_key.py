"""Another login key in place of the stack's own: no machine is another one, and a rebuilt one has the new key."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import SeedImageProvider
from components.machine.login_key import ROTATION

from . import engine
from .engine import Deployment, Mode, config_of, opened, run

pytestmark = pytest.mark.program

NEW = "ssh-ed25519 AAAAnew k3s-macvlan/dev"


def rotated(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> Deployment:
    """The stack after a rotation: the state has the public key of both pairs, the present one first."""
    first = engine.public_key
    monkeypatch.setattr(engine, "public_key", lambda name: f"{NEW}\n{first(name)}" if name == "client-key" else first(name))
    return run(config_of("ha"), mode=mode)


def inputs(deployment: Deployment, name: str) -> dict[str, Any]:
    return {key: opened(value) for key, value in deployment[name].inputs.items()}


@pytest.mark.parametrize("mode", ["up", "again"])
def test_the_machines_stay_and_the_next_one_has_the_new_key(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    before, after = run(config_of("ha"), mode=mode), rotated(monkeypatch, mode)
    for node in ("server-1", "agent-2"):
        disk, seed = f"{node}-disk", f"{node}-seed"
        assert inputs(before, disk) == inputs(after, disk)
        assert inputs(before, f"{node}-domain") == inputs(after, f"{node}-domain")
        assert not OverlayDiskProvider().diff("", inputs(before, disk), inputs(after, disk)).changes
        change = SeedImageProvider().diff("", inputs(before, seed), inputs(after, seed))
        assert change.changes and not change.replaces
        assert inputs(before, seed)["meta_data"] == inputs(after, seed)["meta_data"]
        documents = [yaml.safe_load(inputs(deployment, seed)["user_data"]) for deployment in (before, after)]
        keys = [document["users"][0].pop("ssh_authorized_keys") for document in documents]
        assert documents[0] == documents[1]
        assert keys == [[engine.public_key("client-key").splitlines()[-1]], [NEW]]


def test_only_the_run_that_is_set_to_rotate_makes_another_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "rotation" not in run(config_of("dev"))["client-key"].inputs
    monkeypatch.setenv(ROTATION, "0123")
    deployment = run(config_of("dev"))
    assert deployment["client-key"].input("rotation") == "0123"
    assert "rotation" not in deployment["server-1-host-key"].inputs

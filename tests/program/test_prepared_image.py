"""The prepared image in the graph: in place of the base image, before the disks, and no change of machines that are there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.config.reading import parse
from components.libvirt.overlay_disk import OverlayDiskProvider

from .conftest import Run
from .engine import STACK_FILES, Deployment, config_of, merged
from .test_changes import changes, many
from .test_graph import LAN, MODES, TWO_HOSTS

pytestmark = pytest.mark.program

NEVER: dict[str, Any] = {"image": {"prepare": "never"}}
BASE, PREPARED = "BaseImage local-image", "PreparedImage local-prepared-image"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", STACK_FILES)
def test_it_is_in_the_place_of_the_base_image(deploy: Run, name: str, mode: str) -> None:
    without, with_it = deploy(name, NEVER, mode), deploy(name, mode=mode)
    assert set(without.names) - set(with_it.names) == {BASE}
    assert set(with_it.names) - set(without.names) == {PREPARED}


@pytest.mark.parametrize("name", STACK_FILES)
def test_its_machine_gets_no_address_of_the_stack_s(deploy: Run, name: str) -> None:
    """They are taken out of the network's DHCP ranges before."""
    assert {"local-dhcp", "local-pool"} <= deploy(name).before("local-prepared-image")


@pytest.mark.parametrize("mode", MODES)
def test_on_a_bridge_it_is_made_only_where_it_is_requested(deploy: Run, mode: str) -> None:
    assert PREPARED not in deploy("dev", LAN, mode).names
    always = deploy("dev", {**LAN, "image": {"prepare": "always"}}, mode)
    assert PREPARED in always.names and BASE not in always.names
    image = always["local-prepared-image"]
    assert (image.input("bridge"), image.input("network"), image.input("required")) == ("br0", None, True)
    assert "addresses" in always.before(image.name), "it is made before the addresses are known to be free"


def test_disks_are_over_it(deploy: Run) -> None:
    deployment = deploy("dev", many(1, 2))
    image = deployment["local-prepared-image"]
    for node in ("server-1", "agent-1", "agent-2"):
        disk = deployment[f"{node}-disk"]
        assert disk.input("backing_path") == f"{image.input('pool_path')}/{image.input('name')}"
        assert disk.input("backing_format") == "qcow2"
    assert set(image.input("machines")) == {"server-1", "agent-1", "agent-2"}
    assert image.input("required") is False


def test_the_image_is_of_the_host_s_and_knows_only_its_machines(deploy: Run) -> None:
    deployment = deploy("dev", merged(LAN, {**TWO_HOSTS, "image": {"prepare": "always"}}))
    here, far = deployment["local-prepared-image"], deployment["far-prepared-image"]
    assert (set(here.input("machines")), set(far.input("machines"))) == ({"server-1"}, {"agent-1"})
    for name in ("digest", "name", "user_data", "pool", "pool_uuid", "pool_path"):
        assert here.input(name) == far.input(name)
    assert here.input("uri") != far.input("uri")


def test_two_stacks_have_the_same_image_in_the_same_pool(deploy: Run) -> None:
    one = deploy("dev")["local-prepared-image"]
    other = deploy("ha" if "ha" in STACK_FILES else STACK_FILES[0], {"k3s": {"version": one_version(one)}})["local-prepared-image"]
    for name in ("pool", "pool_uuid", "pool_path"):
        assert one.input(name) == other.input(name)
    assert one.input("pool") not in {pool.input("name") for pool in deploy("dev").of("StoragePool")}, "destroy would delete it"


def one_version(image: Any) -> str:
    words = yaml.safe_load(image.input("user_data"))["runcmd"][1]
    return str(next(word.partition("=")[2] for word in words if word.startswith("K3S_VERSION=")))


def test_it_is_made_for_the_release_of_the_stack(deploy: Run) -> None:
    for name in STACK_FILES:
        assert one_version(deploy(name)["local-prepared-image"]) == parse(name, config_of(name)).k3s.version


# --- a stack that was made without it


def replaced(old: Deployment, new: Deployment) -> list[str]:
    """Disks that the engine would replace: by the inputs after check(), as in an update of that stack."""
    provider, names = OverlayDiskProvider(), []
    for disk in old.of("OverlayDisk"):
        olds = provider.check({}, {**disk.inputs}).inputs
        news = provider.check(olds, {**new[disk.name].inputs}).inputs
        if provider.diff("id", olds, news).replaces:
            names.append(disk.name)
    return names


@pytest.mark.parametrize("mode", ["up", "again"])
def test_a_stack_made_without_it_keeps_its_machines(deploy: Run, mode: str) -> None:
    three = many(3, 1)
    old, new = deploy("dev", {**three, **NEVER}, mode), deploy("dev", three, mode)
    assert replaced(old, new) == replaced(new, old) == []
    assert changes(old, new) == changes(new, old) == {}
    assert set(old.names) ^ set(new.names) == {BASE, PREPARED}


def test_nor_does_a_first_preview_of_it_replace_a_disk(deploy: Run) -> None:
    """The path of the image is not known then."""
    old, new = deploy("dev", NEVER), deploy("dev", mode="first")
    provider = OverlayDiskProvider()
    for disk in old.of("OverlayDisk"):
        olds = provider.check({}, {**disk.inputs}).inputs
        news = provider.check(olds, {**olds, "backing_path": new[disk.name].inputs["backing_path"]}).inputs
        assert not provider.diff("id", olds, news).changes


def test_a_machine_s_identity_does_not_depend_on_it(deploy: Run) -> None:
    """Else `prepare` would recreate every node."""
    for name in ("server-1-seed", "server-1-domain"):
        assert deploy("dev", NEVER)[name].inputs == deploy("dev")[name].inputs
    assert deploy("dev", NEVER)["server-1-disk"].input("generation") == deploy("dev")["server-1-disk"].input("generation")


def test_another_release_makes_no_image_while_no_machine_is_new(deploy: Run) -> None:
    old = deploy("dev", {"k3s": {"version": "v1.27.8+k3s2"}})
    same = deploy("dev", {"k3s": {"version": "v1.28.15+k3s1"}})
    assert not {"local-prepared-image", "server-1-disk"} & set(changes(old, same))
    assert old["local-prepared-image"].input("digest") != same["local-prepared-image"].input("digest")

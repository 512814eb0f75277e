"""A hypervisor behind SSH: the same resources by the same calls, and what is said when the way there is closed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bridge_lan
import pytest
import ssh_hypervisor
from ssh_hypervisor import SecondHost, SshHypervisor

from components.custom.provider import DeclarativeProvider
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.data_disk import DataDiskProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.guest_report import diagnose
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import (
    attachment,
    claim_inputs,
    data_disk_inputs,
    domain_inputs,
    image_inputs,
    overlay_inputs,
    reservation_inputs,
    seed_inputs,
)
from .sandbox import Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

BRIDGE = "lab-test-br0"


@pytest.fixture(scope="module")
def server(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHypervisor]:
    if ssh_hypervisor.SSHD is None:
        pytest.skip(f"SKIPPED: {ssh_hypervisor.NO_SSHD}")
    with ssh_hypervisor.this_host(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def away(server: SshHypervisor, sandbox: Sandbox) -> Sandbox:
    """The clean sandbox, seen over SSH."""
    there = Sandbox(server.uri)
    there.name, there.path, there.uuid = sandbox.name, sandbox.path, sandbox.uuid
    return there


@pytest.fixture
def bridge(uri: str) -> Iterator[str]:
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
    bridge_lan.run("ip", "link", "add", "name", BRIDGE, "type", "bridge")
    yield BRIDGE
    bridge_lan.run("ip", "link", "delete", BRIDGE)


def every(sandbox: Sandbox, image: Path) -> list[tuple[DeclarativeProvider, dict[str, Any]]]:
    base = image_inputs(sandbox, image)
    return [
        (StoragePoolProvider(), sandbox.pool()),
        (BaseImageProvider(), base),
        (DhcpClaimProvider(), claim_inputs(sandbox)),
        (ReservationProvider(), reservation_inputs(sandbox)),
        (OverlayDiskProvider(), overlay_inputs(sandbox, base)),
        (SeedImageProvider(), seed_inputs(sandbox)),
        (DataDiskProvider(), data_disk_inputs(sandbox)),
        (DomainProvider(), domain_inputs(sandbox, data_disks=[attachment(data_disk_inputs(sandbox))])),
    ]


def test_everything_is_made_read_changed_and_removed_over_ssh(away: Sandbox, image: Path) -> None:
    before = away.snapshot()
    made = []
    for provider, inputs in every(away, image):
        result = provider.create(dict(inputs))
        outs = dict(result.outs or {})
        observed = provider.read(result.id, dict(outs))
        assert (observed.id, observed.outs) == (result.id, outs), type(provider).__name__
        made.append((provider, result.id, outs))
    # The image's bytes were sent through the tunnel and are the same on the other side.
    assert Path(away.file("base.qcow2")).read_bytes() == image.read_bytes()
    provider, key, outs = made[-1]
    provider.update(key, outs, {**outs, "memory_mib": 96})
    assert (provider.read(key, dict(outs)).outs or {})["memory_mib"] == 96
    diagnosis = diagnose(
        away.uri, outs["uuid"], console_pool=away.name, console_name="a-console.log", network="lab-test", mac=outs["mac"]
    )
    assert "is running" in diagnosis
    for provider, key, outs in reversed(made):
        provider.delete(key, outs)
    assert away.snapshot() == before


def test_another_way_to_the_same_host_is_an_update(away: Sandbox, image: Path) -> None:
    made = [(provider, dict(provider.create(dict(inputs)).outs or {})) for provider, inputs in every(away, image)]
    snapshot = away.snapshot()
    for provider, outs in made:
        news = {**outs, "uri": outs["uri"].replace("/system?", "/system?no_tty=1&")}
        change = provider.diff("id", outs, news)
        assert (change.changes, change.replaces) == (True, []), type(provider).__name__
        assert (provider.update("id", outs, news).outs or {})["uri"] == news["uri"]
    assert away.snapshot() == snapshot
    for provider, outs in reversed(made):
        provider.delete("id", outs)


def test_a_host_with_another_key_is_not_talked_to(server: SshHypervisor) -> None:
    server.know(host_key="other")
    try:
        with (
            pytest.raises(HypervisorError, match=r"Host key verification failed.*Connect once with ssh and check the key"),
            connect(server.uri),
        ):
            pytest.fail("the connection was made")
    finally:
        server.know(host_key="host")


def test_a_user_without_key_is_reported_and_asked_nothing(server: SshHypervisor) -> None:
    allowed = server.folder / "authorized_keys"
    text = allowed.read_text()
    allowed.write_text("")
    try:
        with (
            pytest.raises(HypervisorError, match=r"Permission denied \(publickey.*does not let this user log in by key"),
            connect(server.uri),
        ):
            pytest.fail("the connection was made")
    finally:
        allowed.write_text(text)


def test_domain_on_a_bridge_of_the_host(away: Sandbox, image: Path, bridge: str) -> None:
    steps = [step for step in every(away, image) if not isinstance(step[0], DhcpClaimProvider | ReservationProvider)]
    steps[-1] = (DomainProvider(), domain_inputs(away, network=None, bridge=bridge))
    made = [(provider, provider.create(dict(inputs))) for provider, inputs in steps]
    assert len(list(Path(f"/sys/class/net/{bridge}/brif").iterdir())) == 1
    outs = dict(made[-1][1].outs or {})
    assert DomainProvider().read(outs["uuid"], dict(outs)).outs == outs
    for provider, result in reversed(made):
        provider.delete(result.id, dict(result.outs or {}))
    assert not list(Path(f"/sys/class/net/{bridge}/brif").iterdir())


def test_missing_bridge_is_named_and_leaves_nothing(away: Sandbox, image: Path) -> None:
    steps = [
        step for step in every(away, image) if not isinstance(step[0], DhcpClaimProvider | ReservationProvider | DomainProvider)
    ]
    for provider, inputs in steps:
        provider.create(dict(inputs))
    before = away.snapshot()
    with pytest.raises(HypervisorError, match=r"lab-test-br9.*There is no such bridge on this host\. network\.name"):
        DomainProvider().create(domain_inputs(away, network=None, bridge="lab-test-br9"))
    assert away.snapshot() == before


@pytest.fixture(scope="module")
def two_hosts(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bridge_lan.Lan, SecondHost]]:
    if ssh_hypervisor.SSHD is None:
        pytest.skip(f"SKIPPED: {ssh_hypervisor.NO_SSHD}")
    folder = tmp_path_factory.mktemp("second")
    with bridge_lan.lan("lab-test-br1", "10.78.0") as lan, ssh_hypervisor.second_host(folder, lan) as second:
        yield lan, second


def test_two_hosts_on_one_lan_have_each_their_own(
    sandbox: Sandbox, image: Path, two_hosts: tuple[bridge_lan.Lan, SecondHost]
) -> None:
    """The same names, UUIDs and paths on both: nothing of the one is taken for the other's."""
    lan, second = two_hosts
    before = sandbox.snapshot()
    there = Sandbox(second.uri)
    there.name, there.path, there.uuid = sandbox.name, sandbox.path, sandbox.uuid
    made = []
    for host in (sandbox, there):
        for provider, inputs in every(host, image):
            if isinstance(provider, DhcpClaimProvider | ReservationProvider):
                continue
            if isinstance(provider, DomainProvider):
                inputs |= {"network": None, "bridge": lan.name}
            made.append((provider, provider.create(dict(inputs))))
    assert second.virsh("list", "--name").split() == [f"{sandbox.name}-a"]
    assert second.virsh("pool-list", "--name").split() == [sandbox.name]
    here = sandbox.snapshot()
    for provider, result in made:
        assert provider.read(result.id, dict(result.outs or {})).outs == result.outs
    for provider, result in reversed(made[len(made) // 2 :]):
        provider.delete(result.id, dict(result.outs or {}))
    assert sandbox.snapshot() == here
    assert second.virsh("list", "--all", "--name").split() == second.virsh("pool-list", "--all", "--name").split() == []
    assert second.files() == []
    for provider, result in reversed(made[: len(made) // 2]):
        provider.delete(result.id, dict(result.outs or {}))
    assert sandbox.snapshot() == before

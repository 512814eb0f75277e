"""What is not ours is named and left alone; what is ours but in no state is adopted."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.custom import free_addresses
from components.libvirt import dhcp_claim, domain_spec, storage_xml
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.guest_report import diagnose
from components.libvirt.leases import Lease
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import claim_inputs, domain_inputs, overlay_inputs, reservation_inputs, seed_inputs
from .sandbox import NETWORK, Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]


def refused(action: Any, *words: str) -> None:
    with pytest.raises(HypervisorError) as error:
        action()
    for word in words:
        assert word in str(error.value)


def test_pool_of_another(sandbox: Sandbox) -> None:
    with sandbox.libvirt() as conn:
        conn.storagePoolDefineXML(storage_xml.pool(sandbox.name, str(uuid.uuid4()), sandbox.path), 0)
    before = sandbox.snapshot()
    refused(lambda: StoragePoolProvider().create(sandbox.pool()), sandbox.name, "is not this stack's", "pool-undefine")
    other = {**sandbox.pool(), "name": f"{sandbox.name}-b"}
    refused(lambda: StoragePoolProvider().create(other), sandbox.path, "already uses")
    StoragePoolProvider().delete("id", sandbox.pool())  # by UUID, so the other one stays
    assert sandbox.snapshot() == before


def test_pool_keeps_what_it_did_not_make(
    sandbox: Sandbox, pool: dict[str, Any], base: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    own = Path(sandbox.file("mine.img"))
    own.write_bytes(b"precious")
    StoragePoolProvider().delete("id", pool)
    assert [path.name for path in own.parent.iterdir()] == ["mine.img"]
    assert "mine.img" in capfd.readouterr().out


@pytest.mark.parametrize("kind", ["image", "overlay", "seed"])
def test_volume_of_another(kind: str, sandbox: Sandbox, base: dict[str, Any], base_inputs: dict[str, Any]) -> None:
    provider: Any
    provider, inputs = {
        "image": (BaseImageProvider(), {**base_inputs, "name": "x.img", "path": sandbox.file("x.img")}),
        "overlay": (OverlayDiskProvider(), overlay_inputs(sandbox, base)),
        "seed": (SeedImageProvider(), seed_inputs(sandbox)),
    }[kind]
    Path(str(inputs["path"])).write_bytes(b"precious")
    before = sandbox.snapshot()
    refused(lambda: provider.create(dict(inputs)), str(inputs["name"]), "left alone", "vol-delete")
    provider.delete("id", dict(inputs))
    assert provider.read("id", {**inputs, "sha256": "", "capacity": 0}).id == ""
    assert sandbox.snapshot() == before


def test_domain_of_another(sandbox: Sandbox, base: dict[str, Any]) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    inputs = domain_inputs(sandbox)
    theirs = DomainProvider().create({**inputs, "owner": "somebody/else"})
    before = sandbox.snapshot()
    for mine in (inputs, {**inputs, "uuid": str(uuid.uuid4())}, {**inputs, "uuid": str(uuid.uuid4()), "name": "lab-test-z"}):
        refused(lambda mine=mine: DomainProvider().create(dict(mine)), str(inputs["name"]))
    DomainProvider().delete("id", dict(inputs))
    assert DomainProvider().read("id", dict(inputs)).id == ""
    assert sandbox.snapshot() == before
    DomainProvider().delete(theirs.id, dict(theirs.outs or {}))


def test_killed_run_is_adopted_though_it_differs(sandbox: Sandbox, base: dict[str, Any]) -> None:
    """Ours, in no state, and made with other settings: brought to what is wanted now."""
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    DomainProvider().create(domain_inputs(sandbox))
    DomainProvider().create(domain_inputs(sandbox, memory_mib=96, disk_serial="s2"))
    with sandbox.libvirt() as conn:
        facts = domain_spec.read_domain(conn.lookupByName(f"{sandbox.name}-a").XMLDesc(0))
    assert (facts.memory_mib, facts.disk_id) == (96, "s2")


def test_a_disk_without_state_is_adopted_only_as_what_it_is(sandbox: Sandbox, base: dict[str, Any]) -> None:
    """Of the same generation (a killed run) it is kept; of another (the state was lost), or unknown, it is replaced."""
    inputs = overlay_inputs(sandbox, base)
    disk = Path(str(inputs["path"]))

    def kept(**change: str) -> bool:
        os.utime(disk, (1, 1))
        OverlayDiskProvider().create({**inputs, **change})
        return disk.stat().st_mtime == 1

    OverlayDiskProvider().create(dict(inputs))
    assert kept(serial="s2")
    assert not kept(generation="2")
    assert kept(generation="2")
    disk.with_name(disk.name + ".verified").unlink()
    assert not kept(generation="2")


def test_a_disk_of_another_generation_in_use_is_left_alone(sandbox: Sandbox, base: dict[str, Any]) -> None:
    inputs = overlay_inputs(sandbox, base)
    OverlayDiskProvider().create(dict(inputs))
    SeedImageProvider().create(seed_inputs(sandbox))
    DomainProvider().create(domain_inputs(sandbox))
    before = sandbox.snapshot()
    changed = {**inputs, "generation": "2"}
    refused(lambda: OverlayDiskProvider().create(dict(changed)), f"{sandbox.name}-a", "state was lost", "virsh destroy")
    assert sandbox.snapshot() == before
    with sandbox.libvirt() as conn:
        conn.lookupByName(f"{sandbox.name}-a").destroy()
    OverlayDiskProvider().create(dict(changed))


def test_half_an_image_is_fetched_again(sandbox: Sandbox, base: dict[str, Any], base_inputs: dict[str, Any]) -> None:
    Path(sandbox.file("base.qcow2.verified")).unlink()
    Path(sandbox.file("base.qcow2")).write_bytes(b"QFI\xfb half")
    assert BaseImageProvider().read("id", base).id == ""
    again = BaseImageProvider().create(dict(base_inputs))
    assert again.outs == base
    assert Path(sandbox.file("base.qcow2")).read_bytes() == Path(base_inputs["source"]).read_bytes()


def test_whole_image_is_not_read_again(sandbox: Sandbox, base: dict[str, Any], base_inputs: dict[str, Any]) -> None:
    again = BaseImageProvider().create({**base_inputs, "source": "/nowhere"})
    assert (again.outs or {})["capacity"] == base["capacity"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"checksum": "sha256:" + "0" * 64}, ["sha256", "checksum setting"]),
        ({"source": "/nowhere/x.img"}, ["/nowhere/x.img", "source"]),
        ({"source": "http://127.0.0.1:9/x.img"}, ["127.0.0.1:9", "mirror"]),
        ({"source": "ftp://host/x"}, ["ftp"]),
        ({"format": "raw"}, ["is a qcow2 image"]),
    ],
)
def test_bad_image_leaves_nothing(
    change: dict[str, Any], words: list[str], sandbox: Sandbox, pool: dict[str, Any], base_inputs: dict[str, Any]
) -> None:
    before = sandbox.snapshot()
    refused(lambda: BaseImageProvider().create({**base_inputs, **change}), *words)
    assert sandbox.snapshot() == before


class Half(http.server.BaseHTTPRequestHandler):
    """Promises a file and gives half of it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"QFI\xfb" + bytes(499996))

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


def test_download_cut_half_way(sandbox: Sandbox, pool: dict[str, Any], base_inputs: dict[str, Any]) -> None:
    before = sandbox.snapshot()
    with http.server.HTTPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = f"http://127.0.0.1:{server.server_port}/image.qcow2?token=s3cret"
        with pytest.raises(HypervisorError) as error:
            BaseImageProvider().create({**base_inputs, "source": source})
        server.shutdown()
    assert "ended after 500000 of 1000000 bytes" in str(error.value)
    assert "s3cret" not in str(error.value)
    assert sandbox.snapshot() == before


def test_image_that_needs_a_second_file(
    sandbox: Sandbox, pool: dict[str, Any], base_inputs: dict[str, Any], tmp_path: Path
) -> None:
    image = tmp_path / "child.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base_inputs["source"], str(image)], check=True)
    inputs = {
        **base_inputs,
        "source": image.as_uri(),
        "checksum": "sha512:" + hashlib.sha512(image.read_bytes()).hexdigest(),
    }
    refused(lambda: BaseImageProvider().create(inputs), "second file")


def test_disk_smaller_than_its_image(sandbox: Sandbox, base: dict[str, Any]) -> None:
    before = sandbox.snapshot()
    refused(lambda: OverlayDiskProvider().create(overlay_inputs(sandbox, base, capacity=1 << 20)), "larger disk size")
    assert sandbox.snapshot() == before


def test_disk_of_a_running_domain_is_not_replaced(sandbox: Sandbox, base: dict[str, Any]) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    DomainProvider().create(domain_inputs(sandbox))
    refused(
        lambda: OverlayDiskProvider().create(overlay_inputs(sandbox, {**base, "path": "/other"})), "running domain", "virsh destroy"
    )


def test_reservation_of_another(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    before = sandbox.snapshot()
    refused(lambda: ReservationProvider().create(reservation_inputs(sandbox, ip="192.168.150.240")), "bystander", "address")
    refused(lambda: ReservationProvider().create(reservation_inputs(sandbox, name="Bystander")), "52:54:00:99:99:99", "name")
    refused(lambda: DhcpClaimProvider().create(claim_inputs(sandbox, ranges=["192.168.150.235-192.168.150.245"])), "bystander")
    assert sandbox.snapshot() == before


def test_lease_of_another(sandbox: Sandbox, pool: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(mac="52:54:00:99:99:99", address="192.168.150.203", name="printer", until=1900000000)  # of the bystander
    monkeypatch.setattr(dhcp_claim, "leases", lambda _: [lease])
    before = sandbox.snapshot()
    refused(
        lambda: DhcpClaimProvider().create(claim_inputs(sandbox)),
        "192.168.150.203",
        "printer",
        "52:54:00:99:99:99",
        "domain 'lab-test-bystander' has its MAC address",
        "dhcp_release",
    )
    assert sandbox.snapshot() == before
    monkeypatch.setattr(dhcp_claim, "set_ranges", lambda *_: None)
    # A machine of ours, or one that was.
    for ours in (replace(lease, mac="52:54:00:ab:00:01"), replace(lease, name="lab-test-tests-agent-1")):
        monkeypatch.setattr(dhcp_claim, "leases", lambda _, ours=ours: [ours])
        DhcpClaimProvider().create(claim_inputs(sandbox))


def test_lease_of_a_machine_that_left(sandbox: Sandbox, pool: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It lasts for an hour after the machine was deleted, and is no unmanaged one's in the next run or in the one after."""
    lease = Lease(mac="52:54:00:ab:00:02", address="192.168.150.203", name="agent-1", until=1900000000)
    monkeypatch.setattr(dhcp_claim, "leases", lambda _: [lease])
    monkeypatch.setattr(free_addresses, "neighbours", lambda addresses: dict.fromkeys(addresses, lease.mac))
    both, one = ["52:54:00:ab:00:01", "52:54:00:ab:00:02"], ["52:54:00:ab:00:01"]
    state = DhcpClaimProvider().create(claim_inputs(sandbox, macs=both))
    assert state.outs is not None
    outs = state.outs
    for macs in (one, ["52:54:00:ab:00:03"], one):
        outs = DhcpClaimProvider().update(state.id, outs, claim_inputs(sandbox, macs=macs)).outs or {}
        assert outs["macs"] == macs
    refused(lambda: DhcpClaimProvider().create(claim_inputs(sandbox, macs=one, record="of-another")), "agent-1")


def test_network_missing_or_stopped(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    refused(lambda: DhcpClaimProvider().create(claim_inputs(sandbox, network="lab-test-none")), "lab-test-none", "not there")
    with sandbox.libvirt() as conn:
        conn.networkLookupByName(NETWORK).destroy()
    refused(lambda: ReservationProvider().create(reservation_inputs(sandbox)), "virsh net-start lab-test")


def test_no_libvirt_says_what_to_do() -> None:
    with pytest.raises(HypervisorError, match="systemctl enable"), connect("qemu+unix:///system?socket=/nowhere/sock"):
        pass


def test_diagnosis_never_raises(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    place: dict[str, Any] = {"console_pool": sandbox.name, "console_name": "a.log", "network": NETWORK, "mac": "52:54:00:ab:00:01"}
    Path(sandbox.file("a.log")).write_bytes(b"one\r\n\x1b[31mtwo\x1b[0m\r\n" + b"x" * 30000 + b"\r\nlast words\r\n")
    text = diagnose(sandbox.uri, str(uuid.uuid4()), **place)
    assert "does not exist" in text
    assert "last words" in text
    assert sandbox.file("a.log") in text
    assert "virtType" not in text, "nothing is said of KVM"
    lost = diagnose("qemu+unix:///system?socket=/nowhere/sock", "x", **{**place, "network": None})
    assert "systemctl enable" in lost and "virtType" not in lost


def test_diagnosis_of_a_disk_without_a_boot_loader(sandbox: Sandbox, base: dict[str, Any]) -> None:
    """As of an image that is made for UEFI alone: the BIOS writes nothing to a serial port, and waits."""
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    outs = dict(DomainProvider().create(domain_inputs(sandbox)).outs or {})
    place = {"console_pool": sandbox.name, "console_name": "a-console.log", "network": NETWORK, "mac": outs["mac"]}
    end = time.monotonic() + 60
    while "CPUs wait" not in (text := diagnose(sandbox.uri, outs["uuid"], **place)):
        assert time.monotonic() < end, text
    assert "is running" in text and "found nothing to boot from" in text and "image.source" in text
    assert "virtType" not in text

"""A fault at every libvirt call of every create, update and delete; afterwards a repeat, or the pool's end, puts all
right.

The number of cases is printed at the end of the run.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.custom.provider import DeclarativeProvider
from components.libvirt import dhcp_claim, reservation
from components.libvirt import network as network_module
from components.libvirt.artifact_disk import ArtifactDiskProvider
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.data_disk import DataDiskProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .conftest import CASES
from .faults import MODES, attempt, calls
from .resource_inputs import (
    artifact_inputs,
    claim_inputs,
    data_disk_inputs,
    domain_inputs,
    overlay_inputs,
    reservation_inputs,
    seed_inputs,
)
from .sandbox import Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(900)]


class Case:
    """A resource, what it stands on, and the change that an update makes."""

    def __init__(self, provider: DeclarativeProvider, inputs: dict[str, Any], change: dict[str, Any] | None = None) -> None:
        self.provider, self.inputs, self.change = provider, inputs, change
        self.before: list[tuple[DeclarativeProvider, dict[str, Any]]] = []

    def stand(self) -> None:
        for provider, inputs in self.before:
            provider.create(dict(inputs))

    def create(self) -> None:
        self.provider.create(dict(self.inputs))

    def outs(self) -> dict[str, Any]:
        return dict(self.provider.create(dict(self.inputs)).outs or {})

    def delete(self, outs: dict[str, Any]) -> None:
        self.provider.delete("id", dict(outs))


KINDS = ("pool", "image", "overlay", "seed", "data disk", "artifacts", "claim", "reservation", "domain")


def make(kind: str, sandbox: Sandbox, base_inputs: dict[str, Any]) -> Case:
    pool = (StoragePoolProvider(), sandbox.pool())
    image = (BaseImageProvider(), base_inputs)
    overlay, seed = overlay_inputs(sandbox, base_inputs), seed_inputs(sandbox)
    claim = claim_inputs(sandbox)
    case: Case
    if kind == "pool":
        return Case(*pool)
    if kind == "image":
        case = Case(*image)
        case.before = [pool]
    elif kind == "overlay":
        case = Case(OverlayDiskProvider(), overlay, {"capacity": 16 << 20})
        case.before = [pool, image]
    elif kind == "seed":
        case = Case(SeedImageProvider(), seed)
        case.before = [pool]
    elif kind == "data disk":
        case = Case(DataDiskProvider(), data_disk_inputs(sandbox), {"capacity": 16 << 20})
        case.before = [pool]
    elif kind == "artifacts":
        folder = Path(tempfile.mkdtemp(prefix="lab-test-artifacts-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        case = Case(ArtifactDiskProvider(), artifact_inputs(sandbox, folder))
        case.before = [pool]
    elif kind == "claim":
        case = Case(DhcpClaimProvider(), claim, {"ranges": ["192.168.150.30", "192.168.150.205-192.168.150.215"]})
        case.before = [pool]
    elif kind == "reservation":
        case = Case(ReservationProvider(), reservation_inputs(sandbox), {"ip": "192.168.150.22"})
        case.before = [pool, (DhcpClaimProvider(), claim)]
    else:
        case = Case(DomainProvider(), domain_inputs(sandbox), {"memory_mib": 96, "autostart": False})
        case.before = [pool, image, (OverlayDiskProvider(), overlay), (SeedImageProvider(), seed)]
    return case


@pytest.fixture
def quick_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the stored definition: each live change of a range restarts dnsmasq, 2 s here. Live: test_leases.py."""
    real = network_module.layers
    for module in (network_module, dhcp_claim, reservation):
        monkeypatch.setattr(module, "layers", lambda network: [layer for layer in real(network) if layer.name == "config"])


def count(kind: str, operation: str, mode: str, number: int) -> None:
    CASES.append((kind, operation, mode, number))


def each_call(action: Callable[[int], bool]) -> int:
    """Call `action` with 1, 2, … until it says that the operation has no such call."""
    at = 1
    while action(at):
        at += 1
    return at - 1


# A guest takes seconds to end here, so for domains only the two faults that differ most.
KIND_AND_MODE = [(kind, mode) for kind in KINDS for mode in MODES if kind != "domain" or mode in {"error", "killed"}]


@pytest.mark.parametrize(("kind", "mode"), KIND_AND_MODE)
def test_create(kind: str, mode: str, sandbox: Sandbox, base_inputs: dict[str, Any], quick_network: None) -> None:
    case = make(kind, sandbox, base_inputs)
    nothing = sandbox.snapshot()
    case.stand()
    without = sandbox.snapshot()
    case.create()
    wanted = sandbox.snapshot()
    case.delete(case.outs())
    assert sandbox.snapshot() == without

    def faulty(at: int) -> bool:
        if not attempt(case.create, at, mode):
            case.delete(case.outs())
            return False
        if mode == "error":
            assert sandbox.snapshot() == without, f"a create that failed at call {at} leaves something"
        case.create()
        assert sandbox.snapshot() == wanted, f"repeated after a fault at call {at}"
        case.delete(case.outs())
        assert sandbox.snapshot() == without, f"deleted after a fault at call {at}"
        if mode == "killed":
            # Without a repeat: no state knows the resource, and the pool's end takes what was left.
            attempt(case.create, at, mode)
            StoragePoolProvider().delete("id", sandbox.pool())
            assert sandbox.snapshot() == nothing, f"pool removed after a fault at call {at}"
            case.stand()
        return True

    count(kind, "create", mode, each_call(faulty) * (2 if mode == "killed" else 1))


@pytest.mark.parametrize(("kind", "mode"), KIND_AND_MODE)
def test_delete(kind: str, mode: str, sandbox: Sandbox, base_inputs: dict[str, Any], quick_network: None) -> None:
    case = make(kind, sandbox, base_inputs)
    case.stand()
    without = sandbox.snapshot()

    def faulty(at: int) -> bool:
        outs = case.outs()
        hit = attempt(lambda: case.delete(outs), at, mode)
        if hit:
            case.delete(outs)
        assert sandbox.snapshot() == without, f"deleted again after a fault at call {at}"
        return hit

    count(kind, "delete", mode, each_call(faulty))


@pytest.mark.parametrize(
    ("kind", "mode"), [pair for pair in KIND_AND_MODE if pair[0] in {"overlay", "data disk", "claim", "reservation", "domain"}]
)
def test_update(kind: str, mode: str, sandbox: Sandbox, base_inputs: dict[str, Any], quick_network: None) -> None:
    case = make(kind, sandbox, base_inputs)
    case.stand()
    without = sandbox.snapshot()
    olds = case.outs()
    news = {**case.inputs, **(case.change or {})}
    outs = dict(case.provider.update("id", dict(olds), dict(news)).outs or {})
    wanted = sandbox.snapshot()
    case.delete(outs)
    assert sandbox.snapshot() == without

    def faulty(at: int) -> bool:
        olds = case.outs()
        hit = attempt(lambda: case.provider.update("id", dict(olds), dict(news)), at, mode)
        outs = dict(case.provider.update("id", dict(olds), dict(news)).outs or {})
        assert sandbox.snapshot() == wanted, f"updated again after a fault at call {at}"
        case.delete(outs)
        assert sandbox.snapshot() == without, f"deleted after a fault at call {at}"
        if hit and mode == "killed":  # destroy with the old state
            olds = case.outs()
            attempt(lambda: case.provider.update("id", dict(olds), dict(news)), at, mode)
            case.delete(olds)
            assert sandbox.snapshot() == without, f"destroyed after a fault at call {at}"
        return hit

    count(kind, "update", mode, each_call(faulty) * (2 if mode == "killed" else 1))


def test_a_fault_is_reached(sandbox: Sandbox) -> None:
    assert calls(lambda: StoragePoolProvider().create(sandbox.pool())) > 3

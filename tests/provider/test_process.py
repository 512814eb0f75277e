"""What the engine needs of a provider: pickled by name, small, always the same, importable and pure without libvirt."""

from __future__ import annotations

import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic.dynamic import serialize_provider

from components.custom.free_addresses import FreeAddressesProvider
from components.custom.provider import DeclarativeProvider
from components.libvirt.artifact_disk import ArtifactDiskProvider
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.data_disk import DataDiskProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.host_device import HostDeviceProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import domain_inputs, overlay_inputs, reservation_inputs, seed_inputs
from .sandbox import Sandbox

ROOT = Path(__file__).parents[2]
PROVIDERS: list[DeclarativeProvider] = [
    StoragePoolProvider(),
    BaseImageProvider(),
    OverlayDiskProvider(),
    SeedImageProvider(),
    DataDiskProvider(),
    ArtifactDiskProvider(),
    DhcpClaimProvider(),
    ReservationProvider(),
    DomainProvider(),
    HostDeviceProvider(),
    FreeAddressesProvider(),
]
IDS = [type(provider).__name__ for provider in PROVIDERS]


@pytest.mark.parametrize("provider", PROVIDERS, ids=IDS)
def test_pickle_is_small_constant_and_by_name(provider: DeclarativeProvider) -> None:
    text = serialize_provider(provider)
    assert text == serialize_provider(type(provider)())
    assert len(text) < 200
    assert type(provider).__module__.encode() in base64.b64decode(text)
    assert provider.serialize_as_secret_always is False


def test_pickles_load_in_a_fresh_process_without_libvirt() -> None:
    """As in the provider process of a preview: unpickle, check and diff, with no libvirt to import."""
    script = """
import base64, sys
sys.modules["libvirt"] = sys.modules["libvirtmod"] = None
import dill
from pulumi.output import Unknown
for line in sys.stdin.read().split():
    provider = dill.loads(base64.b64decode(line))
    names = [*provider.replaces, *provider.updates]
    news = {name: Unknown() for name in names}
    checked = provider.check({}, dict(news))
    assert not checked.failures, [(each.property, each.reason) for each in checked.failures]
    change = provider.diff("id", {name: "x" for name in names}, checked.inputs)
    assert change.changes and bool(change.replaces) == bool(provider.replaces), type(provider)
    assert not provider.diff("id", dict(old := {name: "x" for name in names}), dict(old)).changes
    print(type(provider).__name__)
"""
    text = "\n".join(serialize_provider(provider) for provider in PROVIDERS)
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == IDS


def test_error_reaches_the_engine_without_a_traceback() -> None:
    script = """
import traceback
from components.custom.reporting import plain_errors
from components.libvirt.connection import HypervisorError
plain_errors(); plain_errors()
try:
    raise HypervisorError("do this")
except HypervisorError:
    print(traceback.format_exc())
try:
    raise KeyError("a defect")
except KeyError:
    assert "Traceback" in traceback.format_exc()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    assert done.stdout.strip() == "do this"


@pytest.mark.provider
@pytest.mark.timeout(300)
def test_created_at_once_by_four_threads(sandbox: Sandbox, base: dict[str, Any]) -> None:
    """As the engine does: one provider process with four threads."""
    empty = sandbox.snapshot()
    work: list[tuple[DeclarativeProvider, dict[str, Any]]] = []
    for name in "abcdef":
        work.append((OverlayDiskProvider(), overlay_inputs(sandbox, base, name)))
        work.append((SeedImageProvider(), seed_inputs(sandbox, name)))
        number = ord(name)
        work.append(
            (
                ReservationProvider(),
                reservation_inputs(sandbox, mac=f"52:54:00:ab:01:{number:02x}", ip=f"192.168.150.{number}", name=f"n{name}"),
            )
        )
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda item: (item[0], item[0].create(dict(item[1])).outs or {}), work))
        guests = list(threads.map(lambda name: DomainProvider().create(domain_inputs(sandbox, name)).outs or {}, "abcd"))
        list(threads.map(lambda outs: DomainProvider().delete("id", dict(outs)), guests))
        list(threads.map(lambda item: item[0].delete("id", dict(item[1])), made))
    assert sandbox.snapshot() == empty

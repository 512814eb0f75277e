"""Create, read, update and delete of every resource on a real libvirtd; twice where twice must not matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.libvirt.artifact_disk import ArtifactDiskProvider
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.data_disk import DataDiskProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import (
    artifact_inputs,
    attachment,
    claim_inputs,
    data_disk_inputs,
    domain_inputs,
    overlay_inputs,
    reservation_inputs,
    seed_inputs,
)
from .sandbox import Sandbox

pytestmark = pytest.mark.provider


def test_everything_is_made_twice_and_deleted_twice(sandbox: Sandbox, base_inputs: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    before = sandbox.snapshot()
    steps = [
        (StoragePoolProvider(), sandbox.pool()),
        (BaseImageProvider(), base_inputs),
        (DhcpClaimProvider(), claim_inputs(sandbox)),
        (ReservationProvider(), reservation_inputs(sandbox)),
        (OverlayDiskProvider(), overlay_inputs(sandbox, base_inputs)),
        (SeedImageProvider(), seed_inputs(sandbox)),
        (ArtifactDiskProvider(), artifact_inputs(sandbox, tmp_path)),
        (DataDiskProvider(), data_disk_inputs(sandbox)),
        (DomainProvider(), domain_inputs(sandbox, data_disks=[attachment(data_disk_inputs(sandbox))])),
    ]
    made = []
    for provider, inputs in steps:
        first = provider.create(dict(inputs))
        after = sandbox.snapshot()
        second = provider.create(dict(inputs))
        assert (first.id, first.outs) == (second.id, second.outs)
        assert sandbox.snapshot() == after, f"{type(provider).__name__}: made twice is not made once"
        made.append((provider, first))
    for provider, result in made:
        observed = provider.read(result.id, dict(result.outs or {}))
        assert observed.id == result.id
        assert observed.outs == result.outs, type(provider).__name__
        assert not provider.diff(
            result.id, dict(observed.outs or {}), provider.check({}, dict(observed.inputs or {})).inputs
        ).changes
    for provider, result in reversed(made):
        provider.delete(result.id, dict(result.outs or {}))
        deleted = sandbox.snapshot()
        observed = provider.read(result.id, dict(result.outs or {}))
        assert observed.id == "" or isinstance(provider, (DhcpClaimProvider, DomainProvider)), "these two show as changed"
        assert observed.id == "" or provider.diff(result.id, dict(observed.outs or {}), dict(result.outs or {})).changes
        provider.delete(result.id, dict(result.outs or {}))
        assert sandbox.snapshot() == deleted
    assert sandbox.snapshot() == before


def test_a_seed_with_another_login_key_is_written_in_place(sandbox: Sandbox) -> None:
    """While a machine runs with it, whose disk stays the same."""
    StoragePoolProvider().create(sandbox.pool())
    provider, inputs = SeedImageProvider(), seed_inputs(sandbox)
    former = provider.create(dict(inputs))
    other = {**inputs, "user_data": "#cloud-config\nhostname: a\nusers: []\n"}
    change = provider.diff(former.id, dict(former.outs or {}), other)
    assert change.changes and not change.replaces
    updated = dict(provider.update(former.id, dict(former.outs or {}), other).outs or {})
    assert updated["sha256"] != (former.outs or {})["sha256"] and updated["path"] == inputs["path"]
    observed = provider.read(former.id, updated)
    assert observed.id == former.id and observed.outs == updated
    assert provider.diff(former.id, updated, {**other, "meta_data": "instance-id: b\n"}).replaces == ["meta_data"]
    provider.delete(former.id, updated)

"""A domain is deleted with everything that libvirt keeps of it, or would refuse its deletion for."""

from __future__ import annotations

from typing import Any

import pytest

from components.libvirt.domain import REMOVED, DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import domain_inputs, overlay_inputs, seed_inputs
from .sandbox import Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

SNAPSHOT = """<domainsnapshot><name>by hand</name><disks>
<disk name='vda' snapshot='internal'/><disk name='vdb' snapshot='no'/></disks></domainsnapshot>"""


@pytest.mark.parametrize("kept", ["snapshot", "saved state", "nothing, as a transient domain"])
def test_a_domain_is_deleted_with_what_hands_left_on_it(sandbox: Sandbox, base: dict[str, Any], kept: str) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    before = sandbox.snapshot()
    provider, inputs = DomainProvider(), domain_inputs(sandbox)
    outs = dict(provider.create(dict(inputs)).outs or {})
    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        if kept == "snapshot":
            domain.destroy()
            domain.snapshotCreateXML(SNAPSHOT, 0)
            assert domain.snapshotNum(0) == 1
        elif kept == "saved state":
            domain.managedSave(0)
            assert domain.hasManagedSaveImage(0)
        else:
            domain.undefine()
            assert domain.isActive() and not domain.isPersistent()
    provider.delete("id", outs)
    assert (provider.read("id", outs).outs or {})["definition"] == REMOVED
    assert sandbox.snapshot() == before

"""Devices of ours attached to a running guest, changed in it, and detached from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from components.custom.reporting import progress, say
from components.libvirt import domain_devices
from components.libvirt.connection import code
from components.libvirt.domain_edit import Difference
from components.libvirt.xml import parse, text_of

CHANGED_IN_PLACE = ("interface",)
"""Tags of devices of which libvirt changes a part while the guest runs: the network that a NIC is on, its VLAN."""


def apply(domain: Any, changes: Sequence[Difference], stored: str, timeout: float) -> list[Difference]:
    """Bring the devices of a running guest to what its next definition says. Returns the changes that need a restart.

    stored: that definition. timeout: seconds that the guest gets to release a device. Raises libvirtError for what a restart would
    not mend either, such as a network that is not there.
    """
    return [change for change in changes if not _applied(domain, change, stored, timeout)]


def _applied(domain: Any, change: Difference, stored: str, timeout: float) -> bool:
    import libvirt  # noqa: PLC0415

    wanted, there = domain_devices.attachable(stored, change.alias), _running(domain, change.alias)
    if wanted is not None and there and wanted.tag in CHANGED_IN_PLACE and _updated(domain, text_of(wanted)):
        say(f"{domain.name()}: {change.name} changed while it runs: {change.actual}, now {change.wanted}")
        return True
    if wanted is not None and there and wanted.tag in domain_devices.DETACHED_BY_THEIR_RESOURCE:
        say(f"{domain.name()}: {change.name} is in use, so it is changed by a restart: {change.actual}, then {change.wanted}")
        return False
    if there and not detach(domain, change.alias, change.name, timeout):
        return False
    if wanted is None:
        say(f"{domain.name()}: {change.name} detached")
        return True
    try:
        domain.attachDeviceFlags(text_of(wanted), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if not (change.deferred or _mended_by_restart(error)):
            raise
        if not change.deferred:
            say(f"{domain.name()}: {change.name} cannot be attached while it runs: {error}")
        return False
    say(f"{domain.name()}: {change.name} attached while it runs")
    return True


def _running(domain: Any, alias: str) -> bool:
    return alias in domain_devices.present(parse(domain.XMLDesc(0)).find("devices"))


def _updated(domain: Any, element: str) -> bool:
    import libvirt  # noqa: PLC0415

    try:
        domain.updateDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError:
        return False
    return True


def detach(domain: Any, alias: str, name: str, timeout: float) -> bool:
    """Detach a device from a running guest. Returns whether the guest has released it within `timeout` seconds, which one without
    ACPI may never do; also that it has none is success. name: the device's for people."""
    import libvirt  # noqa: PLC0415

    try:
        domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if not _running(domain, alias):
            return True
        say(f"{domain.name()}: {name} cannot be detached while it runs: {error}")
        return False
    end = time.monotonic() + timeout
    with progress(lambda: f"{domain.name()}: waiting for the guest to release {name}"):
        while there := _running(domain, alias):
            if time.monotonic() >= end:
                break
            time.sleep(0.25)
    if there:
        say(f"{domain.name()}: the guest does not release {name} within {timeout:g} s")
    return not there


def _mended_by_restart(error: Any) -> bool:
    """Whether libvirt refuses only to do it while the guest runs."""
    import libvirt  # noqa: PLC0415

    codes = {
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_NO_SUPPORT,
    }
    text = str(error).lower()
    if "vlan tag not supported" in text:
        return False  # on this kind of bridge, running or not
    phrases = ("pci slot", "hotplug", "hot-plug", "hot plug")
    # Functions of one IOMMU group are attached one by one, while the host still uses the others; a start takes all of them first.
    group = (" is not viable", "/dev/vfio/")
    return code(error) in codes or any(phrase in text for phrase in (*phrases, *group))

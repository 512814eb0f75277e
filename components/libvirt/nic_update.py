"""The VLANs of a running guest's first NIC, set without a restart where libvirt can, as it can on Open vSwitch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from components.custom.reporting import say
from components.libvirt import domain_edit, domain_xml, nic_xml, xml
from components.libvirt.domain_edit import Difference
from components.libvirt.domain_spec import DomainSpec
from components.libvirt.unmanaged import definitions


def apply(
    domain: Any, stored: str, live: str | None, spec: DomainSpec, *, former: Collection[str], restarts: Sequence[Difference]
) -> tuple[str | None, list[Difference]]:
    """(the running guest's definition afterwards, all that it needs a restart for).

    stored, live: its definitions. former: files of extra disks that this program attached. restarts: what it needs a restart for
    before; where there is more than VLANs and devices, the restart changes the VLANs too.
    """
    names = [nic_xml.property_name(name) for name in nic_xml.LIVE]
    changes = [change for change in restarts if change.name in names]
    if live is None or not changes or any(not change.alias for change in restarts if change not in changes):
        return live, list(restarts)
    if not _updated(domain, live, spec):
        return live, list(restarts)
    say(f"{domain.name()}: {'; '.join(f'{change.name} is {change.wanted} now' for change in changes)}, while it runs")
    live = definitions(domain)[1]
    return live, [] if live is None else domain_edit.restarts(live, stored, spec, former)


def _updated(domain: Any, live: str, spec: DomainSpec) -> bool:
    import libvirt  # noqa: PLC0415

    interface = domain_xml.interface(domain_xml.parse(live), spec)
    if interface is None:
        return False
    for name in nic_xml.LIVE:
        nic_xml.set_property(interface, name, spec.nic_port[name])
    try:
        domain.updateDeviceFlags(xml.text_of(interface), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        say(f"{domain.name()}: its VLANs cannot be changed while it runs: {error}")
        return False
    return True

"""The VLANs of a running guest's first NIC, set without a restart where libvirt can, as it can on Open vSwitch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.custom.reporting import say
from components.libvirt import domain_xml, nic_xml, xml
from components.libvirt.domain_edit import Difference
from components.libvirt.domain_spec import DomainSpec


def apply(domain: Any, live: str, spec: DomainSpec, restarts: Sequence[Difference]) -> bool:
    """Whether it has changed the running guest. live: its definition. restarts: all that it needs a restart for otherwise; where
    there is more, the restart changes the NIC too."""
    import libvirt  # noqa: PLC0415

    names = [nic_xml.property_name(name) for name in nic_xml.LIVE]
    changes = [change for change in restarts if change.name in names]
    interface = domain_xml.interface(domain_xml.parse(live), spec)
    if interface is None or not changes or any(not change.alias for change in restarts if change not in changes):
        return False
    for name in nic_xml.LIVE:
        nic_xml.set_property(interface, name, spec.nic_port[name])
    try:
        domain.updateDeviceFlags(xml.text_of(interface), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        say(f"{domain.name()}: its VLANs cannot be changed while it runs: {error}")
        return False
    say(f"{domain.name()}: {'; '.join(f'{change.name} is {change.wanted} now' for change in changes)}, while it runs")
    return True

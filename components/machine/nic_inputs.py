"""The NICs of a machine as inputs of its `Domain`. Pure."""

from __future__ import annotations

from components.config.nic_plan import NicPlan
from components.config.nics import vlan_text
from components.config.settings import Network


def first_nic_port(network: Network) -> dict[str, str]:
    """How the first NIC is plugged in, as far as it is set."""
    values = {
        "vlan": vlan_text(network.vlan, network.native_vlan),
        "openvswitch": "yes" if network.openvswitch else "",
        "queues": str(network.queues or ""),
    }
    return {name: value for name, value in values.items() if value}


def further_nic(nic: NicPlan) -> dict[str, str]:
    """A NIC beyond the first."""
    own = nic.settings
    values = {
        "name": nic.name,
        "mac": nic.mac,
        "network": own.network or "",
        "portgroup": own.portgroup or "",
        "bridge": own.bridge or "",
        "model": own.model,
        "vlan": vlan_text(own.vlan, own.native_vlan),
        "openvswitch": "yes" if own.openvswitch else "",
        "queues": str(own.queues or ""),
    }
    return {name: value for name, value in values.items() if value}

"""`lab attach`: the annotation by which a pod gets the interfaces that the book of addresses has for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cli.errors import LabError
from cli.stack import read_settings, secrets_of
from components.config.network_plan import NetworkPlan
from components.config.pod_networks import BookedAddress
from components.network import cni


def main(options: argparse.Namespace) -> int:
    """0; the annotation's text, one line, is written to stdout."""
    hidden = sorted(path for path in secrets_of(options.stack) if path.partition(".")[0] == "podNetworks")
    if hidden:
        raise LabError(f"{', '.join(hidden)}: a secret of the stack, which attach does not read; write it in clear")
    _settings, plan = read_settings(options.stack)
    sys.stdout.write(annotation(plan.networks, options.names, options.networks) + "\n")
    return 0


def annotation(networks: Sequence[NetworkPlan], names: Sequence[str], chosen: Sequence[str] = ()) -> str:
    """The text of k8s.v1.cni.cncf.io/networks for one pod that is booked under `names`.

    Networks are in the order of the settings, or of `chosen`, which leaves out all others. LabError where a name is booked nowhere,
    two are on one network, a chosen network has none of them, or they are for pods of several namespaces.
    """
    entries = _entries(_chosen(networks, chosen), list(dict.fromkeys(names)), named=bool(chosen))
    namespaces = {booked.namespace: f"{network.path}.addresses.{name}" for network, name, booked in entries if booked.namespace}
    if len(namespaces) > 1:
        listed = ", ".join(f"{path} for {namespace}" for namespace, path in namespaces.items())
        raise LabError(f"a pod is in one namespace, and these are for several: {listed}; name those of one, or correct the book")
    # Without a namespace of the pod's each network is named with its own.
    return cni.annotation([cni.attachment(network, booked) for network, _name, booked in entries], next(iter(namespaces), ""))


def _chosen(networks: Sequence[NetworkPlan], chosen: Sequence[str]) -> list[NetworkPlan]:
    by_name = {network.name: network for network in networks}
    for name in chosen:
        if name not in by_name:
            raise LabError(f"there is no network {name}; podNetworks has {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(chosen)] if chosen else list(networks)


def _entries(networks: Sequence[NetworkPlan], names: Sequence[str], *, named: bool) -> list[tuple[NetworkPlan, str, BookedAddress]]:
    """The network, the name and the entry of each of the pod's interfaces. named: each network must have one."""
    entries = []
    for network in networks:
        booked = [name for name in names if name in network.settings.addresses]
        if len(booked) > 1:
            raise LabError(
                f"{' and '.join(booked)} are both booked on {network.name}, and a pod has one entry on each network: name one of "
                "them, or choose networks by --network"
            )
        if booked:
            entry = network.settings.addresses[booked[0]]
            if network.settings.ipam == "static" and entry.ip is None:
                raise LabError(f"{network.path}.addresses.{booked[0]}.ip is needed with ipam static; set it")
            entries.append((network, booked[0], entry))
        elif named:
            raise LabError(f"network {network.name} has none of {', '.join(names)} in its book. {_what_is_booked([network])}")
    for name in names:
        if all(name != entry for _network, entry, _booked in entries):
            raise LabError(f"{name} is booked on no network{' of these' if named else ''}. {_what_is_booked(networks)}")
    return entries


def _what_is_booked(networks: Sequence[NetworkPlan]) -> str:
    booked = [f"{network.name}: {', '.join(network.settings.addresses)}" for network in networks if network.settings.addresses]
    path = "podNetworks.NETWORK.addresses" if len(networks) != 1 else f"{networks[0].path}.addresses"
    return f"Booked are {'; '.join(booked) or 'none'}; add it to {path}"

"""A virtual machine brought to what its inputs say: defined and started, or edited where it differs, or refused."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import Any

from components.custom.provider import Props
from components.custom.reporting import say
from components.libvirt import (
    domain_additions,
    domain_disks,
    domain_edit,
    domain_hotplug,
    domain_nics,
    domain_spec,
    domain_xml,
    nic_update,
)
from components.libvirt.connection import HypervisorError, find
from components.libvirt.domain_edit import Difference
from components.libvirt.domain_removal import no_longer_exists, remove, remove_log, remove_nvram, stop
from components.libvirt.domain_spec import DomainFacts, DomainSpec
from components.libvirt.host_device import absent
from components.libvirt.obstacles import obstacles
from components.libvirt.unmanaged import attached, definitions, inventory


def ensure(connection: Any, inputs: Props, *, former: str | None = None, disks: Collection[str] = ()) -> Props:
    """Make the domain what the inputs say: defined so, running so, started with the host or not. Returns the outputs.

    `former`: an owner mark that was ours. `disks`: files of extra disks that were attached until now.
    """
    virt_type = domain_spec.virt_type_used(connection, inputs["virt_type"])
    spec = domain_spec.from_inputs(domain_disks.resolved(connection, inputs), virt_type=virt_type)
    _refuse_others(connection, inputs, {inputs["owner"], former or inputs["owner"]})

    domain = find(connection.lookupByUUIDString, inputs["uuid"])
    if domain is None:
        _define(connection, inputs, spec)
        outputs: Props = {"unmanaged": [], "obstacles": []}
    else:
        outputs = _edit(connection, domain, inputs, spec, disks=disks)
    return {"virt_type_used": virt_type, "definition": {}, **outputs}


def _define(connection: Any, inputs: Props, spec: DomainSpec) -> None:
    """A domain that is not there yet, from the plan alone. Nothing is left of it if it fails."""
    try:
        domain = connection.defineXML(domain_spec.domain(spec))
        _start(domain, inputs)
    except BaseException:
        with contextlib.suppress(Exception):
            left = find(connection.lookupByUUIDString, inputs["uuid"])
            if left is not None:
                remove(left)
            remove_log(connection, inputs["pool"], inputs["console_log"])
        raise


def _start(domain: Any, inputs: Props) -> None:
    if not domain.isActive():
        domain.create()
    if bool(domain.autostart()) != bool(inputs["autostart"]):
        domain.setAutostart(1 if inputs["autostart"] else 0)


def _edit(connection: Any, domain: Any, inputs: Props, spec: DomainSpec, *, disks: Collection[str]) -> Props:
    """A domain that is there: what differs of it is set, and a guest that runs otherwise is restarted; the rest is kept.

    Raises HypervisorError, with nothing changed, if a change would destroy work that was begun by hand.
    """
    import libvirt  # noqa: PLC0415

    stored, live = definitions(domain)
    former = attached(connection, inputs["pool"], spec, disks, stored, live)
    in_the_way = obstacles(domain, stored, live, spec)
    spec = domain_edit.next_to_others(spec, stored, live)
    if in_the_way:
        spec = domain_edit.without_deferred(stored, spec)
    changes = domain_edit.differences(stored, spec, former)
    restarts = [] if live is None else domain_edit.restarts(live, stored, spec, former)
    if changes or restarts:
        _refuse_harm(inputs, domain.name(), [*changes, *restarts], in_the_way + domain_edit.contradictions(stored, spec))
    live, restarts = nic_update.apply(domain, stored, live, spec, former=former, restarts=restarts)
    before, mark = stored, domain_edit.mark_differs(stored, spec)
    wanted = domain_edit.edit(stored, spec, former)
    if live is not None and all(change.alias for change in restarts):
        devices = domain_edit.devices_to_change(live, spec)
        refused = domain_hotplug.apply(domain, devices, wanted, inputs["stop_timeout"])
        restarts = [change for change in refused if not change.deferred]
    _refuse_lasting_stop(connection, inputs, domain.name(), restarts)
    carried = domain_additions.only_running(live, stored, spec, former) if live is not None and restarts else []
    if carried:
        words = "; ".join(device.words for device in carried)
        say(f"{domain.name()}: attached to the running guest only, and stored now so that the restart keeps it: {words}")
        wanted = domain_edit.edit(stored, spec, former, keep=[device.document for device in carried])
    redefined = bool(changes or carried or not domain.isPersistent())
    if redefined:
        stored = wanted
        domain = connection.defineXML(stored)
    elif mark:
        _set_mark(domain, spec, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    if restarts:
        stop(domain, inputs["stop_timeout"])
    elif live is not None:
        if domain_edit.mark_differs(live, spec):
            _set_mark(domain, spec, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        if missing := domain_edit.balloon(live):
            say(f"{domain.name()}: the guest gets back {missing} MiB of its memory, which the balloon was set to keep by hand")
            domain.setMemoryFlags(domain_xml.memory_mib(live) * 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    try:
        _start(domain, inputs)
    except libvirt.libvirtError:
        if redefined and restarts and not domain.isActive():
            say(f"{domain.name()}: it does not start with the change, and is started as it was before")
            connection.defineXML(before).create()
        raise
    _remove_former_nvram(connection, inputs["pool"], spec, stored, [*changes, *restarts])
    left = live if not restarts else None
    return {"unmanaged": inventory(domain, stored, left, spec, former), "obstacles": in_the_way}


def _remove_former_nvram(connection: Any, pool: str, spec: DomainSpec, stored: str, changes: Sequence[Difference]) -> None:
    if any(change.name == "firmware" for change in changes):
        remove_nvram(connection, pool, spec.node, stored)


def _set_mark(domain: Any, spec: DomainSpec, where: int) -> None:
    import libvirt  # noqa: PLC0415

    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain_spec.mark(spec), "mark", domain_spec.MARK, where)


def _refuse_harm(inputs: Props, name: str, changes: Sequence[Difference], reasons: Sequence[str]) -> None:
    """Raise if something stands in the way of changes, with all of it."""
    if reasons:
        wanted = "; ".join(dict.fromkeys(str(change) for change in changes))
        numbered = " ".join(f"({number}) {reason}." for number, reason in enumerate(reasons, 1))
        raise HypervisorError(
            f"domain {name!r} on {inputs['uri']} is left as it is, because a change of its definition would destroy what was done "
            f"by hand. To be changed: {wanted}. In the way: {numbered} Then `pulumi up` again; or undo the change in the settings"
        )


def _refuse_lasting_stop(connection: Any, inputs: Props, name: str, changes: Sequence[Difference]) -> None:
    """Raise if a guest that is to be restarted, for these changes, would not start again: a device of the host is absent."""
    missing = absent(connection, inputs.get("host_devices") or ()) if changes else []
    if missing:
        wanted = "; ".join(dict.fromkeys(str(change) for change in changes))
        raise HypervisorError(
            f"domain {name!r} on {inputs['uri']} runs on as it is: it is to be restarted ({wanted}), and would not start again "
            f"without devices that are absent: {', '.join(missing)}. Plug them in, then `pulumi refresh` and `pulumi up`; or take "
            "them out of the node's devices"
        )


def _refuse_others(connection: Any, inputs: Props, owners: set[str]) -> None:
    """Raise if the name or UUID is an unmanaged domain's, or a MAC is in use by any other."""
    uri, macs = inputs["uri"], domain_nics.macs(inputs)
    for domain in connection.listAllDomains(0):
        try:
            facts = _facts(domain)
        except Exception as error:
            if no_longer_exists(error):
                continue  # deleted meanwhile
            raise
        if facts.uuid == inputs["uuid"]:
            if facts.owner not in owners:
                raise HypervisorError(_unmanaged(facts, f"UUID {facts.uuid}", uri))
        elif facts.name == inputs["name"]:
            raise HypervisorError(_unmanaged(facts, "this name", uri))
        elif in_use := macs.intersection(facts.macs):
            raise HypervisorError(
                f"MAC {min(in_use)} of {inputs['name']!r} is in use by domain {facts.name!r} on {uri}. Set another MAC, or "
                "remove that domain"
            )


def _unmanaged(facts: DomainFacts, what: str, uri: str) -> str:
    owner = f"of stack {facts.owner}" if facts.owner else "not of this program"
    return (
        f"domain {facts.name!r} on {uri} has {what} already and is {owner}; it is left alone. Set another name prefix, "
        f"or remove it if nobody needs it: virsh destroy {facts.name}; virsh undefine {facts.name} --nvram"
    )


def _facts(domain: Any) -> DomainFacts:
    """The stored definition, which is what the next start uses."""
    import libvirt  # noqa: PLC0415

    return domain_spec.read_domain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

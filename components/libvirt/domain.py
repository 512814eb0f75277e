"""The virtual machine itself, as libvirt knows it: defined, started, and removed with what it leaves."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from . import documents
from .connection import HypervisorError, code, connect, find, say, telling, when_free
from .documents import DomainFacts, DomainSpec
from .provider import LibvirtProvider, Props, is_unknown, old_first

AS_MADE = "as made"
"""`definition` of a domain whose MAC, network, disks and log are what the stack made them."""

REMOVED = "removed by hand"
"""`definition` of a domain that is not there."""

VIRT_TYPES = ("auto", "kvm", "qemu")
CPU_MODES = ("auto", "host-passthrough", "host-model", "maximum", "custom")


@dataclass(frozen=True, kw_only=True)
class DomainArgs:
    """Inputs of `Domain`. Paths are absolute and on the hypervisor.

    uri: libvirt connection. name, uuid: of the domain, computed from the stack. owner: "project/stack", our mark.
    node: the node's name, kept in the mark.
    memory_mib: MiB. cpus: count.
    mac, and network (a libvirt network's name) or bridge (a host bridge's name): the one NIC, enp1s0.
    disk_path, disk_serial: the `OverlayDisk`; another serial is another machine, and the domain is made anew.
    seed_path: the `SeedImage`. extra_disks: more read-only disks, raw, as vdc and on.
    console_log: file for the serial console, in the directory of `pool`, so that it can be read and removed as a volume.
    virt_type: auto (KVM if libvirt offers it), kvm, or qemu (plain emulation).
    cpu_mode: auto (host-passthrough under KVM, maximum under emulation), host-passthrough, host-model, maximum, or custom
    with cpu_model, a name of `virsh cpu-models`.
    disk_cache: none, writeback, unsafe, … as in libvirt's <driver cache>.
    machine: QEMU's machine type. autostart: start with the host.
    stop_timeout: seconds a guest gets to shut down before a restart that a change needs.
    """

    uri: Input[str]
    name: Input[str]
    uuid: Input[str]
    owner: Input[str]
    node: Input[str]
    memory_mib: Input[int]
    cpus: Input[int]
    mac: Input[str]
    disk_path: Input[str]
    disk_serial: Input[str]
    seed_path: Input[str]
    pool: Input[str]
    console_log: Input[str]
    network: Input[str] | None = None
    bridge: Input[str] | None = None
    extra_disks: Input[Sequence[Input[str]]] = ()
    virt_type: Input[str] = "auto"
    cpu_mode: Input[str] = "auto"
    cpu_model: Input[str] = ""
    disk_cache: Input[str] = "none"
    machine: Input[str] = "q35"
    autostart: Input[bool] = True
    stop_timeout: Input[int] = 60


class DomainProvider(LibvirtProvider):
    replaces = ("uri", "name", "uuid", "mac", "network", "bridge", "disk_path", "disk_serial", "seed_path", "pool")
    updates = (
        "owner", "node", "memory_mib", "cpus", "extra_disks", "console_log", "virt_type", "cpu_mode", "cpu_model",
        "disk_cache", "machine", "autostart", "running", "definition",
    )  # fmt: skip
    keeps = ("stop_timeout",)
    integers = ("memory_mib", "cpus", "stop_timeout")

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        wrong = []
        for name, allowed in (("virt_type", VIRT_TYPES), ("cpu_mode", CPU_MODES)):
            value = news.get(name)
            if not is_unknown(value) and value not in allowed:
                wrong.append((name, f"{value!r} is none of {', '.join(allowed)}"))
        if news.get("cpu_mode") == "custom" and not news.get("cpu_model"):
            wrong.append(("cpu_model", "cpu_mode custom needs a model; `virsh cpu-models x86_64` lists them"))
        for name in ("memory_mib", "cpus"):
            value = news.get(name)
            if not is_unknown(value) and (not isinstance(value, int) or value <= 0):
                wrong.append((name, f"{value!r} is no whole number above 0"))
        network, bridge = news.get("network"), news.get("bridge")
        if not is_unknown([network, bridge]) and bool(network) == bool(bridge):
            wrong.append(("network", "a domain needs a libvirt network or a bridge, exactly one of the two"))
        return wrong

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            used = _ensure(connection, inputs, orderly=False)
        return CreateResult(inputs["uuid"], {**inputs, "virt_type_used": used})

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            domain = find(connection.lookupByUUIDString, state["uuid"])
            if domain is None:
                # Not as gone: what lives in it is deleted with it only while the state knows it.
                state |= {"running": False, "definition": REMOVED}
                return ReadResult(id_, state, {name: value for name, value in state.items() if name != "virt_type_used"})
            facts = _facts(domain)
            if facts.owner != state["owner"]:
                return ReadResult("", {})
            spec = _spec(state, virt_type=state.get("virt_type_used") or facts.virt_type)
            changed = documents.differences(facts, spec)
            state |= {
                "name": facts.name,
                "memory_mib": facts.memory_mib,
                "cpus": facts.cpus,
                "autostart": bool(domain.autostart()),
                "running": bool(domain.isActive()),
                "definition": f"changed by hand: {'; '.join(changed)}" if changed else AS_MADE,
            }
        return ReadResult(id_, state, {name: value for name, value in state.items() if name != "virt_type_used"})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs = self.known(_news)
        with connect(inputs["uri"]) as connection:
            used = _ensure(connection, inputs, orderly=True, former=_olds.get("owner"))
        return UpdateResult({**inputs, "virt_type_used": used})

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            domain = find(connection.lookupByUUIDString, state["uuid"])
            if domain is not None:
                if _facts(domain).owner != state["owner"]:
                    return  # somebody else's by now, with its log
                remove(domain)
            remove_log(connection, state["pool"], state["console_log"])


def _facts(domain: Any) -> DomainFacts:
    """The stored definition, which is what the next start uses."""
    import libvirt  # noqa: PLC0415

    return documents.read_domain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def _spec(inputs: Props, *, virt_type: str) -> DomainSpec:
    mode = inputs["cpu_mode"]
    if mode == "auto":
        mode = "host-passthrough" if virt_type == "kvm" else "maximum"
    return DomainSpec(
        name=inputs["name"],
        uuid=inputs["uuid"],
        owner=inputs["owner"],
        node=inputs["node"],
        serial=inputs["disk_serial"],
        memory_mib=inputs["memory_mib"],
        cpus=inputs["cpus"],
        mac=inputs["mac"],
        network=inputs.get("network") or None,
        bridge=inputs.get("bridge") or None,
        disk_path=inputs["disk_path"],
        seed_path=inputs["seed_path"],
        extra_disks=tuple(inputs.get("extra_disks") or ()),
        console_log=inputs["console_log"],
        virt_type=virt_type,
        cpu_mode=mode,
        cpu_model=inputs.get("cpu_model") or "",
        disk_cache=inputs["disk_cache"],
        machine=inputs["machine"],
    )


def _ensure(connection: Any, inputs: Props, *, orderly: bool, former: str | None = None) -> str:
    """Make the domain what the inputs say: defined so, running so, started with the host or not. Returns kvm or qemu.

    `orderly`: a running guest whose definition changes is asked to shut down first. `former`: an owner mark that was
    ours.
    """
    virt_type = inputs["virt_type"]
    if virt_type == "auto":
        virt_type = "kvm" if documents.supports_kvm(connection.getCapabilities()) else "qemu"
    spec = _spec(inputs, virt_type=virt_type)
    wanted = documents.domain(spec)
    _refuse_strangers(connection, inputs, {inputs["owner"], former or inputs["owner"]})

    domain = find(connection.lookupByUUIDString, inputs["uuid"])
    made = domain is None
    try:
        restart = False
        if domain is not None:
            facts = _facts(domain)
            right = facts.definition == documents.read_domain(wanted).definition and not _edited(facts, spec)
            # A guest that runs with another definition than the stored one: a run was cut off between the two.
            running = documents.read_domain(domain.XMLDesc(0)) if domain.isActive() else None
            restart = running is not None and (
                running.definition != documents.read_domain(wanted).definition or bool(documents.differences(running, spec))
            )
            if not right:
                domain = None
        if domain is None:
            domain = connection.defineXML(wanted)
        if restart:
            _stop(domain, inputs["stop_timeout"] if orderly else 0)
        if not domain.isActive():
            domain.create()
        if bool(domain.autostart()) != bool(inputs["autostart"]):
            domain.setAutostart(1 if inputs["autostart"] else 0)
    except BaseException:
        if made:
            with contextlib.suppress(Exception):
                left = find(connection.lookupByUUIDString, inputs["uuid"])
                if left is not None:
                    remove(left)
                remove_log(connection, inputs["pool"], inputs["console_log"])
        raise
    return str(virt_type)


def _edited(facts: DomainFacts, spec: DomainSpec) -> bool:
    return bool(documents.differences(facts, spec)) or (facts.memory_mib, facts.cpus) != (spec.memory_mib, spec.cpus)


def _refuse_strangers(connection: Any, inputs: Props, owners: set[str]) -> None:
    """Raise if the name or UUID is a foreign domain's, or the MAC is in use by any other."""
    uri, mac = inputs["uri"], inputs["mac"].lower()
    for domain in connection.listAllDomains(0):
        try:
            facts = _facts(domain)
        except Exception as error:
            if _is_gone(error):
                continue  # went while we looked
            raise
        if facts.uuid == inputs["uuid"]:
            if facts.owner not in owners:
                raise HypervisorError(_foreign(facts, f"UUID {facts.uuid}", uri))
            if facts.name != inputs["name"]:
                raise HypervisorError(
                    f"domain {facts.name!r} on {uri} bears this stack's UUID {facts.uuid} for {inputs['name']!r}: it was "
                    f"renamed. Rename it back (virsh domrename {facts.name} {inputs['name']}) or remove it (virsh undefine "
                    f"{facts.name})"
                )
        elif facts.name == inputs["name"]:
            raise HypervisorError(_foreign(facts, "this name", uri))
        elif mac in facts.macs:
            raise HypervisorError(
                f"MAC {mac} of {inputs['name']!r} is in use by domain {facts.name!r} on {uri}. Set another MAC, or "
                "remove that domain"
            )


def _foreign(facts: DomainFacts, what: str, uri: str) -> str:
    owner = f"of stack {facts.owner}" if facts.owner else "not of this program"
    return (
        f"domain {facts.name!r} on {uri} has {what} already and is {owner}; it is left alone. Set another name prefix, "
        f"or remove it if nobody needs it: virsh destroy {facts.name}; virsh undefine {facts.name} --nvram"
    )


def _is_gone(error: Exception) -> bool:
    import libvirt  # noqa: PLC0415

    return isinstance(error, libvirt.libvirtError) and code(error) == libvirt.VIR_ERR_NO_DOMAIN


def _stop(domain: Any, timeout: float) -> None:
    """Shut down in order within `timeout` seconds, else power off."""
    import libvirt  # noqa: PLC0415

    if timeout > 0:
        with contextlib.suppress(libvirt.libvirtError):
            name = domain.name()
            say(f"{name}: shutting down for a change, {timeout:g} s at most")
            domain.shutdown()
            begin = time.monotonic()
            with telling(lambda: f"{name}: still shutting down"):
                while domain.isActive() and time.monotonic() < begin + timeout:
                    time.sleep(0.25)
    _power_off(domain)


def _power_off(domain: Any) -> None:
    import libvirt  # noqa: PLC0415

    if domain.isActive():
        try:
            domain.destroy()
        except libvirt.libvirtError as error:
            # It stopped by itself between the two calls.
            if code(error) not in {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN}:
                raise


def remove(domain: Any) -> None:
    """Power off and undefine, with saved state, snapshot and checkpoint metadata and NVRAM; gone is success."""
    import libvirt  # noqa: PLC0415

    _power_off(domain)
    most = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    flags = most | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    try:
        domain.undefineFlags(flags)
    except libvirt.libvirtError as error:
        if _is_gone(error):
            return
        if code(error) not in {libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT}:
            raise
        find(domain.undefineFlags, most)


def remove_log(connection: Any, pool_name: str, console_log: str) -> None:
    """Remove the console log and the older parts virtlogd made of it (NAME.0, NAME.1, …) from the pool's directory."""
    pool = find(connection.storagePoolLookupByName, pool_name)
    if pool is None or not pool.isActive():
        return
    when_free(lambda: pool.refresh(0))
    name = PurePosixPath(console_log).name
    for volume in pool.listAllVolumes(0):
        other = volume.name()
        if other == name or (other.startswith(name + ".") and other[len(name) + 1 :].isdigit()):
            when_free(functools.partial(find, volume.delete, 0))


class Domain(Resource, module="libvirt", name="Domain"):
    """A virtual machine, running.

    Defined and started, or adopted and put right if it bears this stack's mark. Memory, CPUs and what else can change in
    place do so with an orderly restart of the guest. Raises HypervisorError if name or UUID belong to a domain without the
    mark, or another domain has the MAC. Removed by powering off. Created without waiting for the guest to boot.
    """

    uri: Output[str]
    name: Output[str]
    uuid: Output[str]
    owner: Output[str]
    node: Output[str]
    memory_mib: Output[int]
    cpus: Output[int]
    mac: Output[str]
    network: Output[str | None]
    bridge: Output[str | None]
    disk_path: Output[str]
    disk_serial: Output[str]
    seed_path: Output[str]
    extra_disks: Output[list[str]]
    pool: Output[str]
    console_log: Output[str]
    virt_type: Output[str]
    cpu_mode: Output[str]
    cpu_model: Output[str]
    disk_cache: Output[str]
    machine: Output[str]
    autostart: Output[bool]
    stop_timeout: Output[int]
    virt_type_used: Output[str]
    """kvm or qemu."""

    def __init__(self, resource_name: str, args: DomainArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            DomainProvider(),
            resource_name,
            {
                "uri": args.uri,
                "name": args.name,
                "uuid": args.uuid,
                "owner": args.owner,
                "node": args.node,
                "memory_mib": args.memory_mib,
                "cpus": args.cpus,
                "mac": args.mac,
                "network": args.network,
                "bridge": args.bridge,
                "disk_path": args.disk_path,
                "disk_serial": args.disk_serial,
                "seed_path": args.seed_path,
                "extra_disks": args.extra_disks,
                "pool": args.pool,
                "console_log": args.console_log,
                "virt_type": args.virt_type,
                "cpu_mode": args.cpu_mode,
                "cpu_model": args.cpu_model,
                "disk_cache": args.disk_cache,
                "machine": args.machine,
                "autostart": args.autostart,
                "stop_timeout": args.stop_timeout,
                "running": True,
                "definition": AS_MADE,
                "virt_type_used": None,
            },
            old_first(opts),
        )

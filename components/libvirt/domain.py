"""The virtual machine itself, as libvirt knows it: defined, started, and removed with what it leaves."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components.custom.provider import DeclarativeProvider, Props, differs, is_unknown, old_first, properties
from components.custom.reporting import progress, remark, say
from components.libvirt import domain_additions, domain_edit, domain_spec, domain_xml
from components.libvirt.connection import HypervisorError, code, connect, find, when_free
from components.libvirt.domain_edit import Difference
from components.libvirt.domain_spec import DomainFacts, DomainSpec
from components.libvirt.obstacles import obstacles
from components.libvirt.unmanaged import attached, definitions, inventory, say_what_stays

REMOVED = {"domain": "removed by hand"}
"""`definition` of a domain that is not there."""

SIZE = ("memory", "CPUs")
"""Managed properties that are inputs of their own, and so no part of `definition`."""

WITHOUT_RESTART = ("owner", "node", "autostart", "running", "definition")
"""Inputs that change nothing of the definition but its mark; and `definition`, which is looked at by itself."""

RUNNING = "running guest: "
"""Before a property in which the running guest differs from its stored definition."""

VIRT_TYPES = ("auto", "kvm", "qemu")
CPU_MODES = ("auto", "host-passthrough", "host-model", "maximum", "custom")


@dataclass(frozen=True, kw_only=True)
class DomainArgs:
    """Inputs of `Domain`. Paths are absolute and on the hypervisor."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    name: Input[str]
    """Name of the domain, computed from the stack."""
    uuid: Input[str]
    """UUID of the domain, computed from the stack."""
    owner: Input[str]
    """"project/stack": the mark in the domain's metadata that says whose it is."""
    node: Input[str]
    """Name of the node, kept in that mark."""
    memory_mib: Input[int]
    """Memory in MiB."""
    cpus: Input[int]
    """Number of virtual CPUs."""
    mac: Input[str]
    """MAC address of the one NIC, enp1s0: six pairs of hexadecimal digits with colons."""
    disk_path: Input[str]
    """Path of the `OverlayDisk`."""
    disk_serial: Input[str]
    """Its `serial`. Another one is another machine, and the domain is replaced."""
    seed_path: Input[str]
    """Path of the `SeedImage`."""
    pool: Input[str]
    """Name of the storage pool that has the console log's directory."""
    console_log: Input[str]
    """File for the serial console, in the directory of `pool`, so that it can be read and removed as a volume."""
    network: Input[str] | None = None
    """Name of the libvirt network that the NIC is on. Either this or `bridge`."""
    bridge: Input[str] | None = None
    """Name of the host's bridge that the NIC is on. Either this or `network`."""
    extra_disks: Input[Sequence[Input[str]]] = ()
    """Paths of more disks, raw and read-only, which become vdc, vdd, and so on."""
    virt_type: Input[str] = "auto"
    """auto (KVM if libvirt offers it), kvm, or qemu (plain emulation)."""
    cpu_mode: Input[str] = "auto"
    """auto (host-passthrough under KVM, maximum under emulation), host-passthrough, host-model, maximum, or custom."""
    cpu_model: Input[str] = ""
    """A name of `virsh cpu-models`, with `cpu_mode` custom."""
    disk_cache: Input[str] = "none"
    """Cache of the `OverlayDisk`: none, writeback, unsafe, … as in libvirt's <driver cache>."""
    machine: Input[str] = "q35"
    """QEMU's machine type."""
    autostart: Input[bool] = True
    """Whether the domain starts with the host."""
    stop_timeout: Input[int] = 60
    """Seconds that a guest gets to shut down before a restart that a change needs."""


class DomainProvider(DeclarativeProvider):
    replaces = ("uri", "name", "uuid", "mac", "network", "bridge", "disk_path", "disk_serial", "seed_path", "pool")
    updates = (
        "owner", "node", "memory_mib", "cpus", "extra_disks", "console_log", "virt_type", "cpu_mode", "cpu_model",
        "disk_cache", "machine", "autostart", "running", "definition",
    )  # fmt: skip
    keeps = ("stop_timeout",)
    integers = ("memory_mib", "cpus", "stop_timeout")
    outputs = ("virt_type_used", "obstacles")

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

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """As for all; and the properties that a refresh has found changed by hand get what they should be, so that a preview
        shows both. What was added by hand is carried over; the engine checks again without old inputs when a domain is
        recreated, so the preview of that shows it as lost.
        """
        result = super().check(_olds, {**news, "unmanaged": _olds.get("unmanaged") or []})
        inputs = result.inputs
        inputs["definition"] = {}
        found = _mapping(_olds.get("definition"))
        if found and not result.failures and not is_unknown(inputs):
            right = domain_edit.wanted(_spec(inputs, virt_type=inputs["virt_type"]))
            for what, seen in found.items():
                wanted = right.get(what.removeprefix(RUNNING), "as defined" if what in REMOVED else "none")
                if wanted != seen:
                    inputs["definition"][what] = wanted
        return result

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """As for all. It says in words what the engine shows as names of inputs only: what was changed by hand, what is lost."""
        seen, wanted = _mapping(_olds.get("definition")), _mapping(_news.get("definition"))
        drift = {what: text for what, text in seen.items() if text != wanted.get(what)}
        result = super().diff(_id, {**_olds, "definition": drift}, {**_news, "definition": {}})
        name = _olds.get("name")
        for what, text in drift.items():
            if what in wanted:  # else it is a refresh that asks, and `read` has said it
                remark(_by_hand(name, what, text, wanted[what]))
        unmanaged, in_the_way = _olds.get("unmanaged") or [], _olds.get("obstacles") or []
        if result.replaces and unmanaged:
            remark(f"{name} is recreated, and what is unmanaged in it is lost: {'; '.join(unmanaged)}")
        redefined = drift or any(differs(_olds.get(each), _news.get(each)) for each in self.updates if each not in WITHOUT_RESTART)
        if in_the_way and redefined and not result.replaces:
            remark(f"{name}: this change is refused while this lasts: {'; '.join(in_the_way)}")
        return result

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            outputs = _ensure(connection, inputs)
        return CreateResult(inputs["uuid"], {**inputs, **outputs})

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            domain = find(connection.lookupByUUIDString, state["uuid"])
            if domain is None:
                # Not as gone: what lives in it is deleted with it only while the state knows it.
                state |= {"running": False, "definition": dict(REMOVED), "unmanaged": [], "obstacles": []}
                return self.read_result(id_, state)
            stored, live = definitions(domain)
            facts = domain_spec.read_domain(stored)
            if facts.owner != state["owner"]:
                return ReadResult("", {})
            spec = _spec(state, virt_type=state.get("virt_type_used") or facts.virt_type)
            former = attached(connection, state["pool"], spec, (), stored, live)
            changed = {each.what: each for each in domain_edit.differences(stored, spec, former)}
            if live is not None:
                running = domain_edit.running(live, stored, spec, former)
                changed |= {RUNNING + each.what: each for each in running if each.what not in changed}
            for what, each in changed.items():
                remark(_by_hand(state["name"], what, each.seen, each.wanted))
            state |= {
                "memory_mib": domain_xml.memory_mib(stored),
                "cpus": facts.cpus,
                "autostart": bool(domain.autostart()),
                "running": live is not None,
                "definition": {what: each.seen for what, each in changed.items() if what not in SIZE},
                "unmanaged": inventory(domain, stored, live, spec, former),
                "obstacles": obstacles(domain, stored, live, spec),
            }
        for what, phrases in (("unmanaged, and kept", state["unmanaged"]), ("not to be redefined now", state["obstacles"])):
            if phrases:
                remark(f"{state['name']}: {what}: {'; '.join(phrases)}")
        return self.read_result(id_, state)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs = self.known(_news)
        with connect(inputs["uri"]) as connection:
            outputs = _ensure(connection, inputs, former=_olds.get("owner"), disks=_olds.get("extra_disks") or ())
        return UpdateResult({**inputs, **outputs})

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            domain = find(connection.lookupByUUIDString, state["uuid"])
            if domain is not None:
                stored, live = definitions(domain)
                if domain_spec.read_domain(stored).owner != state["owner"]:
                    return  # somebody else's by now, with its log
                _say_what_is_lost(connection, domain, stored, live, state)
                remove(domain)
            remove_log(connection, state["pool"], state["console_log"])


def _say_what_is_lost(connection: Any, domain: Any, stored: str, live: str | None, state: Props) -> None:
    """With a domain that is about to be removed; and which of its files stay."""
    spec = _spec(state, virt_type=state["virt_type"])
    former = attached(connection, state["pool"], spec, (), stored, live)
    lost = inventory(domain, stored, live, spec, former)
    if lost:
        say(f"{domain.name()}: removed with what is unmanaged in it: {'; '.join(lost)}")
    say_what_stays(connection, state["pool"], domain, (live, stored), {spec.disk_path, spec.seed_path, *former})


def _by_hand(name: object, what: str, seen: str, wanted: str) -> str:
    return f"{name}: {what} was changed by hand: {seen}, instead of {wanted}"


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _facts(domain: Any) -> DomainFacts:
    """The stored definition, which is what the next start uses."""
    import libvirt  # noqa: PLC0415

    return domain_spec.read_domain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def _spec(inputs: Props, *, virt_type: str) -> DomainSpec:
    mode = inputs["cpu_mode"]
    if mode == "auto" and virt_type != "auto":
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


def _ensure(connection: Any, inputs: Props, *, former: str | None = None, disks: Collection[str] = ()) -> Props:
    """Make the domain what the inputs say: defined so, running so, started with the host or not. Returns the outputs.

    `former`: an owner mark that was ours. `disks`: files of extra disks that were attached until now.
    """
    virt_type = inputs["virt_type"]
    if virt_type == "auto":
        virt_type = "kvm" if domain_spec.supports_kvm(connection.getCapabilities()) else "qemu"
    spec = _spec(inputs, virt_type=virt_type)
    _refuse_others(connection, inputs, {inputs["owner"], former or inputs["owner"]})

    domain = find(connection.lookupByUUIDString, inputs["uuid"])
    if domain is None:
        _define(connection, inputs, spec)
        found: Props = {"unmanaged": [], "obstacles": []}
    else:
        found = _edit(connection, domain, inputs, spec, disks=disks)
    return {"virt_type_used": virt_type, "definition": {}, **found}


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
    changes = domain_edit.differences(stored, spec, former)
    restarts = [] if live is None else domain_edit.restarts(live, stored, spec, former)
    in_the_way = obstacles(domain, stored, live, spec)
    if changes or restarts:
        _refuse_harm(inputs, domain.name(), [*changes, *restarts], in_the_way + domain_edit.contradictions(stored, spec))

    carried = domain_additions.only_running(live, stored, spec, former) if live is not None and restarts else []
    if carried:
        words = "; ".join(each.words for each in carried)
        say(f"{domain.name()}: attached to the running guest only, and stored now so that the restart keeps it: {words}")
    before, mark = stored, domain_edit.mark_differs(stored, spec)
    redefined = bool(changes or carried or not domain.isPersistent())
    if redefined:
        stored = domain_edit.edit(stored, spec, former, keep=[each.document for each in carried])
        domain = connection.defineXML(stored)
    elif mark:
        _set_mark(domain, spec, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    if restarts:
        _stop(domain, inputs["stop_timeout"])
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
    left = live if not restarts else None
    return {"unmanaged": inventory(domain, stored, left, spec, former), "obstacles": in_the_way}


def _set_mark(domain: Any, spec: DomainSpec, where: int) -> None:
    import libvirt  # noqa: PLC0415

    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain_spec.mark(spec), "mark", domain_spec.MARK, where)


def _refuse_harm(inputs: Props, name: str, changes: Sequence[Difference], reasons: Sequence[str]) -> None:
    """Raise if something stands in the way of changes, with all of it."""
    if reasons:
        wanted = "; ".join(dict.fromkeys(str(each) for each in changes))
        numbered = " ".join(f"({number}) {reason}." for number, reason in enumerate(reasons, 1))
        raise HypervisorError(
            f"domain {name!r} on {inputs['uri']} is left as it is, because a change of its definition would destroy what was done "
            f"by hand. To be changed: {wanted}. In the way: {numbered} Then `pulumi up` again; or undo the change in the settings"
        )


def _refuse_others(connection: Any, inputs: Props, owners: set[str]) -> None:
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
            with progress(lambda: f"{name}: still shutting down"):
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
    place do so with an orderly restart of the guest, in the definition that is there: what was added by hand stays. Raises
    HypervisorError if name or UUID belong to a domain without the mark, another domain has the MAC, or a change would destroy
    work that was begun by hand: a snapshot, a moved disk, a block job, a managed save. Removed by powering off; files that the
    stack did not make stay and are named. Created without waiting for the guest to boot.

    Outputs, next to the inputs: virt_type_used, kvm or qemu. As of the last refresh or update also definition, managed
    properties that were changed by hand, with what they are; unmanaged, what was added by hand, in words, which is kept in every
    change and lost if the domain is replaced; obstacles, what stood in the way of a change, with the commands that end it.
    """

    def __init__(self, resource_name: str, args: DomainArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            DomainProvider(),
            resource_name,
            properties(args, DomainProvider.outputs, running=True, definition={}, unmanaged=[]),
            old_first(opts),
        )

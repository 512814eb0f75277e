"""The virtual machine itself, as libvirt knows it: its resource, and what a preview and a refresh say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components.custom.provider import DeclarativeProvider, Props, differs, is_unknown, old_first, properties
from components.custom.reporting import remark
from components.libvirt import domain_disks, domain_edit, domain_firmware, domain_spec, domain_xml
from components.libvirt.connection import connect, find
from components.libvirt.domain_apply import ensure
from components.libvirt.domain_removal import remove, remove_files, say_what_is_lost
from components.libvirt.obstacles import obstacles
from components.libvirt.stack_guests import power_off_together
from components.libvirt.unmanaged import attached, definitions, inventory

REMOVED = {"domain": "removed by hand"}
"""`definition` of a domain that is not there."""

SIZE = ("memory", "CPUs")
"""Managed properties that are inputs of their own, and so no part of `definition`."""

WITHOUT_RESTART = ("owner", "node", "autostart", "guest_agent", "running", "definition")
"""Inputs that change nothing of the definition but its mark, or what waits for its next change; and `definition`, which `diff`
compares by itself."""

RUNNING = "running guest: "
"""Before a property in which the running guest differs from its stored definition."""

VIRT_TYPES = ("auto", "kvm", "qemu")
FIRMWARES = (domain_firmware.BIOS, domain_firmware.EFI)
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
    """MAC address of the first NIC, enp1s0: six pairs of hexadecimal digits with colons."""
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
    nic_port: Input[Mapping[str, str]] | None = None
    """How the NIC is plugged in there: `vlan` ("50", "trunk 50,60", "trunk 50,60 native 10"), `openvswitch` ("yes"), `queues`."""
    nics: Input[Sequence[Mapping[str, str]]] | None = None
    """Further NICs: `name` in the guest, `mac`, `network` (and `portgroup`) or `bridge`, `model`, and what is in `nic_port`."""
    extra_disks: Input[Sequence[Input[str]]] = ()
    """Paths of more disks, raw and read-only, which become vdc, vdd, and so on."""
    host_devices: Input[Sequence[Input[Mapping[str, Input[Any]]]]] | None = None
    """USB and PCI devices of the host, each with name, kind (usb, pci), choice, optional, and address of its `HostDevice`."""
    data_disks: Input[Sequence[Input[Mapping[str, Input[str] | Input[bool]]]]] | None = None
    """Of each `DataDisk`: name, serial, pool, volume, path ("" where libvirt alone knows it), bus, cache, keep, and disk_id."""
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
    firmware: Input[str] | None = None
    """efi, or None for BIOS, with which UEFI that was set by hand stays."""
    secure_boot: Input[bool] | None = None
    """Whether UEFI boots only what is signed."""
    guest_agent: Input[bool] | None = None
    """Whether somebody relies on the guest agent's channel, so that its loss is drift. Every machine has it."""
    autostart: Input[bool] = True
    """Whether the domain starts with the host."""
    stop_timeout: Input[int] = 60
    """Seconds that a guest gets to shut down before a restart that a change needs."""


class DomainProvider(DeclarativeProvider):
    replaces = ("uri", "name", "uuid", "mac", "network", "bridge", "disk_path", "disk_serial", "seed_path", "pool")
    updates = (
        "owner", "node", "memory_mib", "cpus", "nic_port", "nics", "host_devices", "extra_disks", "data_disks", "console_log",
        "virt_type", "cpu_mode", "cpu_model", "disk_cache", "machine", "firmware", "secure_boot", "guest_agent", "autostart",
        "running", "definition",
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
        firmware = news.get("firmware")
        if firmware is not None and not is_unknown(firmware) and firmware not in FIRMWARES:
            wrong.append(("firmware", f"{firmware!r} is none of {', '.join(FIRMWARES)}"))
        for name in ("memory_mib", "cpus"):
            value = news.get(name)
            if not is_unknown(value) and (not isinstance(value, int) or value <= 0):
                wrong.append((name, f"{value!r} is no whole number above 0"))
        network, bridge = news.get("network"), news.get("bridge")
        if not is_unknown([network, bridge]) and bool(network) == bool(bridge):
            wrong.append(("network", "a domain needs a libvirt network or a bridge, exactly one of the two"))
        return wrong

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """As DeclarativeProvider.check; in addition, properties that a refresh has reported as changed by hand get the values that
        they should have, so that a preview shows both. What was added by hand is carried over; the engine checks again without old
        inputs when a domain is recreated, so the preview of that shows it as lost.
        """
        result = super().check(_olds, {**news, "unmanaged": _olds.get("unmanaged") or []})
        inputs = result.inputs
        inputs["definition"] = {}
        changed = _mapping(_olds.get("definition"))
        if changed and not result.failures and not is_unknown(inputs):
            right = domain_edit.wanted(domain_spec.from_inputs(inputs, virt_type=inputs["virt_type"]))
            for name, actual in changed.items():
                wanted = right.get(name.removeprefix(RUNNING), "as defined" if name in REMOVED else "none")
                if wanted != actual:
                    inputs["definition"][name] = wanted
        return result

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """As DeclarativeProvider.diff. It says in words what the engine shows as names of inputs only: what was changed by hand,
        and what is lost."""
        changed, wanted = _mapping(_olds.get("definition")), _mapping(_news.get("definition"))
        drift = {property_name: text for property_name, text in changed.items() if text != wanted.get(property_name)}
        result = super().diff(_id, {**_olds, "definition": drift}, {**_news, "definition": {}})
        domain = _olds.get("name")
        for property_name, text in drift.items():
            if property_name in wanted:  # else a refresh calls this, and `read` has said it
                remark(_by_hand(domain, property_name, text, wanted[property_name]))
        unmanaged, in_the_way = _olds.get("unmanaged") or [], _olds.get("obstacles") or []
        if result.replaces and unmanaged:
            remark(f"{domain} is recreated, and what is unmanaged in it is lost: {'; '.join(unmanaged)}")
        if not result.replaces and not is_unknown(_news.get("data_disks")):
            for text in domain_disks.taken_off(_olds, _news):
                remark(text)
        restarting = [name for name in self.updates if name not in WITHOUT_RESTART]
        redefined = drift or any(differs(_olds.get(name), _news.get(name)) for name in restarting)
        if not result.replaces:
            _say_firmware(domain, _olds, _news)
        if in_the_way and redefined and not result.replaces:
            remark(f"{domain}: this change is refused while this lasts: {'; '.join(in_the_way)}")
        return result

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            outputs = ensure(connection, inputs)
        return CreateResult(inputs["uuid"], {**inputs, **outputs})

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            domain = find(connection.lookupByUUIDString, state["uuid"])
            if domain is None:
                # Not reported as deleted: what lives in it is deleted with it only while the state knows it.
                state |= {"running": False, "definition": dict(REMOVED), "unmanaged": [], "obstacles": []}
                return self.read_result(id_, state)
            stored, live = definitions(domain)
            facts = domain_spec.read_domain(stored)
            if facts.owner != state["owner"]:
                return ReadResult("", {})
            known = domain_disks.resolved(connection, state)
            spec = domain_spec.from_inputs(known, virt_type=state.get("virt_type_used") or facts.virt_type)
            spec = domain_edit.next_to_others(spec, stored, live)
            if not state.get("guest_agent"):  # machines of former releases have no channel, and no setting requests it
                spec = domain_edit.without_deferred(stored, spec)
            former = attached(connection, state["pool"], spec, (), stored, live)
            changed = {difference.name: difference for difference in domain_edit.differences(stored, spec, former)}
            if live is not None:
                running = domain_edit.running(live, stored, spec, former)
                changed |= {RUNNING + difference.name: difference for difference in running if difference.name not in changed}
            for property_name, difference in changed.items():
                remark(_by_hand(state["name"], property_name, difference.actual, difference.wanted))
            state |= {
                "memory_mib": domain_xml.memory_mib(stored),
                "cpus": facts.cpus,
                "autostart": bool(domain.autostart()),
                "running": live is not None,
                "definition": {name: difference.actual for name, difference in changed.items() if name not in SIZE},
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
            outputs = ensure(connection, inputs, former=_olds.get("owner"), disks=_olds.get("extra_disks") or ())
        return UpdateResult({**inputs, **outputs})

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            powered_off = power_off_together(connection, state)
            domain = find(connection.lookupByUUIDString, state["uuid"])
            if domain is not None:
                stored, live = definitions(domain)
                live = live or powered_off.get(state["uuid"])
                if domain_spec.read_domain(stored).owner != state["owner"]:
                    return  # somebody else's by now, with its log
                say_what_is_lost(connection, domain, stored, live, state)
                remove(domain)
            remove_files(connection, state["pool"], state["node"], state["console_log"])


def _say_firmware(domain: object, olds: Props, news: Props) -> None:
    """A firmware that changes, in words: the machine keeps its disk, which has to be one for the other firmware too."""
    former, wanted = (
        domain_firmware.words(props.get("firmware") or domain_firmware.BIOS, secure_boot=bool(props.get("secure_boot")))
        for props in (olds, news)
    )
    if former != wanted and not is_unknown([news.get("firmware"), news.get("secure_boot")]):
        remark(
            f"{domain} boots by {wanted} from now on, by {former} until now: it is restarted for that with the disk that it has. "
            "If its image was not made for that, it does not boot, and the former setting brings it back"
        )


def _by_hand(name: object, property_name: str, actual: str, wanted: str) -> str:
    return f"{name}: {property_name} was changed by hand: {actual}, instead of {wanted}"


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


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

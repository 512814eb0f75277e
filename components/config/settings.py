"""Stack configuration as frozen, validated models. No Pulumi resources here.

`Settings` is the whole of it; each top-level field is one key of the stack's configuration (`k3s-macvlan:k3s`, ...), and
Pulumi.yaml repeats their descriptions. `parse` turns raw configuration into Settings or raises one SettingsError that
lists every mistake: the setting, its value, the conflict and the remedy. What concerns several settings at once and needs
addresses or names computed from them is in conflicts.py, which adds its own problems in the same form.
"""

from __future__ import annotations

import re
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from components.config import k3s_options
from components.config.addresses import AddressRange
from components.config.devices import Device, DeviceName
from components.config.disks import DiskName, DiskOverrides, Disks
from components.config.kube_vip import KubeVip
from components.config.model import Model
from components.config.nics import Nic, Queues, Vlan, VlanTag, vlan_mistakes
from components.config.pod_networks import PodNetwork
from components.config.problems import Mistake, matching, refuse
from components.config.snapshots import Snapshots
from components.config.value_types import (
    INTERFACE_PATTERN,
    Address,
    ApiAddress,
    Checksum,
    EnvironmentName,
    Folder,
    Image,
    Interface,
    K3sVersion,
    Labels,
    LibvirtName,
    Mac,
    Name,
    OptionName,
    Path,
    PluginName,
    Quantity,
    Seconds,
    Source,
    Subnet,
    Taint,
    Text,
    Url,
    quantity_bytes,
)

# --- Hypervisors and the network --------------------------------------------------------------------------------------


class Hypervisor(Model):
    """A libvirt host."""

    uri: Annotated[
        str,
        matching(
            r"^[a-z]+(\+[a-z0-9]+)?://[A-Za-z0-9@._:/?=&%~+-]*$",
            "not a libvirt connection URI; write it as qemu:///system or qemu+ssh://user@host/system",
        ),
    ] = "qemu:///system"
    """libvirt connection URI: qemu:///system, or qemu+ssh://user@host/system for a remote host, whose SSH key is known."""
    pool_directory: Path = "/var/lib/libvirt/images"
    """Directory on the hypervisor under which the stack's own storage pool is made."""


class Network(Model):
    """The real network that nodes and macvlan pods share."""

    kind: Literal["libvirt", "bridge"] = "libvirt"
    """libvirt: a network of libvirt's, whose DHCP server knows the nodes; bridge: a bridge that the hypervisors have already,
    where nodes have static addresses and nobody's DHCP server is touched."""
    name: LibvirtName = "default"
    """libvirt network the nodes are connected to; with kind bridge the bridge's name, the same on every hypervisor."""
    cidr: Subnet = IPv4Network("192.168.122.0/24")
    """The network's addresses."""
    gateway: Address = IPv4Address("192.168.122.1")
    """The network's gateway; on a libvirt network the hypervisor itself."""
    dns: tuple[Address, ...] = ()
    """Name servers of the nodes, with kind bridge; `[]` for a network without any. A libvirt network has its own."""
    nodes: AddressRange = AddressRange.parse("192.168.122.180-192.168.122.199")
    """Range for node addresses: servers count up from its start, agents down from its end."""
    exclude: tuple[AddressRange, ...] = ()
    """Addresses or ranges of the network that are in use by others; nothing may overlap them."""
    interface: Interface = "enp1s0"
    """Name of the nodes' interface on this network; given to it by its MAC address at first boot."""
    mtu: Annotated[int, Field(strict=True, ge=576, le=65535)] | None = None
    """MTU in bytes that the nodes give their interface, no more than the libvirt network's `<mtu size=…>` or the bridge's; absent:
    the NIC's own, which is 1500 unless libvirt gives it another. At most this is the `mtu` of networks for pods on it. A change
    recreates the nodes."""
    openvswitch: bool = False
    """With kind bridge: the bridge is one of Open vSwitch."""
    vlan: Vlan | None = None
    """With kind bridge: VLAN of the bridge that the nodes are on; a list is a trunk, whose VLANs networks for pods have with their
    tags, and `nativeVlan` is the nodes' own. Open vSwitch, or libvirt 11.0 or later and a Linux bridge that filters VLANs. A change
    is made while the nodes run where libvirt can, else they are restarted."""
    native_vlan: VlanTag | None = None
    """With a trunk: the nodes' own VLAN, without a tag."""
    queues: Queues | None = None
    """Queues of the nodes' NIC, which as many CPUs of a node serve at once; absent: one. A change restarts the nodes."""

    @property
    def libvirt_name(self) -> str | None:
        """The libvirt network's name; None with kind bridge."""
        return self.name if self.kind == "libvirt" else None

    @property
    def bridge_name(self) -> str | None:
        """The bridge's name; None with kind libvirt."""
        return self.name if self.kind == "bridge" else None

    @model_validator(mode="after")
    def _kind(self) -> Network:
        if self.kind == "libvirt":
            if self.dns:
                conflict = "dns goes with kind: bridge; the nodes of a libvirt network query its own DNS server; remove it"
                refuse([Mistake(("dns",), self.dns, conflict, ("kind",))])
            refuse(
                Mistake(
                    (name,),
                    None,
                    "goes with kind: bridge; the DHCP server of a libvirt network is on no VLAN of its bridge; remove it",
                    ("kind",),
                )
                for name, value in (("openvswitch", self.openvswitch), ("vlan", self.vlan), ("nativeVlan", self.native_vlan))
                if value
            )
            return self
        needed = (
            "is needed with kind: bridge: the default is that of libvirt's network default, and nothing on a bridge gives it to "
            "the nodes (dns: [] for a network without name servers); set it"
        )
        missing = [name for name in ("name", "cidr", "gateway", "dns", "nodes") if name not in self.model_fields_set]
        mistakes = [Mistake((name,), None, needed, ("kind",)) for name in missing]
        if "name" not in missing and not re.fullmatch(INTERFACE_PATTERN, self.name):
            conflict = "with kind: bridge it is the name of an interface of the hypervisor; write at most 15 characters"
            mistakes.append(Mistake(("name",), self.name, conflict, ("kind",)))
        if isinstance(self.vlan, tuple) and self.native_vlan is None:
            conflict = "is a trunk, on which the nodes' own frames have no VLAN; set nativeVlan to theirs, or write one tag"
            mistakes.append(Mistake(("vlan",), None, conflict, ("nativeVlan",)))
        refuse([*mistakes, *vlan_mistakes(self.vlan, self.native_vlan)])
        return self


# --- Nodes ------------------------------------------------------------------------------------------------------------


class NodeSize(Model):
    """Size and Kubernetes properties of a node."""

    cpus: Annotated[int, Field(strict=True, ge=1, le=512)] = 2
    """Virtual CPUs. K3s requires 2 on a server."""
    memory: Annotated[int, Field(strict=True, ge=512, le=4194304)] = 4096
    """Memory in MiB. K3s requires 2048 on a server."""
    disk: Annotated[int, Field(strict=True, ge=3, le=65536)] = 20
    """Root disk in GiB. It may grow later, never shrink."""
    labels: Labels = {}
    """Kubernetes node labels. Those that a kubelet may not set itself, such as node-role.kubernetes.io/worker, are set through the
    API when the node is Ready."""
    taints: tuple[Taint, ...] = ()
    """Kubernetes node taints, key=value:Effect."""
    hypervisor: Name = "local"
    """Name of one of `hypervisors`."""
    devices: dict[DeviceName, Device] = {}
    """USB and PCI devices of the hypervisor that the machine is given, by name. The node gets the label
    k3s-macvlan.dev/device-NAME: "true"."""
    nics: tuple[Nic, ...] = ()
    """Further network interfaces. They are attached and detached while the node runs, where libvirt can, and may be the `parent` of
    networks for pods."""
    disks: Disks = {}
    """Data disks by name, which outlive the machine: `size`, `mount`, `keep`, ..."""


class NodeOverride(Model):
    """What differs for one node of a group; absent fields are the group's."""

    cpus: Annotated[int, Field(strict=True, ge=1, le=512)] | None = None
    """Virtual CPUs."""
    memory: Annotated[int, Field(strict=True, ge=512, le=4194304)] | None = None
    """Memory in MiB."""
    disk: Annotated[int, Field(strict=True, ge=3, le=65536)] | None = None
    """Root disk in GiB."""
    labels: Labels | None = None
    """Kubernetes node labels, added to the group's."""
    taints: tuple[Taint, ...] | None = None
    """Kubernetes node taints, in place of the group's."""
    hypervisor: Name | None = None
    """Name of one of `hypervisors`."""
    disks: DiskOverrides = {}
    """Data disks by name, merged with the group's disk of the same name field by field."""
    address: Address | None = None
    """Address inside `network.nodes`, in place of the counted one."""
    mac: Mac | None = None
    """MAC address, in place of the one made from the stack's and the node's names."""
    devices: dict[DeviceName, Device] | None = None
    """USB and PCI devices, added to the group's; one of the same name replaces it."""
    nics: tuple[Nic, ...] | None = None
    """Further network interfaces, in place of the group's."""


class NodeGroup(NodeSize):
    """A group of nodes of one role."""

    count: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    """How many nodes."""
    overrides: dict[Name, NodeOverride] = {}
    """Per node (server-1, agent-2, ...): what differs from the group."""


def node_names(role: str, count: int) -> list[str]:
    """server-1, server-2, … for the role server."""
    return [f"{role}-{index + 1}" for index in range(count)]


class Servers(NodeGroup):
    """The servers: control plane and embedded etcd."""

    count: Annotated[int, Field(strict=True, ge=1, le=99)] = 1
    """How many servers: 1, or an odd number from 3 for embedded etcd with a majority."""

    @model_validator(mode="after")
    def _odd(self) -> Servers:
        if self.count % 2 == 0:
            conflict = (
                f"etcd needs a majority, so {self.count} servers survive no more failures than {self.count - 1}; use "
                f"{self.count - 1} or {self.count + 1}"
            )
            refuse([Mistake(("count",), self.count, conflict)])
        return self


class Machine(Model):
    """What all virtual machines have in common."""

    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    """Domain type: kvm, qemu (plain emulation), or auto: kvm where libvirt offers it."""
    cpu_mode: Literal["auto", "host-passthrough", "host-model", "maximum", "custom"] = "auto"
    """CPU mode; auto is host-passthrough under kvm and maximum under qemu."""
    cpu_model: Annotated[
        str,
        matching(r"^[A-Za-z0-9._-]{0,64}$", "not a CPU model; write one as `virsh cpu-models x86_64` lists them, such as Nehalem"),
    ] = ""
    """CPU model, with cpuMode custom."""
    machine_type: Annotated[
        str,
        matching(
            r"^[A-Za-z0-9._-]{1,64}$", "not a machine type; write one as `qemu-system-x86_64 -M help` lists them, such as q35"
        ),
    ] = "q35"
    """QEMU machine type. q35 with virtio names the first interface enp1s0."""
    disk_cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe"] = "writeback"
    """Cache mode of the root disk; unsafe is quick and loses data when the hypervisor dies."""
    autostart: bool = True
    """Start the machines with the hypervisor."""
    firmware: Literal["auto", "bios", "efi"] = "auto"
    """What the machines boot by: bios, efi (UEFI), or auto: efi where the name of the image's file says that it is for UEFI, else
    bios. Another one restarts the machines with their disks, which most images for the cloud bear ([images.md](images.md))."""
    secure_boot: bool = False
    """Boot nothing but what is signed with keys of Microsoft's or the distribution's; with firmware efi and a q35. It restarts the
    machines when it changes."""
    guest_agent: bool = False
    """Install QEMU's guest agent on the nodes from the distribution's packages and start it. Every machine has the channel for it,
    and one that the image brings is used as well."""

    @model_validator(mode="after")
    def _secure(self) -> Machine:
        if not self.secure_boot:
            return self
        mistakes = []
        if self.firmware != "efi":
            conflict = "needs the firmware that has it; set firmware: efi, or leave it out"
            mistakes.append(Mistake(("secureBoot",), True, conflict, ("firmware",)))
        if not re.fullmatch(r"(pc-)?q35.*", self.machine_type):
            conflict = f"needs a machine with system management mode, which {self.machine_type} has not; take machineType: q35"
            mistakes.append(Mistake(("secureBoot",), True, conflict, ("machineType",)))
        refuse(mistakes)
        return self

    @model_validator(mode="after")
    def _model(self) -> Machine:
        if (self.cpu_mode == "custom") != bool(self.cpu_model):
            conflict = "cpuModel goes with cpuMode custom, and custom needs a cpuModel; set both or neither"
            refuse([Mistake(("cpuModel",), self.cpu_model, conflict, ("cpuMode",))])
        return self


class BaseImage(Model):
    """The cloud image under every node's disk."""

    source: Source = "https://cloud.debian.org/images/cloud/bookworm/20260923-2610/debian-12-genericcloud-amd64-20260923-2610.qcow2"
    """http(s) URL, or a file on the machine that runs Pulumi."""
    checksum: Checksum = (
        "sha512:3d94c9dd66d8a283fde060b8810373b7ae04038b956ee00d553d1ae564f6fbde"
        "aa2fd6e7404e87e53348b5a9509170f3ea7c0731ba737590c5c4cb8d559a47f8"
    )
    """sha256:<hex> or sha512:<hex> of the image, or the URL of a checksum file that names it."""
    format: Literal["qcow2", "raw"] = "qcow2"
    """Format of the image."""
    prepare: Literal["auto", "always", "never"] = "auto"
    """Whether what each node of the K3s release gets is put into an image once, over which the nodes' disks then are: always (an
    error where that fails), never, or auto: on a libvirt network, and where it fails the nodes are made from the image as it is
    ([prepared-image.md](prepared-image.md))."""


class Artifacts(Model):
    """Files in place of every download, for nodes without access to the internet."""

    directory: Folder = ""
    """Directory on the machine that runs Pulumi, absolute or from the project's folder, filled by `./lab fetch`; empty: `up`
    and the nodes download from the sites of the other settings."""


# https://docs.k3s.io/installation/requirements, and what listens on 127.0.0.1 alone.
_NODE_PORTS = {80, 443, 2379, 2380, 2381, 5001, 6443, 6444, 8472, 10010, *range(10248, 10260)}


class Ssh(Model):
    """How the program reaches the nodes."""

    user: Annotated[
        str,
        matching(
            r"^[a-z_][a-z0-9_-]{0,30}$",
            "not a name of a Linux user; write 1 to 31 lower-case letters, digits and _-, the first a letter or _",
        ),
    ] = "ubuntu"
    """User made on every node, with passwordless sudo."""
    private_key: SecretStr | None = None
    """Your own private key, OpenSSH format without passphrase (`pulumi config set --secret --path ssh.privateKey`);
    by default the program makes one and keeps it in the stack's state."""
    authorized_keys: tuple[Text, ...] = ()
    """Further public keys that may log in."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 22
    """Port on which the nodes' SSH server listens; another port is another machine, since the first boot sets it."""

    @field_validator("port")
    @classmethod
    def _port(cls, value: int) -> int:
        if value in _NODE_PORTS or value in range(30000, 32768):
            raise ValueError(
                "K3s listens there on its nodes (80, 443, 2379-2381, 5001, 6443, 6444, 8472, 10010, 10248-10259, NodePorts "
                "30000-32767); take 22, or a port that no service of a node has"
            )
        return value

    @model_validator(mode="after")
    def _user(self) -> Ssh:
        if self.user == "root":
            refuse([Mistake(("user",), self.user, "cloud images forbid root logins; name another user, it gets sudo")])
        return self


# --- K3s --------------------------------------------------------------------------------------------------------------


# What the program sets itself for the install script (k3s-install.sh refuses the same).
_INSTALL_OWN = {
    "INSTALL_K3S_" + name
    for name in (
        "VERSION",
        "EXEC",
        "SKIP_START",
        "SKIP_ENABLE",
        "NAME",
        "TYPE",
        "BIN_DIR",
        "SYSTEMD_DIR",
        "COMMIT",
        "PR",
        "CHANNEL",
    )
} | {"K3S_URL"}

# Where the releases are, as the script reads it: GITHUB_URL (https://github.com/k3s-io/k3s/releases) until 2026-02, and
# INSTALL_K3S_ARTIFACT_URL (the same with /download) since.
_RELEASES = {"GITHUB_URL", "INSTALL_K3S_ARTIFACT_URL"}


class InstallScript(Model):
    """K3s's install script."""

    url: Url = "https://get.k3s.io"
    """Where the node downloads the script."""
    sha256: Annotated[
        str, matching(r"^([0-9a-f]{64})?$", "not a SHA-256; write 64 hex digits in lower case, as `sha256sum` prints them")
    ] = ""
    """SHA-256 of the script; empty: not checked."""
    environment: dict[EnvironmentName, Text] = {}
    """Environment of the script: proxies, and INSTALL_K3S_MIRROR and INSTALL_K3S_MIRROR_URL of the Chinese script. Another
    source of the releases is `k3s.releases`. No secrets: it is in the node's process list while the script runs."""

    @model_validator(mode="after")
    def _ours(self) -> InstallScript:
        mistakes = [
            Mistake(
                ("environment", name),
                "",
                f"environment sets {name}, which the program sets itself; use k3s.version and k3s.config",
                named=True,
            )
            for name in sorted(_INSTALL_OWN & self.environment.keys())
        ]
        mistakes += [
            Mistake(
                ("environment", name),
                "",
                f"environment sets {name}, which only some copies of the script read, while the others download from elsewhere; "
                f"set k3s.releases: {self.environment[name].rstrip('/').removesuffix('/download')} in its place, which is handed "
                "to either",
                named=True,
            )
            for name in sorted(_RELEASES & self.environment.keys())
        ]
        mistakes += [
            Mistake(
                ("environment", name),
                "",
                f"{name} would show credentials in the node's process list; use a mirror or proxy without any, or "
                "registries.configs for a registry",
            )
            for name, value in sorted(self.environment.items())
            # curl and Go take a proxy without a scheme, and a password with a slash.
            if re.search(r"://[^/]*@", value)
            or ("@" in value and name.lower().endswith("_proxy"))
            or re.search(r"TOKEN|SECRET|PASSWORD", name)
        ]
        refuse(mistakes)
        return self


def _tls(value: Any) -> Any:
    if not isinstance(value, str | bool):
        raise ValueError("neither a text nor true or false; write the path of a file on the node, or whether to skip the check")
    return value


class RegistryMirror(Model):
    """Where the images of one registry are pulled from."""

    endpoint: Annotated[tuple[Url, ...], Field(min_length=1)]
    """URLs, tried in this order."""
    rewrite: dict[str, str] = {}
    """Rewrites of repository names: regular expression to replacement."""


class RegistryAccess(Model):
    """Credentials and TLS of one endpoint."""

    auth: dict[Literal["username", "password", "auth", "identity_token"], str] = {}
    """Credentials; set the whole key as a secret."""
    tls: dict[
        Literal["cert_file", "key_file", "ca_file", "insecure_skip_verify"], Annotated[str | bool, BeforeValidator(_tls)]
    ] = {}
    """Files on the node, and whether the certificate is checked."""


class Registries(Model):
    """registries.yaml: https://docs.k3s.io/installation/private-registry"""

    mirrors: dict[
        Annotated[
            str,
            matching(
                r"^(\*|[a-z0-9.-]+(:\d+)?)$", 'not a name of a registry; write its host, such as docker.io, or "*" for all others'
            ),
        ],
        RegistryMirror,
    ] = {}
    """By registry name (docker.io, ghcr.io, "*")."""
    configs: dict[Text, RegistryAccess] = {}
    """By the endpoint's host."""


def _options(config: dict[str, Any], *, servers_only: bool) -> dict[str, Any]:
    refusals = k3s_options.refusals(config, servers_only=servers_only)
    refuse(Mistake((key,), "", conflict, named=not k3s_options.by_value(key)) for key, conflict in refusals)
    return config


class K3s(Model):
    """K3s on every node."""

    version: K3sVersion = "v1.36.4+k3s1"
    """K3s release, always pinned."""
    releases: Url | None = None
    """Where the install script downloads the release: what comes before /download/VERSION/k3s; absent: the script's own
    source, https://github.com/k3s-io/k3s/releases."""
    install_script: InstallScript = InstallScript()
    """The install script."""
    system_default_registry: Annotated[
        str,
        matching(
            r"^([a-z0-9.-]+(:\d+)?)?$", "not a registry; write its host, and its port if it has one, such as registry.example:5000"
        ),
    ] = ""
    """Registry for K3s's own images (--system-default-registry)."""
    registries: Registries = Registries()
    """Content of /etc/rancher/k3s/registries.yaml: `mirrors` and `configs` as K3s documents them."""
    config: Annotated[dict[OptionName, Any], AfterValidator(partial(_options, servers_only=False))] = {}
    """Further keys of /etc/rancher/k3s/config.yaml on servers and agents. Every key of K3s is known here: what other settings give
    and what does not fit this program's clusters is refused with the reason (docs/k3s-options.md)."""
    server_config: Annotated[dict[OptionName, Any], AfterValidator(partial(_options, servers_only=True))] = {}
    """Further keys of config.yaml on servers only."""
    api_address: ApiAddress = ""
    """Virtual address or name in front of the servers, if you provide one; written into the certificates and the kubeconfig. An
    address of the network is the stack's own like those of nodes and pods, unless `network.exclude` names it as another's."""
    virtual_address: Address | None = None
    """Address of the nodes' network that one server has at a time, by kube-vip, and another takes over when that one is lost. All
    nodes join by it; it is in the certificates and the kubeconfig, and may be nobody else's. With it `apiAddress` may only be a
    name, of this address, which the kubeconfig then has. A change restarts K3s on all nodes."""
    kube_vip: KubeVip = KubeVip()
    """What gives `virtualAddress` to a server: `image`, `leaseDuration`."""
    separate_agent_token: bool = True
    """Agents join with a token of their own, with which nobody can join as a server; false: with the servers' token."""
    cni_bin_directory: Path | None = None
    """CNI plugin directory on the node; by default the one this K3s release searches."""
    cni_conf_directory: Path = "/var/lib/rancher/k3s/agent/etc/cni/net.d"
    """CNI configuration directory on the node."""
    data_disk: DiskName | None = None
    """Name of the data disk (`servers.disks`, `agents.disks`) that has /var/lib/rancher, on each node that has one of this name;
    servers need it. A rebuilt machine then finds its cluster again."""
    snapshots: Snapshots | None = None
    """K3s's own snapshots of etcd: when, how many, and a copy in S3; absent: K3s's defaults."""
    agents_at_once: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """How many agents are installed or upgraded at the same time; absent: all."""
    pod_cidr: Subnet = IPv4Network("10.42.0.0/16")
    """Pod addresses (K3s's cluster-cidr)."""
    service_cidr: Subnet = IPv4Network("10.43.0.0/16")
    """Service addresses (K3s's service-cidr)."""
    hardened: bool = False
    """K3s's CIS hardening guide: kernel parameters, encrypted secrets, audit log, PodSecurity level `restricted`, tokens that end,
    file modes, network policies; what each does, and what is left to do: [hardening.md](hardening.md). On a running cluster it
    restarts K3s and encrypts the secrets that are there."""

    @model_validator(mode="after")
    def _source(self) -> K3s:
        if self.releases is None:
            return self
        mirrors = sorted({"INSTALL_K3S_MIRROR", "INSTALL_K3S_MIRROR_URL"} & self.install_script.environment.keys())
        mistakes = []
        if mirrors:
            both = f"installScript.environment sets {', '.join(mirrors)}"
            conflict = f"{both} too, with which the script asks its mirror instead; remove one of them"
            others = tuple(f"installScript.environment.{name}" for name in mirrors)
            mistakes.append(Mistake(("releases",), self.releases, conflict, others))
        if "@" in urlsplit(self.releases).netloc:
            conflict = "would show credentials in the node's process list; use a mirror without any"
            mistakes.append(Mistake(("releases",), self.releases, conflict))
        if self.releases.endswith(("/", "/download")):
            conflict = f"/download/VERSION is appended to it; write {self.releases.rstrip('/').removesuffix('/download')}"
            mistakes.append(Mistake(("releases",), self.releases, conflict))
        refuse(mistakes)
        return self


class Plugins(Model):
    """CNI plugins that K3s does not ship."""

    url: Url = "https://github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz"
    """Archive of a containernetworking/plugins release; the node downloads it."""
    checksum: Checksum = "sha256:b98f74a0f8522f0a83867178729c1aa70f2158f90c45a2ca8fa791db1c76b303"
    """sha256:<hex> of the archive, or the URL of a checksum file that names it."""
    names: tuple[PluginName, ...] = ()
    """Plugins to install from it besides those that `podNetworks` need."""

    @model_validator(mode="after")
    def _algorithm(self) -> Plugins:
        if self.checksum.startswith("sha512:"):
            refuse([Mistake(("checksum",), self.checksum, "the plugins' releases publish SHA-256; write sha256:<hex>")])
        return self


class Multus(Model):
    """Multus, thin."""

    image: Image = "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.3.0"
    """Image of the DaemonSet kube-multus-ds."""
    namespace: Name = "kube-system"
    """Namespace of everything namespaced that Multus needs."""
    log_level: Literal["", "debug", "verbose", "error", "panic"] = ""
    """Multus's log level; empty: its default."""
    namespace_isolation: bool = False
    """Pods may use only NetworkAttachmentDefinitions of their own namespace (and of `default`)."""
    memory_request: Quantity = "64Mi"
    """Memory request of the container."""
    memory_limit: Quantity = "256Mi"
    """Memory limit of the container; below 256Mi it is killed at boot (multus-cni issue 1346)."""
    cpu_request: Quantity = "100m"
    """CPU request of the container."""

    @model_validator(mode="after")
    def _thin(self) -> Multus:
        if self.image.partition("@")[0].endswith(("-thick", ":thick")):
            conflict = (
                "is the thick Multus, which needs equal paths inside and outside of its container, and K3s's are others; take the "
                "same tag without -thick"
            )
            refuse([Mistake(("image",), self.image, conflict)])
        return self

    @model_validator(mode="after")
    def _memory(self) -> Multus:
        if quantity_bytes(self.memory_limit) < 256 * 2**20:
            conflict = (
                "Multus is killed for memory below 256Mi when many pods start at once (multus-cni issue 1346); set 256Mi or more"
            )
            refuse([Mistake(("memoryLimit",), self.memory_limit, conflict)])
        if quantity_bytes(self.memory_request) > quantity_bytes(self.memory_limit):
            conflict = f"is above memoryLimit = {self.memory_limit}; lower it"
            refuse([Mistake(("memoryRequest",), self.memory_request, conflict, ("memoryLimit",))])
        return self


# --- The pod and its proof -------------------------------------------------------------------------------------------


class Workload(Model):
    """The pod that is served on the real network."""

    name: Name = "nginx-macvlan"
    """Name of the pod."""
    namespace: Name = "default"
    """Its namespace."""
    image: Image = "docker.io/library/nginx:1.25"
    """Its image."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 80
    """Port the image listens on."""
    user: Annotated[int, Field(strict=True, ge=0, le=2147483647)] | None = None
    """User ID that the container runs as, with all that PodSecurity's level `restricted` requires; ports below 1024 are free to it.
    0: the user that the image says, which may be root. Absent: 0, with `k3s.hardened` 101, which is nginx in its image."""
    empty_dirs: tuple[Path, ...] | None = None
    """Directories of the container that are an emptyDir each. Absent: none, or with a `user` those that nginx writes to, /run,
    /var/cache/nginx and /var/lib/nginx."""
    per_node: bool = False
    """A pod on every node instead of one anywhere; each is proven."""
    networks: tuple[Name, ...] | None = None
    """Names of `podNetworks` that the pod is on, net1 first; absent: all, those on the nodes' own network first, then by name. Its
    address and MAC address are those that the network's `addresses` have under the pod's name."""


class Proof(Model):
    """The HTTP request `up` ends with."""

    enabled: bool = True
    """Make the request."""
    networks: tuple[Name, ...] | None = None
    """Names of `podNetworks` on which the page must be served to this machine; absent: those on the nodes' own network. On others
    it is requested where this machine has an address of their subnet."""
    path: Annotated[
        str,
        matching(
            r"^/[A-Za-z0-9._~/%?=&-]{0,511}$", "not the path of a URL; begin it with /, and percent-encode what is no plain ASCII"
        ),
    ] = "/"
    """Path of the page."""
    title: Text = "Welcome to nginx!"
    """Title the page must have."""


class Timeouts(Model):
    """Limits in seconds; at a limit the step ends with an error that says what was seen."""

    boot: Seconds = 600
    """From the start of a machine until it answers on SSH with its pinned host key."""
    cloud_init: Seconds = 600
    """From SSH until cloud-init is done."""
    shutdown: Seconds = 60
    """Orderly shutdown before a machine is powered off for a change of its size."""
    k3s: Seconds = 900
    """Download, installation and start of K3s until its API answers."""
    node_ready: Seconds = 600
    """From then until the node is Ready."""
    drain: Seconds = 120
    """For the pods of a node that is removed to end, before it is removed all the same; then, 90 s at least, for K3s to remove its
    etcd member."""
    plugins: Seconds = 600
    """Download and installation of the CNI plugins."""
    multus: Seconds = 900
    """Until the DaemonSet is available, and again until its files are on the node."""
    packages: Seconds = 600
    """Download and installation of a package of the distribution: `machine.guestAgent`."""
    pod: Seconds = 600
    """Until the pod is Ready with its second interface."""
    proof: Seconds = 120
    """Until the page is served."""


class Settings(Model):
    """Everything a stack may set."""

    hypervisors: Annotated[dict[Name, Hypervisor], Field(min_length=1)] = {"local": Hypervisor()}
    """libvirt hosts by name: `uri` and `poolDirectory` each. Nodes are placed on `local` unless they say otherwise."""
    network: Network = Network()
    """The real network: `kind` (libvirt, bridge), `name`, `cidr`, `gateway`, `dns`, range of `nodes`, ranges to `exclude`, ..."""
    servers: Servers = Servers()
    """Servers: `count`, `cpus`, `memory` (MiB), `disk` (GiB), `disks`, `nics`, `devices`, `labels`, `taints`, `hypervisor`,
    `overrides` per node."""
    agents: NodeGroup = NodeGroup()
    """Agents: the same fields as servers."""
    machine: Machine = Machine()
    """What all machines share: `virtType`, `cpuMode`, `cpuModel`, `machineType`, `diskCache`, `autostart`, `firmware`, ..."""
    image: BaseImage = BaseImage()
    """Cloud image: `source` (URL or file), `checksum`, `format`."""
    artifacts: Artifacts = Artifacts()
    """Files in place of every download: `directory`, which `./lab fetch` fills."""
    cloud_init: dict[str, Any] = {}
    """Further top-level keys of every node's cloud-config; keys the program writes itself are refused."""
    ssh: Ssh = Ssh()
    """SSH access: `user`, your own `privateKey` (secret), further `authorizedKeys`, `port`."""
    k3s: K3s = K3s()
    """K3s: `version`, `installScript` (url, sha256, environment), `systemDefaultRegistry`, `registries`, `config`, ..."""
    plugins: Plugins = Plugins()
    """CNI plugins: archive `url`, `checksum`, `names`."""
    multus: Multus = Multus()
    """Multus: `image`, `namespace`, `memoryLimit`, `logLevel`, ..."""
    pod_networks: Annotated[dict[Name, PodNetwork], Field(min_length=1)] = {
        "macvlan-conf": PodNetwork(range=AddressRange.parse("192.168.122.200-192.168.122.210"))
    }
    """Networks for pods by the name of their NetworkAttachmentDefinition: `parent`, `vlan`, `cidr`, `ipam`, `range`, ..."""
    workload: Workload = Workload()
    """The pod: `name`, `image`, `port`, one `perNode`, its `networks`."""
    proof: Proof = Proof()
    """The HTTP request at the end: `enabled`, `path`, `title`, `networks` on which it must be answered."""
    timeouts: Timeouts = Timeouts()
    """Limits of each wait in seconds. With another one a step on a node runs again, to no effect, since it is an input."""

    @property
    def groups(self) -> tuple[tuple[str, NodeGroup], ...]:
        """(role, group of nodes), servers first. The group's setting is the role's plural."""
        return ("server", self.servers), ("agent", self.agents)

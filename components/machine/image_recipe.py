"""What a prepared image is made from: the user data of the machine whose disk it becomes, and a name that follows from it. Pure.

That machine downloads, installs and unpacks what every node of a K3s release does (scripts/image-prepare.sh). It gets no key, no
token and no credentials, and nothing of the setting cloudInit: nobody logs in there, and images of a registry with
`registries.configs` are left to the nodes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.config import downloads
from components.config.artifacts import ArtifactSet
from components.config.disks import RANCHER
from components.config.plan import GIB, Plan
from components.config.pool_plan import PoolPlan
from components.config.settings import K3s, Registries, RegistryMirror, Settings
from components.libvirt.leases import IMAGE_HOST
from components.machine import first_boot, install_parameters
from components.node import cloud_init, command

CAPACITY = 10 * GIB
"""Size in bytes of the image, or of the smallest root disk if that is less: nodes' disks are no smaller than what they are over."""

_FOLDER = "/run/k3s-macvlan-image"
_SCRIPTS = ("image-prepare.sh", "plugins-install.sh", "artifacts.sh")
_UNPACK_FROM = 60
"""Seconds from the machine's start until its script runs at the earliest; the guard against one that hangs counts from there."""


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """What the prepared image of a stack is made from."""

    digest: str
    """20 hex digits, others where anything is different that it is made from."""
    capacity: int
    """Size in bytes."""
    user_data: str
    """cloud-init's user data of the machine that makes it."""
    memory: int
    """Memory of that machine in MiB: of a hypervisor's largest node, of the smallest of these, so that each hypervisor has it."""
    cpus: int
    """Virtual CPUs of that machine."""
    limit: int
    """Seconds from that machine's start until the image is made."""
    required: bool
    """Whether it is an error that it cannot be made (image.prepare: always)."""

    @property
    def volume(self) -> str:
        """Name of the volume."""
        return f"prepared-{self.digest}.qcow2"


def recipe(config: Settings, plan: Plan, artifacts: ArtifactSet | None) -> ImageRecipe | None:
    """The recipe for all nodes of the stack; None: the image is not to be prepared.

    On a bridge only where that is set: the machine gets its address by DHCP, which a network with static addresses may not have.
    And never with credentials in a URL (conflicts.py refuses `always` with them): they would be in the image's files.
    """
    if config.image.prepare == "never" or (config.image.prepare == "auto" and config.network.kind == "bridge"):
        return None
    if any(downloads.with_credentials(config)):
        return None
    capacity = min([CAPACITY, *(node.disk for node in plan.nodes)])
    environment = _environment(config, plan, artifacts)
    files = {f"{_FOLDER}/{name}": command.text(name) for name in _SCRIPTS}
    parts = [plan.image.name, plan.image.firmware, capacity, environment, files]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    limits = config.timeouts
    script_limit = 3 * limits.k3s + limits.plugins
    return ImageRecipe(
        digest=digest,
        capacity=capacity,
        user_data=_user_data({**environment, "DIGEST": digest, "LIMIT_SECONDS": str(limits.k3s)}, files, script_limit),
        memory=min(max(node.memory for node in plan.nodes if node.pool is pool) for pool in plan.pools),
        cpus=max(node.cpus for node in plan.nodes),
        limit=limits.boot + limits.cloud_init + script_limit,
        required=config.image.prepare == "always",
    )


def machines(config: Settings, plan: Plan, pool: PoolPlan) -> dict[str, str]:
    """By node of this hypervisor, what its machine is made from, as 16 hex digits: with others the image is looked at again.

    That of its first boot, and what the image follows from: a root disk that it must fit, and a data disk that would hide it.
    """
    parts = {
        node.name: [
            first_boot.identity(node, plan.image.name, config.ssh, config.network, config.cloud_init),
            str(min(node.disk, CAPACITY)),
            str(any(_hides_data(disk.mount) for disk in node.disks)),
        ]
        for node in plan.nodes
        if node.pool is pool
    }
    return {name: first_boot.digest(own) for name, own in parts.items()}


def _environment(config: Settings, plan: Plan, artifacts: ArtifactSet | None) -> dict[str, str]:
    """Of image-prepare.sh, as far as it makes another image."""
    k3s = config.k3s
    own = next(download for download in downloads.for_settings(config) if download.kind == "k3s-images")
    # Images of K3s that come from another registry have other names than those in the archive.
    archive = artifacts is None and not k3s.system_default_registry
    return {
        "K3S_BINARY": "",
        "RELEASES": "",
        **install_parameters.release(k3s, artifacts),
        "ARTIFACTS": artifacts.digest if artifacts else "",
        **install_parameters.plugins(config.plugins, plan.plugins, plan.cni.bin),
        "K3S_IMAGES_URL": own.source if archive else "",
        "K3S_IMAGES_SUMS_URL": own.checksum if archive else "",
        "IMAGES": " ".join(_images(config, plan)) if artifacts is None else "",
        "HOSTS": json.dumps(hosts(k3s.registries), sort_keys=True),
        "SNAPSHOTTER": _snapshotter(k3s),
        "DATA_DISK": str(any(_hides_data(disk.mount) for node in plan.nodes for disk in node.disks)).lower(),
    }


def _hides_data(mount: str) -> bool:
    """Whether a data disk with this mount would hide files of K3s, which data-disk.sh refuses."""
    return bool(mount) and (PurePosixPath(mount).is_relative_to(RANCHER) or PurePosixPath(RANCHER).is_relative_to(mount))


def _images(config: Settings, plan: Plan) -> list[str]:
    """Full names of the images that nodes need, but for those of registries with credentials or TLS of their own."""
    images = {image for node in plan.nodes for image in node.images} | {config.workload.image}
    references = (downloads.reference(image) for image in images)
    return sorted(name for name in references if not _has_access(config.k3s.registries, name.partition("/")[0]))


def _has_access(registries: Registries, registry: str) -> bool:
    """Whether credentials or TLS are set for the registry or one of its mirrors."""
    mirror = registries.mirrors.get(registry) or registries.mirrors.get("*")
    mirrors = [_split(endpoint)[1] for endpoint in mirror.endpoint] if mirror else []
    return any(host in registries.configs or "@" in host for host in [registry, *mirrors])


def _snapshotter(k3s: K3s) -> str:
    """overlayfs, or "" where K3s is configured to use another: what is unpacked for one is of no use to another."""
    options = {**k3s.config, **k3s.server_config}
    return "overlayfs" if options.get("snapshotter", "overlayfs") == "overlayfs" else ""


def hosts(registries: Registries) -> dict[str, str]:
    """hosts.toml of each registry with mirrors, by the name of its directory.

    As K3s writes it from registries.yaml (pkg/agent/templates/templates.go, pkg/agent/containerd/config.go), without credentials
    and TLS, and without mirrors that have any. containerd's own document on it: Registry Configuration, host namespaces.
    """
    return {
        "_default" if name == "*" else name: "\n".join(["[host]", *_hosts(mirror, registries)]) + "\n"
        for name, mirror in sorted(registries.mirrors.items())
    }


def _hosts(mirror: RegistryMirror, registries: Registries) -> Iterator[str]:
    for endpoint in mirror.endpoint:
        scheme, host, path = _split(endpoint)
        if host in registries.configs or "@" in host:
            continue
        table = f"host.{_quoted(f'{scheme}://{host}/{path}')}"
        yield f"[{table}]"
        yield 'capabilities = ["pull", "resolve"]'
        if path != "v2":
            yield "override_path = true"
        if mirror.rewrite:
            yield f"[{table}.rewrite]"
            for pattern, replacement in sorted(mirror.rewrite.items()):
                yield f"{_quoted(pattern)} = {_quoted(replacement)}"


def _split(endpoint: str) -> tuple[str, str, str]:
    """Scheme, host with port, and path of a mirror's URL; its path is v2 where it has none."""
    scheme, _, rest = endpoint.partition("://")
    host, _, path = rest.rstrip("/").partition("/")
    return scheme, host, path or "v2"


def _quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=True)


def _user_data(environment: Mapping[str, str], files: Mapping[str, str], limit: int) -> str:
    script = f"{_FOLDER}/{_SCRIPTS[0]}"
    variables = [f"{name}={value}" for name, value in sorted(environment.items())]
    return cloud_init.document(
        {
            "hostname": IMAGE_HOST,
            "users": [],
            "ssh_pwauth": False,
            "disable_root": True,
            "write_files": [{"path": path, "permissions": "0700", "content": text} for path, text in sorted(files.items())],
            "runcmd": [
                # One that hangs ends too: nobody is connected to it.
                ["systemd-run", f"--on-active={limit + _UNPACK_FROM}", "systemctl", "poweroff"],
                ["env", *variables, "timeout", "--kill-after=10", str(limit), "bash", script],
                # Not its end: cloud-init would continue, and write about this boot what image-prepare.sh has removed.
                ["sh", "-c", "systemctl poweroff --no-block; exec sleep 60"],
            ],
        }
    )

"""A corner of a real hypervisor for tests: what is in it, faults at any libvirt call, and how to leave it as it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.libvirt import connection as connection_module
from components.libvirt import domain_spec, network_xml, storage_xml
from components.libvirt.domain_removal import remove

PREFIX = "lab-test"
NETWORK = "lab-test"
NETWORK_XML = """<network><name>lab-test</name><bridge name='virbr-labtest' stp='on' delay='0'/>
<ip address='192.168.150.1' netmask='255.255.255.0'><dhcp>
<range start='192.168.150.2' end='192.168.150.254'/>
<host mac='52:54:00:99:99:99' name='bystander' ip='192.168.150.240'/></dhcp></ip></network>"""
BYSTANDER_XML = """<domain type='qemu'><name>lab-test-bystander</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><interface type='network'><mac address='52:54:00:99:99:99'/><source network='lab-test'/></interface></devices>
</domain>"""
OWNER = "lab-test/tests"
IMAGES = Path("/var/lib/libvirt/images")

MODES = ("error", "lost", "down", "killed")
"""A call fails; it works but its answer is lost; it and all later ones fail; the process dies before it."""


class Faults:
    """Counts libvirt calls and lets the k-th fail in one of the MODES."""

    def __init__(self, at: int = 0, mode: str = "error") -> None:
        self.at, self.mode, self.count = at, mode, 0
        self.calls: list[str] = []

    def call(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "close":
            return function(*arguments)
        self.count += 1
        self.calls.append(name)
        hit = self.count == self.at or (self.mode == "down" and 0 < self.at < self.count)
        if hit and self.mode == "killed":
            os._exit(99)
        if hit and self.mode != "lost":
            raise injected(name)
        result = function(*arguments)
        if hit:
            raise injected(name)
        return result

    @contextlib.contextmanager
    def installed(self) -> Iterator[Faults]:
        before = connection_module.opener

        def opener(uri: str) -> Any:
            return Proxy(self.call("open", before, (uri,)), self)

        connection_module.opener = opener
        try:
            yield self
        finally:
            connection_module.opener = before


def injected(name: str) -> Exception:
    import libvirt  # noqa: PLC0415

    error = libvirt.libvirtError(f"injected at {name}")
    error.err = (libvirt.VIR_ERR_RPC, 7, f"injected at {name}", 2, None, None, None, -1, -1)
    error.args = (f"injected at {name}",)
    return error  # type: ignore[no-any-return]


class Proxy:
    """A libvirt object whose every call goes through Faults."""

    def __init__(self, target: Any, faults: Faults) -> None:
        self._target, self._faults = target, faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name.startswith("_") or not callable(value):
            return value

        def call(*arguments: Any) -> Any:
            plain = tuple(each._target if isinstance(each, Proxy) else each for each in arguments)
            return self._wrap(self._faults.call(name, value, plain))

        return call

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._wrap(each) for each in result]
        if type(result).__module__ == "libvirt":
            return Proxy(result, self._faults)
        return result


def in_child(action: Callable[[], object]) -> int:
    """Run `action` in a forked process; 99 is a process killed by a fault, 0 success, 1 an exception."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except connection_module.HypervisorError:
            status = 1
        except BaseException:
            traceback.print_exc()
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attempt(action: Callable[[], object], at: int, mode: str) -> bool:
    """Do `action` with a fault at call number `at`. Returns whether the fault was reached."""
    faults = Faults(at, mode)
    if mode == "killed":

        def run() -> None:
            with faults.installed():
                action()

        return in_child(run) == 99
    with faults.installed(), contextlib.suppress(connection_module.HypervisorError):
        action()
    return faults.count >= at


def calls(action: Callable[[], object]) -> int:
    """How many libvirt calls `action` makes."""
    with Faults().installed() as faults:
        action()
    return faults.count


class World:
    """Everything on the hypervisor that a test could change, as plain data, and clean-up of what is ours."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.name = f"{PREFIX}-{uuid.uuid4().hex[:6]}"
        self.path = str(IMAGES / self.name)
        self.uuid = str(uuid.uuid4())

    def pool(self) -> dict[str, Any]:
        return {
            "uri": self.uri,
            "name": self.name,
            "uuid": self.uuid,
            "path": self.path,
            "owner": OWNER,
            "active": True,
            "autostart": True,
        }

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    @contextlib.contextmanager
    def libvirt(self) -> Iterator[Any]:
        import libvirt  # noqa: PLC0415

        conn = libvirt.open(self.uri)
        try:
            yield conn
        finally:
            conn.close()

    def snapshot(self) -> dict[str, Any]:
        """Pools, files, networks and domains as they are, without what may differ between equal worlds."""
        import libvirt  # noqa: PLC0415

        with self.libvirt() as conn:
            pools = {
                each.name(): (storage_xml.read_pool(each.XMLDesc(0)).path, each.isActive(), each.autostart())
                for each in conn.listAllStoragePools(0)
                if each.name().startswith(PREFIX)
            }
            domains = {}
            for each in conn.listAllDomains(0):
                if not each.name().startswith(PREFIX):
                    continue  # others work on the same hypervisor
                facts = domain_spec.read_domain(each.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
                running = domain_spec.read_domain(each.XMLDesc(0))
                domains[each.name()] = (facts, running, each.isActive(), each.autostart())
            networks = {
                each.name(): (
                    facts_of(each.XMLDesc(0)),
                    facts_of(each.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)),
                )
                for each in conn.listAllNetworks(0)
                if each.name() == NETWORK
            }
        files = {}
        for path in IMAGES.glob(f"{PREFIX}-*/*"):
            name = path.name
            if name.endswith((".0", ".1", ".0.owned", ".1.owned")):  # which of a record's two slots is chance
                name = name.replace(".0", ".slot").replace(".1", ".slot")
                files[f"{path.parent.name}/{name}"] = "record"
            elif name.endswith(".log"):
                files[f"{path.parent.name}/{name}"] = "log"
            elif name.endswith(".qcow2"):
                # Running guests open their disk and QEMU writes dirty flags into it.
                files[f"{path.parent.name}/{name}"] = str(storage_xml.qcow2_header(path.read_bytes()[:128]))
            else:
                files[f"{path.parent.name}/{name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "pools": pools,
            "domains": domains,
            "networks": networks,
            "files": files,
            "directories": sorted(path.name for path in IMAGES.glob(f"{PREFIX}-*")),
        }

    def bystander(self) -> None:
        """A domain of somebody else, which has to stay as it is."""
        with self.libvirt() as conn:
            conn.defineXML(BYSTANDER_XML)

    def clean(self) -> None:
        """Remove every domain, pool, file and reservation of tests, whatever state a failed test left."""
        with self.libvirt() as conn:
            for domain in conn.listAllDomains(0):
                if domain.name().startswith(PREFIX):
                    remove(domain)
            for pool in conn.listAllStoragePools(0):
                if pool.name().startswith(PREFIX):
                    with contextlib.suppress(Exception):
                        pool.destroy()
                    pool.undefine()
            reset_network(conn)
        for path in IMAGES.glob(f"{PREFIX}-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def facts_of(document: str) -> Any:
    facts = network_xml.read_network(document)
    return facts.name, facts.ip, facts.ranges, frozenset(facts.hosts)


def reset_network(conn: Any, *, remove: bool = False) -> None:
    """The tests' own network as NETWORK_XML says; `remove` takes it away."""
    for network in conn.listAllNetworks(0):
        if network.name() == NETWORK:
            wanted = facts_of(NETWORK_XML)
            now = [facts_of(network.XMLDesc(flag)) for flag in (0, 1)]
            if not remove and network.isActive() and all(each == wanted for each in now):
                return
            if network.isActive():
                network.destroy()
            network.undefine()
    if not remove:
        conn.networkDefineXML(NETWORK_XML).create()


def domain_inputs(world: World, name: str = "a", **changes: Any) -> dict[str, Any]:
    """A guest so small that it starts at once; it has nothing to boot."""
    return {
        "uri": world.uri,
        "name": f"{world.name}-{name}",
        "uuid": str(uuid.uuid5(uuid.UUID(world.uuid), name)),
        "owner": OWNER,
        "node": name,
        "memory_mib": 64,
        "cpus": 1,
        "mac": "52:54:00:ab:00:" + hashlib.sha256(name.encode()).hexdigest()[:2],
        "network": NETWORK,
        "disk_path": world.file(f"{name}.qcow2"),
        "disk_serial": "s1",
        "seed_path": world.file(f"{name}-seed.iso"),
        "extra_disks": [],
        "pool": world.name,
        "console_log": world.file(f"{name}-console.log"),
        "virt_type": "qemu",
        "cpu_mode": "auto",
        "cpu_model": "",
        "disk_cache": "unsafe",
        "machine": "q35",
        "autostart": True,
        "stop_timeout": 0,
        "running": True,
        "definition": {},
        "unmanaged": [],
        **changes,
    }


def image_inputs(world: World, image: Path) -> dict[str, Any]:
    return {
        "uri": world.uri,
        "pool": world.name,
        "name": "base.qcow2",
        "path": world.file("base.qcow2"),
        "source": str(image),
        "checksum": "sha256:" + hashlib.sha256(image.read_bytes()).hexdigest(),
        "format": "qcow2",
    }


def overlay_inputs(world: World, base: dict[str, Any], name: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "uri": world.uri,
        "pool": world.name,
        "name": f"{name}.qcow2",
        "path": world.file(f"{name}.qcow2"),
        "backing_path": base["path"],
        "backing_format": base["format"],
        "capacity": 8 << 20,
        "generation": "1",
        "domain_uuid": str(uuid.uuid5(uuid.UUID(world.uuid), name)),
        "serial": "s1",
        **changes,
    }


def seed_inputs(world: World, name: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "uri": world.uri,
        "pool": world.name,
        "name": f"{name}-seed.iso",
        "path": world.file(f"{name}-seed.iso"),
        "user_data": "#cloud-config\nhostname: a\n",
        "meta_data": "instance-id: a\n",
        "network_config": "version: 2\n",
        **changes,
    }


def artifact_inputs(world: World, folder: Path, **changes: Any) -> dict[str, Any]:
    """The disk with two files, which are made in `folder`."""
    files = []
    for name, data in (("k3s", b"binary" * 100_000), ("nginx.tar", b"layers")):
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append({"images": name.endswith(".tar"), "name": name, "sha256": digest, "size": len(data)})
    index = json.dumps({"files": files})
    digest = hashlib.sha256(index.encode()).hexdigest()[:20]
    return {
        "uri": world.uri,
        "pool": world.name,
        "name": f"artifacts-{digest}.img",
        "path": world.file(f"artifacts-{digest}.img"),
        "digest": digest,
        "index": index,
        "directory": str(folder),
        **changes,
    }


def claim_inputs(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "uri": world.uri,
        "network": NETWORK,
        "ranges": ["192.168.150.21-192.168.150.24", "192.168.150.200-192.168.150.210"],
        "macs": ["52:54:00:ab:00:01"],
        "owner": OWNER,
        "pool": world.name,
        "record": "dhcp",
        **changes,
    }


def reservation_inputs(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "uri": world.uri,
        "network": NETWORK,
        "mac": "52:54:00:ab:00:01",
        "ip": "192.168.150.21",
        "name": "node-a",
        "owner": OWNER,
        **changes,
    }

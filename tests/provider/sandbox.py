"""A part of a real hypervisor for tests: what is in it, and how to leave it as it was."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.libvirt import domain_spec, network_xml, storage_xml
from components.libvirt.domain_removal import remove

PREFIX = "lab-test"
NETWORK = "lab-test"
# Without the spanning tree protocol a port forwards at once, and not after four seconds.
NETWORK_XML = """<network><name>lab-test</name><bridge name='virbr-labtest' stp='off' delay='0'/>
<ip address='192.168.150.1' netmask='255.255.255.0'><dhcp>
<range start='192.168.150.2' end='192.168.150.254'/>
<host mac='52:54:00:99:99:99' name='bystander' ip='192.168.150.240'/></dhcp></ip></network>"""
BYSTANDER_XML = """<domain type='qemu'><name>lab-test-bystander</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><interface type='network'><mac address='52:54:00:99:99:99'/><source network='lab-test'/></interface></devices>
</domain>"""
OWNER = "lab-test/tests"
IMAGES = Path("/var/lib/libvirt/images")


class Sandbox:
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
        """Pools, files, networks and domains as they are, without what may differ between equal ones."""
        import libvirt  # noqa: PLC0415

        with self.libvirt() as conn:
            pools = {
                pool.name(): (storage_xml.read_pool(pool.XMLDesc(0)).path, pool.isActive(), pool.autostart())
                for pool in conn.listAllStoragePools(0)
                if pool.name().startswith(PREFIX)
            }
            domains = {}
            for domain in conn.listAllDomains(0):
                if not domain.name().startswith(PREFIX):
                    continue  # others work on the same hypervisor
                facts = domain_spec.read_domain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
                running = domain_spec.read_domain(domain.XMLDesc(0))
                domains[domain.name()] = (facts, running, domain.isActive(), domain.autostart())
            networks = {
                network.name(): (
                    facts_of(network.XMLDesc(0)),
                    facts_of(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)),
                )
                for network in conn.listAllNetworks(0)
                if network.name() == NETWORK
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
            if not remove and network.isActive() and all(facts == wanted for facts in now):
                return
            if network.isActive():
                network.destroy()
            network.undefine()
    if not remove:
        conn.networkDefineXML(NETWORK_XML).create()

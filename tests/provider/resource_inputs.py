"""Inputs of each resource in the sandbox, as the engine hands them over."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

from .sandbox import NETWORK, OWNER, Sandbox


def domain_inputs(sandbox: Sandbox, name: str = "a", **changes: Any) -> dict[str, Any]:
    """A guest so small that it starts at once; it has nothing to boot."""
    return {
        "uri": sandbox.uri,
        "name": f"{sandbox.name}-{name}",
        "uuid": str(uuid.uuid5(uuid.UUID(sandbox.uuid), name)),
        "owner": OWNER,
        "node": name,
        "memory_mib": 64,
        "cpus": 1,
        "mac": "52:54:00:ab:00:" + hashlib.sha256(name.encode()).hexdigest()[:2],
        "network": NETWORK,
        "disk_path": sandbox.file(f"{name}.qcow2"),
        "disk_serial": "s1",
        "seed_path": sandbox.file(f"{name}-seed.iso"),
        "extra_disks": [],
        "pool": sandbox.name,
        "console_log": sandbox.file(f"{name}-console.log"),
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


def image_inputs(sandbox: Sandbox, image: Path) -> dict[str, Any]:
    return {
        "uri": sandbox.uri,
        "pool": sandbox.name,
        "name": "base.qcow2",
        "path": sandbox.file("base.qcow2"),
        "source": str(image),
        "checksum": "sha256:" + hashlib.sha256(image.read_bytes()).hexdigest(),
        "format": "qcow2",
    }


def overlay_inputs(sandbox: Sandbox, base: dict[str, Any], name: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "uri": sandbox.uri,
        "pool": sandbox.name,
        "name": f"{name}.qcow2",
        "path": sandbox.file(f"{name}.qcow2"),
        "backing_path": base["path"],
        "backing_format": base["format"],
        "capacity": 8 << 20,
        "generation": "1",
        "domain_uuid": str(uuid.uuid5(uuid.UUID(sandbox.uuid), name)),
        "serial": "s1",
        **changes,
    }


def data_disk_inputs(sandbox: Sandbox, node: str = "a", **changes: Any) -> dict[str, Any]:
    """The disk `data` of the domain of this name."""
    return {
        "uri": sandbox.uri,
        "pool": sandbox.name,
        "name": f"{node}-data.qcow2",
        "path": sandbox.file(f"{node}-data.qcow2"),
        "capacity": 8 << 20,
        "keep": False,
        "label": "data",
        "domain_uuid": str(uuid.uuid5(uuid.UUID(sandbox.uuid), node)),
        "disk_id": "d1",
        **changes,
    }


def attachment(disk: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a domain is given of a data disk."""
    return {
        "name": disk["label"],
        "serial": f"a-{disk['label']}",
        "pool": disk["pool"],
        "volume": disk["name"],
        "path": disk["path"],
        "bus": "virtio",
        "cache": "unsafe",
        "keep": disk["keep"],
        "disk_id": disk["disk_id"],
        **changes,
    }


def seed_inputs(sandbox: Sandbox, name: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "uri": sandbox.uri,
        "pool": sandbox.name,
        "name": f"{name}-seed.iso",
        "path": sandbox.file(f"{name}-seed.iso"),
        "user_data": "#cloud-config\nhostname: a\n",
        "meta_data": "instance-id: a\n",
        "network_config": "version: 2\n",
        **changes,
    }


def artifact_inputs(sandbox: Sandbox, folder: Path, **changes: Any) -> dict[str, Any]:
    """The disk with two files, which are made in `folder`."""
    files = []
    for name, data in (("k3s", b"binary" * 100_000), ("nginx.tar", b"layers")):
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append({"images": name.endswith(".tar"), "name": name, "sha256": digest, "size": len(data)})
    index = json.dumps({"files": files})
    digest = hashlib.sha256(index.encode()).hexdigest()[:20]
    return {
        "uri": sandbox.uri,
        "pool": sandbox.name,
        "name": f"artifacts-{digest}.img",
        "path": sandbox.file(f"artifacts-{digest}.img"),
        "digest": digest,
        "index": index,
        "directory": str(folder),
        **changes,
    }


def claim_inputs(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    return {
        "uri": sandbox.uri,
        "network": NETWORK,
        "ranges": ["192.168.150.21-192.168.150.24", "192.168.150.200-192.168.150.210"],
        "macs": ["52:54:00:ab:00:01"],
        "owner": OWNER,
        "pool": sandbox.name,
        "record": "dhcp",
        **changes,
    }


def reservation_inputs(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    return {
        "uri": sandbox.uri,
        "network": NETWORK,
        "mac": "52:54:00:ab:00:01",
        "ip": "192.168.150.21",
        "name": "node-a",
        "owner": OWNER,
        **changes,
    }

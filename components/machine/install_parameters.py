"""Parameters of scripts that say what a node gets installed, on the node and ahead of it in a prepared image. Pure.

image-prepare.sh leaves what it has installed under a digest of some of them, and a node takes it only where its own are equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from components.config import kernel_modules
from components.config.artifacts import ArtifactSet
from components.config.settings import K3s, Plugins


def release(k3s: K3s, artifacts: ArtifactSet | None) -> dict[str, str]:
    """The K3s release, where it comes from, and what it needs of the kernel: of k3s-install.sh and image-prepare.sh."""
    return {
        "K3S_VERSION": k3s.version,
        "INSTALL_URL": k3s.install_script.url,
        "INSTALL_SHA256": k3s.install_script.sha256,
        **({"K3S_BINARY": artifacts.on_node("k3s")} if artifacts else {}),
        **({"RELEASES": k3s.releases} if k3s.releases else {}),
        "INSTALL_ENV": json.dumps(dict(k3s.install_script.environment), sort_keys=True),
        "MODULES": " ".join(kernel_modules.modules(k3s)),
        "CGROUP_V1": str(kernel_modules.starts_on_cgroup_v1(k3s)).lower(),
    }


def plugins(archive: Plugins, names: Sequence[str], bin_directory: str) -> dict[str, str]:
    """The CNI plugins, their archive and its checksum: of plugins-install.sh, alone or run by image-prepare.sh."""
    checksum = archive.checksum
    digest = checksum.removeprefix("sha256:") if checksum.startswith("sha256:") else ""
    return {
        "ARCHIVE_URL": archive.url,
        "ARCHIVE_SHA256": digest,
        "ARCHIVE_SUMS_URL": "" if digest else checksum,
        "PLUGINS": " ".join(names),
        "BIN_DIR": bin_directory,
    }

"""parts/packages.sh: what each distribution calls its packages, by its own os-release.

The files in os_release/ are those of the distributions, shortened. Which package has a program is from their package indexes.
"""

import subprocess
from pathlib import Path

import pytest

from .fake_node import SCRIPTS, Node

pytestmark = pytest.mark.unit

RELEASES = Path(__file__).parent / "os_release"
FAMILIES = {
    "debian-12": "debian", "debian-13": "debian", "ubuntu-24.04": "ubuntu", "ubuntu-26.04": "ubuntu", "almalinux-9": "rhel",
    "almalinux-10": "rhel", "rocky-9": "rhel", "rocky-10": "rhel", "rhel-9": "rhel", "centos-stream-10": "rhel", "oracle-9": "rhel",
    "fedora-42": "fedora", "opensuse-leap-15.6": "suse", "opensuse-leap-16.0": "suse", "arch": "arch",
}  # fmt: skip
PACKAGES = {
    "debian": "python3 curl iproute2 cloud-guest-utils e2fsprogs xfsprogs btrfs-progs qemu-guest-agent util-linux tar",
    "ubuntu": "python3 curl iproute2 cloud-guest-utils e2fsprogs xfsprogs btrfs-progs qemu-guest-agent util-linux tar",
    "rhel": "python3 curl iproute cloud-utils-growpart e2fsprogs xfsprogs btrfs-progs qemu-guest-agent util-linux tar",
    "fedora": "python3 curl iproute cloud-utils-growpart e2fsprogs xfsprogs btrfs-progs qemu-guest-agent util-linux tar",
    "suse": "python3 curl iproute2 growpart e2fsprogs xfsprogs btrfsprogs qemu-guest-agent util-linux tar",
    "arch": "python curl iproute2 cloud-guest-utils e2fsprogs xfsprogs btrfs-progs qemu-guest-agent util-linux tar",
}
PROGRAMS = "python3 curl ip growpart resize2fs xfs_growfs btrfs qemu-ga flock tar"
INSTALLS = {
    "debian": [
        "apt-get -q -o DPkg::Lock::Timeout=60 update",
        "apt-get -q -y -o DPkg::Lock::Timeout=60 --no-install-recommends install p",
    ],
    "rhel": ["dnf -y --setopt=install_weak_deps=False install p"],
    "suse": ["zypper --non-interactive install --no-recommends p"],
    "arch": ["pacman -Sy --noconfirm --needed p"],
}
INSTALLS |= {"ubuntu": INSTALLS["debian"], "fedora": INSTALLS["rhel"]}


def of(node: Node, release: str) -> None:
    """The node has this distribution."""
    node.file("etc/os-release", (RELEASES / release).read_text())


def say(node: Node, words: str) -> subprocess.CompletedProcess[str]:
    text = f"set -euo pipefail; source {SCRIPTS}/parts/packages.sh; {words}"
    return subprocess.run(["bash", "-c", text], env=node.environment({}), capture_output=True, text=True, check=False)


def test_every_release_is_known() -> None:
    assert {path.name for path in RELEASES.iterdir()} == set(FAMILIES)


@pytest.mark.parametrize("release", FAMILIES)
def test_the_packages_of_a_distribution(node: Node, release: str) -> None:
    of(node, release)
    for name in ("apt-get", "dnf", "zypper", "pacman"):
        node.command(name, f'#!/bin/sh\necho "{name} $*" >> "$STUB/installed"\n')
    done = say(node, f"package_of {PROGRAMS}; installs p; echo $family")
    family = FAMILIES[release]
    assert done.stdout.splitlines() == [PACKAGES[family], family], done.stderr
    assert (node.stub / "installed").read_text().splitlines() == INSTALLS[family]


def test_a_package_is_named_once(node: Node) -> None:
    of(node, "debian-12")
    assert say(node, "package_of flock flock ip").stdout == "util-linux iproute2\n"


def test_an_unknown_distribution(node: Node) -> None:
    node.file("etc/os-release", "ID=gentoo\n")
    done = say(node, "package_of ip; installs p")
    assert done.returncode == 1 and done.stdout == "iproute2\nno package manager is known of gentoo\n"
    (node.root / "etc/os-release").unlink()
    assert say(node, "brings").stdout == "another kernel package of this image\n"


@pytest.mark.parametrize("release", FAMILIES)
def test_a_failure_of_the_package_manager_is_one(node: Node, release: str) -> None:
    of(node, release)
    for name in ("apt-get", "dnf", "zypper", "pacman"):
        node.command(name, "#!/bin/sh\nexit 4\n")
    assert say(node, "installs p").returncode == 4

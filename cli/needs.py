"""What a command of `lab` needs on this machine before it can run; `lab` calls it with its own arguments and puts that in place.

Standard library only: the virtual environment may not be there yet. Written to file descriptor 3, one line each:

1. kind of virtual environment: preview (requirements.txt without libvirt-python), run (all of it), test (with requirements-dev.txt)
2. the kind to continue with where the system packages cannot be installed; empty: end with an error
3. Pulumi: install, find (where it is installed already) or none
4. system packages
5. system packages that are needed only to complete the virtual environment
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from typing import NamedTuple

from cli import command_line
from cli.errors import LabError
from cli.folders import stack_file

BUILD_PACKAGES = ("gcc", "libc6-dev", "pkg-config", "libvirt-dev")
"""What libvirt-python is built with."""

HYPERVISOR_PACKAGES = (
    "libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-daemon-config-network", "libvirt-clients", "qemu-system-x86",
    "qemu-utils", "dnsmasq-base",
)  # fmt: skip

_REFRESH = {"--refresh", "--refresh=true", "-r"}


class Needs(NamedTuple):
    """The five lines above."""

    environment: str
    without_packages: str = ""
    pulumi: str = "install"
    packages: tuple[str, ...] = ()
    build_packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(
            (self.environment, self.without_packages, self.pulumi, " ".join(self.packages), " ".join(self.build_packages))
        )


def of(options: argparse.Namespace) -> Needs:
    """What the command of these options needs."""
    if options.verb == "test":
        return Needs(environment="test", without_packages="test", pulumi="find", build_packages=BUILD_PACKAGES)
    if options.verb == "doctor":  # it queries libvirt by the binding, and reports where that cannot be built
        return Needs(environment="run", without_packages="preview", pulumi="none", build_packages=BUILD_PACKAGES)
    if options.verb == "fetch":
        # Where skopeo is installed by other means than a package, it is not installed again.
        return Needs(environment="preview", pulumi="none", packages=() if shutil.which("skopeo") else ("skopeo",))
    if options.verb == "attach":
        return Needs(environment="preview", pulumi="none")
    if not reaches_hypervisor(options):
        return Needs(environment="preview")
    local, remote = hypervisors(options.stack)
    packages: tuple[str, ...] = BUILD_PACKAGES
    if remote or not shutil.which("ssh"):  # it also reads from nodes how long their certificates last
        packages += ("openssh-client",)
    if local:
        packages += HYPERVISOR_PACKAGES
    return Needs(environment="run", packages=packages)


def reaches_hypervisor(options: argparse.Namespace) -> bool:
    """Whether pulumi talks to libvirt: a preview does not, unless it reads what is there."""
    if options.verb == "preview":
        return not _REFRESH.isdisjoint(options.words)
    return options.verb in ("up", "destroy", "refresh", "rotate", "image") or (options.verb == "restore" and not options.settings)


def hypervisors(stack: str) -> tuple[bool, bool]:
    """Whether the stack's file names (this machine, or none at all; one behind SSH). It is searched and not read as YAML."""
    file = stack_file(stack)
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    remote = re.search(r"(?m)^[^#\n]*qemu\+", text) is not None
    return not remote or re.search(r"(?m)^[^#\n]*qemu:///", text) is not None, remote


def main() -> int:
    try:
        options = command_line.parse(sys.argv[1:])
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1
    os.write(3, f"{of(options)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Hints about this machine's libvirt before pulumi runs. Hints only: the program itself reports what stops it."""

from __future__ import annotations

import getpass
import os
import subprocess

from cli import needs
from cli.report import say


def about_libvirt(stack: str) -> None:
    """Hints, if the stack's file names this machine as a hypervisor."""
    local, _remote = needs.hypervisors(stack)
    if not local:
        return
    command = ["virsh", "-q", "-c", "qemu:///system", "net-list", "--name"]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=5)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        who = os.environ.get("USER") or getpass.getuser()
        say(
            "no answer from qemu:///system: sudo systemctl start libvirtd; as another user than root also: "
            f"sudo adduser {who} libvirt, and log in again"
        )
        return
    if "default" not in answer.stdout.splitlines():
        say(
            "libvirt's network 'default' is not active; if this stack uses it: virsh -c qemu:///system net-start default "
            "(net-autostart for always)"
        )

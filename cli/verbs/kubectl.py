"""`lab kubectl`: kubectl with the stack's kubeconfig, which stays in memory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from cli.stack import Stack
from cli.verbs import ssh


def memory_file(text: str) -> int:
    """A file descriptor, inherited by what is started, of a file that exists in memory only."""
    fd = os.memfd_create("kubeconfig", 0)
    os.write(fd, text.encode())
    return fd


def main(stack: Stack, arguments: Sequence[str]) -> int:
    """kubectl on this machine; without one, K3s's own on the first server, which reads no files of this machine."""
    program = shutil.which("kubectl")
    if program is None or not stack.kubeconfig:
        lacks = "no kubectl on PATH" if program is None else "no kubeconfig in the stack's outputs yet"
        server = stack.first_server
        sys.stderr.write(f"lab: {lacks}, so it is run on {server.name}: files it names are that machine's\n")
        command = ssh.quoted(["sudo", "-n", "k3s", "kubectl", *arguments])
        return ssh.run(stack, server, [command], terminal=sys.stdin.isatty() and sys.stdout.isatty()).returncode
    fd = memory_file(stack.kubeconfig)
    environment = {**os.environ, "KUBECONFIG": f"/proc/self/fd/{fd}"}
    os.chdir(os.environ.get("LAB_CALLER") or ".")  # where the files it names are
    os.execve(program, ["kubectl", *arguments], environment)  # noqa: S606 - kubectl in our place
    raise AssertionError("execve does not return")

"""`lab kubectl`: kubectl with the stack's kubeconfig, which stays in memory."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from cli import process
from cli import stack as stacks
from cli.folders import caller
from cli.report import say
from cli.stack import Node, Stack
from cli.verbs import ssh


def memory_file(text: str) -> int:
    """A file descriptor, inherited by what is started, of a file that exists in memory only."""
    fd = os.memfd_create("kubeconfig", 0)
    os.write(fd, text.encode())
    return fd


def main(options: argparse.Namespace) -> int:
    """kubectl's status."""
    return call(stacks.read_selected(options.stack), options.words)


def _reachable(stack: Stack) -> Node:
    """The first server that accepts a connection at its SSH port: one may be lost, and the others answer as well. Where none does,
    the first, of which ssh says why."""
    reachable = (server for server in stack.servers if ssh.is_open(server.address, stack.ssh_port))
    return next(reachable, stack.first_server)


def call(stack: Stack, arguments: Sequence[str]) -> int:
    """kubectl on this machine; without one, K3s's own on a server, which reads no files of this machine."""
    program = shutil.which("kubectl")
    if program is None or not stack.kubeconfig:
        reason = "no kubectl on PATH" if program is None else "no kubeconfig in the stack's outputs yet"
        server = _reachable(stack)
        say(f"{reason}, so it is run on {server.name}: files it names are that machine's")
        command = ssh.quoted(["sudo", "-n", "k3s", "kubectl", *arguments])
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        return ssh.run(stack, server, [command], terminal=terminal, interruptible=False).returncode
    fd = memory_file(stack.kubeconfig)
    environment = {**os.environ, "KUBECONFIG": f"/proc/self/fd/{fd}"}
    os.chdir(caller())  # where the files it names are
    return process.replace_by(program, ["kubectl", *arguments], environment)

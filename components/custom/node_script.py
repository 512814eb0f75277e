"""A script of `components/node/scripts` on a node, run from the process of a dynamic provider by this machine's ssh.

Commands on nodes are pulumi-command's otherwise. That has no `read`, and gives nothing to a provider that decides by what a node
reported last. The private key is in a file that exists in memory only, and in no command line.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.custom.reporting import progress

SSH_FAILED = 255
"""ssh's status for a connection that could not be made, or was lost."""

_LINES = 40
"""Of what the script has said, in an error: the reason, and a journal after it."""


class NodeScriptError(Exception):
    """The script failed, or the node was not reached; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """How a node is reached."""

    host: str
    user: str
    port: int
    private_key: str = field(repr=False)
    host_key: str
    """Its public key in OpenSSH's form; no other is trusted."""


def words(login: Login, key_file: str, known_hosts: str) -> list[str]:
    """ssh and its arguments, up to the command: this key and this host key alone, and no question."""
    settings = {
        "BatchMode": "yes",
        "IdentityFile": key_file,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": "node",
        "HostKeyAlgorithms": login.host_key.split()[0],
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
        "LogLevel": "ERROR",
    }
    pairs = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-T", *pairs, "-p", str(login.port), "-l", login.user, login.host]


def run(login: Login, name: str, environment: Mapping[str, str], limit: int) -> str:
    """What the script prints. Raises NodeScriptError. While it runs, its last line on stderr is shown as the progress."""
    # It imports pulumi-command, which takes a second, and is needed only where a node is asked.
    from components.node import command  # noqa: PLC0415

    said: list[str] = []
    key = os.memfd_create("key", os.MFD_CLOEXEC)
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        try:
            os.fchmod(key, 0o600)
            os.write(key, f"{login.private_key.rstrip()}\n".encode())
            known_hosts = Path(folder) / "known_hosts"
            known_hosts.write_text(f"node {' '.join(login.host_key.split()[:2])}\n", encoding="utf-8")
            # By this process's number: ssh closes the descriptors that it inherits.
            arguments = words(login, f"/proc/{os.getpid()}/fd/{key}", str(known_hosts))
            arguments.append(command.command_line(name, environment, limit))
            with progress(lambda: said[-1] if said else f"{name} on {login.host}"):
                status, output = _run(arguments, command.text(name), limit + command.DIAL_SECONDS, said)
        finally:
            os.close(key)
    if status:
        reason = "\n".join(said[-_LINES:]) or f"status {status}"
        raise NodeScriptError(f"{login.host} is not reached by SSH: {reason}" if status == SSH_FAILED else reason)
    return output


def _run(arguments: list[str], text: str, limit: float, said: list[str]) -> tuple[int, str]:
    """Status and output. said: gets the lines of stderr as they come."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own words
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise NodeScriptError(f"{arguments[0]} cannot be run ({error.strerror}): apt install openssh-client") from None
    assert process.stdin and process.stderr  # noqa: S101 - for mypy
    stderr = process.stderr

    def listen() -> None:
        said.extend(line.strip() for line in stderr if line.strip())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    # communicate() would read stderr too, and only at the end.
    process.stderr = None
    try:
        output, _ = process.communicate(text, timeout=limit)
    except subprocess.TimeoutExpired:
        raise NodeScriptError(f"no end within {limit:.0f} s; {said[-1] if said else 'nothing was said'}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        listener.join(5)
    return process.returncode, output

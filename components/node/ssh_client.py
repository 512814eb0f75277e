"""OpenSSH's client with a key in memory: in an agent of its own, which lives for as long as the command at the other end runs.

For what no resource does: the commands of `lab`, and a key that comes onto a node by the former one. Without Pulumi.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("ssh", "ssh-agent", "ssh-add")
"""What must be on PATH."""

KEEP_ALIVE = {"ServerAliveInterval": "15", "ServerAliveCountMax": "8"}
"""ssh's options by which it gives up after two minutes without an answer: a machine that has lost its power or its network sends no
word of it."""

# ssh-agent starts this command and ends with it: it takes the key from the file descriptor $1, then becomes ssh.
# It is bash and not sh: dash knows file descriptors of one digit only.
_LAUNCH = 'key=$1; shift; ssh-add -q - <&"$key" || exit 125; exec {key}<&-; exec ssh "$@"'


@dataclass(frozen=True, kw_only=True)
class Login:
    """How a node is logged in to."""

    host: str
    """Its address."""
    port: int
    user: str
    host_key: str
    """The public key that its SSH server must have, in OpenSSH's form."""
    alias: str
    """The name that the host key is known by."""
    private_key: str = field(repr=False)
    """In OpenSSH's form."""


def missing() -> str:
    """The first program that is not on PATH; empty where all are."""
    return next((name for name in PROGRAMS if shutil.which(name) is None), "")


def options(login: Login, known_hosts: str) -> list[str]:
    """ssh's options: this host key and no other, the agent's key and no password.

    The user's own configuration of ssh is read, for the way to the host (ProxyJump and the like). What else it may have for all
    hosts is set here: no other agent is asked, no connection of another key used again, no command or terminal added.
    """
    settings = {
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": login.alias,
        "HostKeyAlgorithms": login.host_key.split(" ", 1)[0],
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "ForwardAgent": "no",
        "AddKeysToAgent": "no",
        "IdentityAgent": "SSH_AUTH_SOCK",
        "IdentityFile": "none",
        "IdentitiesOnly": "no",
        "PubkeyAuthentication": "yes",
        "PreferredAuthentications": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "RemoteCommand": "none",
        "RequestTTY": "auto",
        "ConnectTimeout": "10",
        **KEEP_ALIVE,
        "LogLevel": "ERROR",
    }
    pairs = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return [*pairs, "-p", str(login.port), "-l", login.user]


def known_hosts_line(login: Login) -> str:
    kind, key = login.host_key.split()[:2]
    return f"{login.alias} {kind} {key}\n"


@contextmanager
def session(login: Login, command: Sequence[str], *, more: Sequence[str] = ()) -> Iterator[tuple[list[str], int]]:
    """(words of an ssh to the node, the file descriptor that it gets the key from), while both are good. The key never touches a
    disk.

    command: words for the node's shell, joined with spaces as ssh itself does. more: further options of ssh.
    """
    folder = Path(tempfile.mkdtemp(prefix="lab-ssh-"))
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(known_hosts_line(login), encoding="utf-8")
    key = _pipe(login.private_key)
    words = ["ssh-agent", "bash", "-c", _LAUNCH, "ssh", str(key), *options(login, str(known_hosts)), *more, login.host, *command]
    try:
        yield words, key
    finally:
        os.close(key)
        shutil.rmtree(folder, ignore_errors=True)


def _pipe(text: str) -> int:
    """The reading end of a pipe that holds the text: in memory, and only until it is read."""
    reading, writing = os.pipe()
    data = text.encode() if text.endswith("\n") else f"{text}\n".encode()
    os.set_blocking(writing, False)
    try:
        if os.write(writing, data) != len(data):
            raise RuntimeError("the private key is too long to be handed on")
    finally:
        os.close(writing)
    return reading

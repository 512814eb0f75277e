"""`lab ssh`: a node's shell with the stack's key, which lives in an agent of its own for as long as the command runs."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli import stack as stacks
from cli.errors import LabError
from cli.stack import Node, Stack

# ssh-agent starts this command and ends with it: it takes the key from the file descriptor $1, then becomes ssh.
# It is bash and not sh: dash knows file descriptors of one digit only.
_LAUNCH = 'key=$1; shift; ssh-add -q - <&"$key" || exit 125; exec {key}<&-; exec ssh "$@"'


def options(node: Node, stack: Stack, known_hosts: str) -> list[str]:
    """ssh's options: this host key and no other, the agent's key and no password."""
    settings = {
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": node.domain,
        "HostKeyAlgorithms": node.host_key.split(" ", 1)[0],
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "ForwardAgent": "no",
        "AddKeysToAgent": "no",
        "IdentityFile": "none",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ConnectTimeout": "10",
        "LogLevel": "ERROR",
    }
    pairs = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return [*pairs, "-p", str(stack.ssh_port), "-l", stack.ssh_user]


def known_hosts_line(node: Node) -> str:
    kind, key = node.host_key.split()[:2]
    return f"{node.domain} {kind} {key}\n"


def run(
    stack: Stack,
    node: Node,
    command: Sequence[str] = (),
    *,
    terminal: bool = False,
    quiet: bool = False,
    stdin: int | None = None,
    capture: bool = False,
) -> subprocess.CompletedProcess[str]:
    """ssh to the node, with the caller's terminal unless `capture`; ssh's exit status. The key never touches a disk.

    command: words for the node's shell, joined with spaces as ssh itself does. terminal: request one on the node.
    """
    with _signals(), _session(stack, node, command, terminal=terminal, quiet=quiet) as (words, key):
        return subprocess.run(  # noqa: S603 - our own words, and the user's command for the node
            words, pass_fds=(key,), stdin=stdin, capture_output=capture, text=True, check=False
        )


@dataclass(frozen=True)
class Answer:
    """What a node said to a command; error: why it did not."""

    text: str = ""
    error: str = ""


def gather(stack: Stack, nodes: Sequence[Node], command: Sequence[str], limit: float) -> dict[str, Answer]:
    """The same command on several nodes in parallel, by node's name. limit: seconds for all of them. Never raises LabError."""
    answers: dict[str, Answer] = {}
    children: list[tuple[Node, subprocess.Popen[str]]] = []
    with _signals(), ExitStack() as sessions:
        for node in nodes:
            try:
                words, key = sessions.enter_context(_session(stack, node, command))
            except LabError as error:
                answers[node.name] = Answer(error=str(error))
                continue
            child = subprocess.Popen(  # noqa: S603 - our own words
                words, pass_fds=(key,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            children.append((node, child))
            sessions.callback(_end, child)
        end = time.monotonic() + limit
        for node, child in children:
            try:
                output, errors = child.communicate(timeout=max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                answers[node.name] = Answer(error=f"{node.address} gives no answer on SSH within {limit:g} s")
                continue
            reason = " ".join(errors.split()) or f"status {child.returncode}"
            failed = f"{node.address} does not answer on SSH: {reason}"
            answers[node.name] = Answer(error=failed) if child.returncode else Answer(text=output)
    return {node.name: answers[node.name] for node in nodes}


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.kill()
    child.communicate()


@contextmanager
def _signals() -> Iterator[None]:
    """Until its end a signal that ends this process lets it clean up, and an interrupt is for the command at the other end: ssh
    reports how it ended."""
    previous_handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    previous_handlers[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


@contextmanager
def _session(
    stack: Stack, node: Node, command: Sequence[str], *, terminal: bool = False, quiet: bool = False
) -> Iterator[tuple[list[str], int]]:
    """(words of an ssh to the node, the file descriptor that it gets the key from), while both are good."""
    for name in ("ssh", "ssh-agent", "ssh-add"):
        if shutil.which(name) is None:
            raise LabError(f"there is no {name} on PATH: apt install openssh-client")
    if not stack.private_key:
        raise LabError(
            f"stack {stack.name} has no private key in its outputs yet: ./lab -s {stack.name} up; with a key of your own "
            f"(ssh.privateKey) use it directly: ssh {stack.ssh_user}@{node.address}"
        )
    if not node.host_key:
        raise LabError(f"the host key of {node.name} is not known yet: ./lab -s {stack.name} up makes the machine")
    folder = Path(tempfile.mkdtemp(prefix="lab-ssh-"))
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(known_hosts_line(node), encoding="utf-8")
    key = _pipe(stack.private_key)
    words = ["ssh-agent", "bash", "-c", _LAUNCH, "ssh", str(key), *options(node, stack, str(known_hosts))]
    words += [*(["-t"] if terminal else []), *(["-q"] if quiet else []), node.address, *command]
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
            raise LabError("the private key is too long to be handed on")
    finally:
        os.close(writing)
    return reading


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main(options: argparse.Namespace) -> int:
    """ssh's status."""
    return enter(stacks.read_selected(options.stack), options.words)


def enter(stack: Stack, arguments: Sequence[str]) -> int:
    """The node that the first word names; the others are a command for its shell."""
    if not arguments or arguments[0].startswith("-"):
        names = ", ".join(node.name for node in stack.nodes)
        raise LabError(f"which node? ./lab ssh NODE [COMMAND...]; the nodes: {names or 'none'}")
    return run(stack, stack.node(arguments[0]), arguments[1:]).returncode


def quoted(words: Sequence[str]) -> str:
    """Words as one command for the node's shell."""
    return shlex.join(words)

"""`lab ssh`: a node's shell with the stack's key, which lives in an agent of its own for as long as the command runs."""

from __future__ import annotations

import argparse
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, cast

from cli import stack as stacks
from cli.errors import LabError
from cli.stack import Node, Stack
from components.node import ssh_client


def login(stack: Stack, node: Node) -> ssh_client.Login:
    """How the node is logged in to; LabError where that is not known yet, or this machine has no SSH client."""
    if name := ssh_client.missing():
        raise LabError(f"there is no {name} on PATH: apt install openssh-client")
    if not stack.private_key:
        raise LabError(
            f"stack {stack.name} has no private key in its outputs yet: ./lab -s {stack.name} up; with a key of your own "
            f"(ssh.privateKey) use it directly: ssh {stack.ssh_user}@{node.address}"
        )
    if not node.host_key:
        raise LabError(f"the host key of {node.name} is not known yet: ./lab -s {stack.name} up makes the machine")
    return ssh_client.Login(
        host=node.address,
        port=stack.ssh_port,
        user=stack.ssh_user,
        host_key=node.host_key,
        alias=node.domain,
        private_key=stack.private_key,
    )


def run(
    stack: Stack,
    node: Node,
    command: Sequence[str] = (),
    *,
    terminal: bool = False,
    quiet: bool = False,
    stdin: int | None = None,
    capture: bool = False,
    interruptible: bool = True,
) -> subprocess.CompletedProcess[str]:
    """ssh to the node, with the caller's terminal unless `capture`; ssh's exit status. The key never touches a disk.

    command: words for the node's shell, joined with spaces as ssh itself does. terminal: request one on the node. interruptible: an
    interrupt is for this process too, and not for the command at the other end alone.
    """
    with (
        _signals(interruptible=interruptible),
        _session(stack, node, command, terminal=terminal, quiet=quiet) as (words, key),
    ):
        return subprocess.run(  # noqa: S603 - our own words, and the user's command for the node
            words, pass_fds=(key,), stdin=stdin, capture_output=capture, text=True, check=False
        )


def is_open(address: str, port: int) -> bool:
    """Whether an SSH server accepts a connection, within two seconds."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class Answer:
    """What a node said to a command; error: why it did not."""

    text: str = ""
    error: str = ""


def gather(stack: Stack, nodes: Sequence[Node], command: Sequence[str], limit: float) -> dict[str, Answer]:
    """The same command on several nodes in parallel, by node's name. limit: seconds for all of them. Never raises LabError.

    An interrupt ends it: the terminal sends it to each ssh too, and a node whose ssh it ended would count as one without an answer.
    """
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


@contextmanager
def child(stack: Stack, node: Node, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh to the node with stdin and stdout as pipes, and the caller's stderr; killed if it runs at the block's end. An
    interrupt is for this process too."""
    with _signals(), _session(stack, node, command) as (words, key):
        process = subprocess.Popen(  # noqa: S603 - our own words
            words, pass_fds=(key,), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not sent any more
                    cast("IO[bytes]", pipe).close()


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.kill()
    child.communicate()


@contextmanager
def _signals(*, interruptible: bool = True) -> Iterator[None]:
    """Until its end a signal that ends this process lets it clean up, and an interrupt is for the command at the other end, unless
    `interruptible`: ssh reports how it ended."""
    previous_handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    if not interruptible:
        previous_handlers[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _session(
    stack: Stack, node: Node, command: Sequence[str], *, terminal: bool = False, quiet: bool = False
) -> AbstractContextManager[tuple[list[str], int]]:
    """(words of an ssh to the node, the file descriptor that it gets the key from), while both are good."""
    return ssh_client.session(login(stack, node), command, more=[*(["-t"] if terminal else []), *(["-q"] if quiet else [])])


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
    return run(stack, stack.node(arguments[0]), arguments[1:], interruptible=False).returncode


def quoted(words: Sequence[str]) -> str:
    """Words as one command for the node's shell."""
    return shlex.join(words)

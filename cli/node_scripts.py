"""Scripts of components/node/scripts, run on a stack's nodes by a verb: parameters by environment, secrets and data by stdin."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from cli.errors import LabError
from cli.stack import Node, Stack
from cli.verbs import ssh


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a script on a node."""

    node: Node
    name: str
    """File in components/node/scripts."""
    limit: int
    """Seconds until it is ended on the node; a script has a shorter limit among its parameters."""
    environment: Mapping[str, str] = field(default_factory=dict)
    more_stdin: bytes = field(default=b"", repr=False)
    """What its stdin begins with, after the script; it may be secret."""

    def command(self) -> str:
        from components.node import command  # noqa: PLC0415 - imports Pulumi, which takes a second

        return command.command_line(self.name, self.environment, self.limit)

    def stdin(self) -> bytes:
        from components.node import command  # noqa: PLC0415

        return command.text(self.name).encode() + self.more_stdin


@contextlib.contextmanager
def output_of(stack: Stack, run: Run) -> Iterator[IO[bytes]]:
    """What the script prints, as it comes; what it reports of itself is sent to our stderr. Raises LabError if it fails."""
    with ssh.child(stack, run.node, [run.command()]) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101
        _feed(process, [run.stdin()])
        yield process.stdout
        process.stdout.read()
        _succeeded(run, process)


def printed(stack: Stack, run: Run) -> str:
    """What the script prints, without blanks around. Raises LabError if it fails."""
    with output_of(stack, run) as output:
        return output.read().decode().strip()


def run_with(stack: Stack, run: Run, data: Iterable[bytes] = ()) -> None:
    """Run the script; data: what follows in its stdin, sent as it is read. Raises LabError if it fails."""
    with ssh.child(stack, run.node, [run.command()]) as process:
        assert process.stdout is not None  # noqa: S101
        _feed(process, _joined(run, data))
        process.stdout.read()
        _succeeded(run, process)


def run_all(stack: Stack, runs: Sequence[Run]) -> None:
    """Run all of them in parallel, and wait for all. Raises LabError with those that failed."""
    failed = []
    with contextlib.ExitStack() as sessions:
        begun = [(run, sessions.enter_context(ssh.child(stack, run.node, [run.command()]))) for run in runs]
        for run, process in begun:
            _feed(process, [run.stdin()])
        for run, process in begun:
            assert process.stdout is not None  # noqa: S101
            process.stdout.read()
            try:
                _succeeded(run, process)
            except LabError as error:
                failed.append(str(error))
    if failed:
        raise LabError("; ".join(failed))


def _joined(run: Run, data: Iterable[bytes]) -> Iterator[bytes]:
    yield run.stdin()
    yield from data


def _feed(process: subprocess.Popen[bytes], data: Iterable[bytes]) -> None:
    """A script that ends before it has read everything says itself why."""
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        for part in data:
            pipe.write(part)


def _succeeded(run: Run, process: subprocess.Popen[bytes]) -> None:
    status = process.wait()
    if status:
        reason = f"{run.node.address} does not answer on SSH" if status == 255 else "its own words are above"
        raise LabError(f"{run.name} on {run.node.name} ended with status {status}: {reason}")

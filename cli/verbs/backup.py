"""`lab backup`: a snapshot of the cluster's etcd as an encrypted file of this machine, from the first server that gives one."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

from cli import backup_file, data_key, stack_yaml
from cli import stack as stacks
from cli.backup_file import Content, Header
from cli.errors import LabError
from cli.folders import caller, stack_file
from cli.node_scripts import Run, output_of
from cli.report import say
from cli.stack import Node, Stack

SUFFIX = ".k3s-backup"
_LONGEST_LINE = 4 << 20


def main(options: argparse.Namespace) -> int:
    """0, and the file's name on stdout."""
    stack = stacks.read_selected(options.stack)
    config, _plan = stacks.read_settings(options.stack)
    path = target(options.file, stack.name, datetime.now(UTC))
    servers = [node for node in stack.nodes if node.role == "server"]
    if not servers:
        raise LabError(f"stack {stack.name} has no server yet: ./lab -s {stack.name} up")
    key = data_key.make()
    about = About(stack, key, data_key.wrap(stacks.project(), stack.name, key), identity(stack.name), settings_text(stack.name))
    with new_file(path) as file:
        size = _first_snapshot(about, servers, file, config.timeouts.k3s)
    print(path)  # noqa: T201 - the result
    say(f"{size} bytes of etcd; back by ./lab -s {stack.name} restore FILE. Data disks and volumes are not in it (docs/backup.md)")
    return 0


@dataclass(frozen=True)
class About:
    """What a backup has besides the server's own words."""

    stack: Stack
    key: bytes = field(repr=False)
    """The data key."""
    wrapped: str
    """The same, encrypted: `Header.key`."""
    identity: str
    """`Header.identity`."""
    settings: str
    """`Content.settings`."""


def target(named: str | None, stack: str, now: datetime) -> Path:
    """Where the file is written: a name, a directory, or by default STACK-DATE in the caller's. LabError if there is something."""
    path = caller() / (named or ".")
    if path.is_dir():
        path /= f"{stack.rpartition('/')[2]}-{now:%Y%m%d-%H%M%S}{SUFFIX}"
    if os.path.lexists(path):
        raise LabError(f"{path} is there already, and a backup is not written over anything: give another name, or remove it")
    return path


class CannotWriteError(LabError):
    """Of this machine: no other server's snapshot would do."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"cannot write {name}: {error.strerror or error}")


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file for its owner alone, which goes where the block fails. CannotWriteError where it cannot be made."""
    try:
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115 - of this mode
    except OSError as error:
        raise CannotWriteError(str(path), error) from None
    try:
        yield file
    except BaseException:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # what a full file system did not take
            file.close()
        raise
    file.close()


def _first_snapshot(about: About, servers: Sequence[Node], file: IO[bytes], limit: int) -> int:
    for node in servers:
        say(f"taking a snapshot on {node.name}")
        try:
            return fetch(about, node, file, limit)
        except CannotWriteError:
            raise
        except LabError as error:
            say(f"{node.name}: {error}")
    raise LabError(f"no server of stack {about.stack.name} gave a snapshot, so no file was written: what each said is above")


def fetch(about: About, node: Node, file: IO[bytes], limit: int) -> int:
    """Write the server's snapshot into the file, in place of what it has; the snapshot's size. LabError if there is none."""
    run = Run(node=node, name="k3s-backup.sh", limit=limit + 180, environment={"LIMIT_SECONDS": str(limit)})
    complete, size = False, 0
    with output_of(about.stack, run) as sent:
        line = sent.readline(_LONGEST_LINE)
        if line.endswith(b"\n"):
            said = json.loads(line)
            size = int(said["size"])
            try:
                complete = write(about, said, sent, file)
            except OSError as error:
                raise CannotWriteError(str(file.name), error) from None
    if not complete:
        raise LabError("the snapshot did not arrive whole: try again")
    return size


def write(about: About, said: Mapping[str, Any], sent: IO[bytes], file: IO[bytes]) -> bool:
    """Whether all of the snapshot came."""
    file.seek(0)
    file.truncate()
    header = Header(
        owner=f"{stacks.project()}/{about.stack.name.rpartition('/')[2]}",
        cluster=said["cluster"],
        founded=said["founded"],
        identity=about.identity,
        release=said["release"],
        date=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        key=about.wrapped,
        nonce=backup_file.new_nonce(),
    )
    left = int(said["size"])
    content = Content(
        token=said["token"],
        agent_token=str((yaml.safe_load(said["config"]) or {}).get("agent-token") or ""),
        config=said["config"],
        settings=about.settings,
        encrypted=said["encrypted"],
        size=left,
        sha256=said["sha256"],
    )
    with backup_file.Writer(file, header, about.key) as writer:
        writer.line(content)
        while left and (part := sent.read(min(left, backup_file.CHUNK))):
            writer.write(part)
            left -= len(part)
    file.flush()
    os.fsync(file.fileno())
    return not left


def identity(stack: str, run: Callable[..., Any] = stacks.pulumi_json) -> str:
    """`Release.cluster` in the stack's state; empty where there is none."""
    for resource in stacks.resources(run("stack", "export", "-s", stack)):
        if str(resource.get("urn", "")).endswith("::k3s-release"):
            return str((resource.get("outputs") or {}).get("cluster") or "")
    return ""


def settings_text(stack: str) -> str:
    """The stack's file, with its values and without its secrets."""
    document = stack_yaml.load(stack_file(stack).read_text(encoding="utf-8")) or {}
    return yaml.safe_dump({"config": _readable(document.get("config") or {})}, sort_keys=False, allow_unicode=True)


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return "[secret]" if set(value) == {"secure"} else {key: _readable(member) for key, member in value.items()}
    return [_readable(member) for member in value] if isinstance(value, list) else value

"""`lab backup`: a snapshot of the cluster's etcd as an encrypted file of this machine, from the first server that gives one."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

from cli import backup_file, data_key
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
    for node in servers:
        say(f"taking a snapshot on {node.name}")
        try:
            size = fetch(about, node, path, config.timeouts.k3s)
        except LabError as error:
            say(f"{node.name}: {error}")
        else:
            print(path)  # noqa: T201 - the result
            say(
                f"{size} bytes of etcd; back by ./lab -s {stack.name} restore FILE. Data disks and volumes are not in it "
                "(docs/backup.md)"
            )
            return 0
    raise LabError(f"no server of stack {stack.name} gave a snapshot, so no file was written: what each said is above")


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


def fetch(about: About, node: Node, path: Path, limit: int) -> int:
    """Write the file with the server's snapshot; the snapshot's size. LabError if the server gives none."""
    run = Run(node=node, name="k3s-backup.sh", limit=limit + 180, environment={"LIMIT_SECONDS": str(limit)})
    made, complete, size = False, False, 0
    try:
        with output_of(about.stack, run) as sent:
            line = sent.readline(_LONGEST_LINE)
            if line.endswith(b"\n"):
                said = json.loads(line)
                size = int(said["size"])
                with create(path) as file:
                    made = True
                    complete = write(about, said, sent, file)
        if not complete:
            raise LabError("the snapshot did not arrive whole: try again")
    except BaseException:
        if made:
            path.unlink(missing_ok=True)
        raise
    return size


def create(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror or error}") from None


def write(about: About, said: Mapping[str, Any], sent: IO[bytes], file: IO[bytes]) -> bool:
    """Whether all of the snapshot came."""
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
    document = yaml.safe_load(stack_file(stack).read_text(encoding="utf-8")) or {}
    return yaml.safe_dump({"config": _readable(document.get("config") or {})}, sort_keys=False, allow_unicode=True)


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return "[secret]" if set(value) == {"secure"} else {key: _readable(member) for key, member in value.items()}
    return [_readable(member) for member in value] if isinstance(value, list) else value

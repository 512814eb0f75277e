"""Scripts on nodes: how a file of components/node/scripts becomes one remote command.

Parameters that are no secrets go by environment variables on the command line; the script itself, secrets and documents go
by stdin, so that the error of a failed command quotes one readable line. The text sent is the script without comments, blank
lines and docstrings, so that an edit of those changes nothing in any stack.

A script names its parts and its programs in Python by lines that also work where the files are:

    source "${0%/*}/parts/pause.sh"
    nic=$(< "${0%/*}/nic.py")

The first is replaced by the part. The second becomes the program as a quoted text, which the script starts by `python3 -c "$nic"`.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import pulumi
from pulumi import CustomTimeouts, Input, ResourceOptions
from pulumi_command.remote import Command, Logging

from components.node.ssh import Connection

SCRIPTS = Path(__file__).parent / "scripts"
_PART = re.compile(r'source "\$\{0%/\*\}/parts/([a-z0-9-]+\.sh)"')
_PROGRAM = re.compile(r'([a-z0-9_]+)=\$\(< "\$\{0%/\*\}/([a-z0-9_]+\.py)"\)')
# Added to a script's own limit: the time to dial, and for `timeout` to end it.
DIAL_SECONDS = 60

NO_SUDO = "may not use sudo without a password on this machine"
_WITHOUT = (
    f"{NO_SUDO}, so nothing can be installed there. Its image has no sudo, or overrides what cloud-init writes to /etc/sudoers.d: "
    "take one with the package sudo (image.source)"
)
LET_IN = f'sudo -n true || {{ echo "${{USER:-this user}} {_WITHOUT}" >&2; exit 1; }}'
"""The first command on a machine that accepts logins."""


@cache
def text(name: str) -> str:
    """The script `name` without full-line comments and blank lines, and with its parts and its programs in Python in place of the
    lines that name them."""
    return "\n".join(_lines(SCRIPTS / name))


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if part := _PART.fullmatch(line):
            yield from _lines(SCRIPTS / "parts" / part[1])
        elif program := _PROGRAM.fullmatch(line):
            yield f"{program[1]}={shlex.quote(python(program[2]))}"
        elif line.strip() and not line.lstrip().startswith("#"):
            yield line


def python(name: str) -> str:
    """The program `name` without comments, blank lines and docstrings."""
    source = (SCRIPTS / name).read_text(encoding="utf-8")
    lines = dict(enumerate(source.splitlines(), 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type in {tokenize.COMMENT, tokenize.NL} and row in lines:
            lines[row] = lines[row][:column].rstrip()
            if not lines[row]:
                del lines[row]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            for row in range(first.lineno, (first.end_lineno or first.lineno) + 1):
                del lines[row]
            if len(node.body) == 1 and not isinstance(node, ast.Module):
                lines[first.lineno] = " " * first.col_offset + "pass"
    return "\n".join(line for _, line in sorted(lines.items()))


def command_line(name: str, environment: Mapping[str, str], limit: int, *, before: int = 0, after: int = 0) -> str:
    """The command that runs the script, which it takes from stdin, as root within `limit` seconds.

    before, after: bytes of stdin on either side of the script that are not for it. What follows is its stdin. A script that
    arrives cut off is not run.
    """
    lines = [
        *([_take(before, "_")] if before else []),
        f'{_take(len(text(name).encode()), "text")} || {{ echo "$0 did not arrive whole" >&2; exit 1; }}',
        *([_take(after, "_")] if after else []),
        'eval "$text"',
    ]
    variables = [f"{key}={value}" for key, value in sorted(environment.items())]
    words = ["sudo", "-n", "env", *variables, "timeout", "--kill-after=10", str(limit), "bash", "-c", "; ".join(lines), name]
    return shlex.join(words)


def _take(size: int, variable: str) -> str:
    """Takes `size` bytes of stdin and none that follow, without a program: each takes a tenth of a second on a slow node."""
    return f"IFS= LC_ALL=C read -rN {size} {variable}"


@dataclass(frozen=True, kw_only=True)
class Script:
    """One run of a script on a node.

    name: file in components/node/scripts. environment: its parameters. limit: seconds until it is ended; a script has a shorter
    limit among its parameters and ends by itself. stdin: secrets and documents; not for one that runs on delete.
    """

    name: str
    limit: int
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: Input[str] | None = None


def run(
    resource_name: str,
    script: Script | None,
    *,
    connection: Connection,
    triggers: Sequence[Input[str]],
    opts: ResourceOptions,
    on_delete: Script | None = None,
    run_once_per_machine: bool = False,
    secret_output: bool = False,
) -> Command:
    """Run the script when the resource is made, and again when its text, parameters or stdin change.

    script: None for a resource that acts only when it is deleted, or not at all; it makes no connection before.
    triggers: what identifies the node; on another node the script runs again.
    on_delete: run when the resource is deleted.
    run_once_per_machine: on the same node the script is not run again, whatever else changes.
    secret_output: what the script prints is a secret and in no log.
    Errors: the script's stderr.
    """
    limit = max((command_script.limit for command_script in (script, on_delete) if command_script is not None), default=0)
    # Both commands of a resource get the same stdin.
    create_text, delete_text = (text(command_script.name) if command_script else "" for command_script in (script, on_delete))
    before, after = len(create_text.encode()), len(delete_text.encode())
    sent: Input[str] = create_text + delete_text
    if script is not None and script.stdin is not None:
        sent = pulumi.Output.concat(sent, script.stdin)
    return Command(
        resource_name,
        connection=connection.args,
        create=command_line(script.name, script.environment, script.limit, after=after) if script else None,
        update="true" if run_once_per_machine else None,
        delete=command_line(on_delete.name, on_delete.environment, on_delete.limit, before=before) if on_delete else None,
        stdin=sent,
        triggers=list(triggers),
        logging=Logging.STDERR if secret_output else None,
        add_previous_output_in_env=False,
        opts=ResourceOptions.merge(
            opts,
            ResourceOptions.merge(
                _limits(limit + DIAL_SECONDS, undone=on_delete is not None),
                ResourceOptions(additional_secret_outputs=["stdout"] if secret_output else None),
            ),
        ),
    )


def ssh_login(
    resource_name: str, *, connection: Connection, triggers: Sequence[Input[str]], dial: int, opts: ResourceOptions
) -> Command:
    """Waits until the machine lets us in, with the host key that is ours, and finds out whether sudo works there. dial: seconds for
    that. triggers: what the machine is."""
    return Command(
        resource_name,
        connection=connection.args,
        create=LET_IN,
        triggers=list(triggers),
        add_previous_output_in_env=False,
        opts=ResourceOptions.merge(opts, _limits(dial)),
    )


def file(
    resource_name: str,
    path: str,
    content: str,
    *,
    connection: Connection,
    triggers: Sequence[Input[str]],
    opts: ResourceOptions,
) -> Command:
    """A file of the node, owned by root, mode 0644, with its directory; removed with its resource."""
    quoted, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    write = f"umask 022; mkdir -p {folder} && cat > {quoted}.new && mv {quoted}.new {quoted}"
    return Command(
        resource_name,
        connection=connection.args,
        create=shlex.join(["sudo", "-n", "sh", "-c", write]),
        delete=shlex.join(["sudo", "-n", "rm", "-f", path]),
        stdin=content,
        triggers=[*triggers, path],
        add_previous_output_in_env=False,
        opts=ResourceOptions.merge(opts, _limits(DIAL_SECONDS, undone=True)),
    )


def _limits(seconds: int, *, undone: bool = False) -> ResourceOptions:
    """undone: the resource has a command for its deletion, which must run before its replacement is created."""
    limit = f"{seconds}s"
    timeouts = CustomTimeouts(create=limit, update=limit, delete=limit)
    return ResourceOptions(custom_timeouts=timeouts, delete_before_replace=True if undone else None)

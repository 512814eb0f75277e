"""A script of `components/node/scripts` on a node, run from the process of a dynamic provider by this machine's ssh.

Commands on nodes are pulumi-command's otherwise. That has no `read`, and gives nothing to a provider that decides by what a node
reported last.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping

from components.custom.reporting import progress
from components.node import ssh_client
from components.node.ssh_client import Login

# Without the user's own configuration of ssh, as pulumi-command, and without a question.
_OPTIONS = ("-F", "none", "-o", "BatchMode=yes")

SSH_FAILED = 255
"""ssh's status for a connection that could not be made, or was lost."""

_LINES = 40
"""Of what the script has said, in an error: the reason, and a journal after it."""


class NodeScriptError(Exception):
    """The script failed, or the node was not reached; the text says why."""


class NodeUnreachableError(NodeScriptError):
    """The script was not run, or its connection was lost."""


def run(login: Login, name: str, environment: Mapping[str, str], limit: int) -> str:
    """What the script prints. Raises NodeScriptError. While it runs, its last line on stderr is shown as the progress."""
    # It imports pulumi-command, which takes a second, and is needed only where a script runs on a node.
    from components.node import command  # noqa: PLC0415

    if program := ssh_client.missing():
        raise NodeUnreachableError(f"there is no {program} on PATH: apt install openssh-client")
    said: list[str] = []
    remote = command.command_line(name, environment, limit)
    with (
        ssh_client.session(login, [remote], more=_OPTIONS) as (words, key),
        progress(lambda: said[-1] if said else f"{name} on {login.host}"),
    ):
        status, output = _run(words, key, command.text(name), limit + command.DIAL_SECONDS, said)
    if status:
        reason = "\n".join(said[-_LINES:]) or f"status {status}"
        if status == SSH_FAILED:
            raise NodeUnreachableError(f"{login.host} is not reached by SSH: {reason}")
        raise NodeScriptError(reason)
    return output


def _run(words: list[str], key: int, text: str, limit: float, said: list[str]) -> tuple[int, str]:
    """Status and output. said: gets the lines of stderr as they come."""
    process = subprocess.Popen(  # noqa: S603 - our own words
        words, pass_fds=(key,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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

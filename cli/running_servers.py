"""Verbs that need K3s at work on every server refuse to begin where it is not."""

from __future__ import annotations

from cli import stack as stacks
from cli.errors import LabError

_SECONDS = 60
"""For the answers of all servers together."""


def refuse_without(name: str) -> None:
    """LabError where K3s does not run on a server of the stack, or that does not answer. name: of the stack."""
    from cli.verbs import ssh  # noqa: PLC0415 - imports what no other rotation needs

    stack = stacks.read(name)
    servers = [node for node in stack.nodes if node.role == "server"]
    answers = ssh.gather(stack, servers, ["systemctl is-active k3s || true"], _SECONDS)
    reasons = [
        f"{server}: {answer.error or f'K3s is {answer.text.strip()} there'}"
        for server, answer in answers.items()
        if answer.error or answer.text.strip() != "active"
    ]
    if reasons:
        raise LabError(
            f"K3s must run on all servers: {'; '.join(reasons)}. Bring it back first (./lab -s {name} status, ./lab -s {name} logs "
            "NODE), or take the server out of the settings and run ./lab up"
        )

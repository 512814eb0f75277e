"""`lab rotate ssh-keys`: another key to log in to the nodes with, in place of the stack's own one, while they run.

A run of the program makes the key and gives it to each node by the former one (components/machine/key_arrival.py). When every node
has been reached by the new one, the former is taken away here. Wherever it is cut off, it can be said again, and continues.
"""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cli import backend as backends
from cli import consent, engine, locks, node_scripts, pending, process, selection
from cli import stack as stacks
from cli.errors import LabError
from cli.node_scripts import Run
from cli.report import say
from cli.stack import Stack
from cli.verbs import ssh

ROTATION = "K3S_MACVLAN_LOGIN_KEY"
"""That of components.machine.login_key, which imports Pulumi."""

_LIMIT = 60
"""Seconds for the script on a node."""
_REFUSED_SECONDS = 60.0
"""For all nodes to refuse the former key, or not to."""

OWN_KEY = (
    "the nodes are logged in to with a key of your own (ssh.privateKey), which is not the stack's to replace. Another one in its "
    "place recreates the machines, servers one after another: see docs/maintenance.md first"
)


def main(options: argparse.Namespace) -> int:
    """pulumi's status, or 0 when the former key is taken away."""
    backend = backends.use(options.stack)
    engine.install_plugins()
    locks.release_and_report(backend, options.stack)
    chosen = selection.required(backend, options.stack)
    stack = stacks.read(options.stack)
    if not stack.nodes:
        raise LabError(f"stack {options.stack} has no nodes yet: ./lab -s {options.stack} up")
    owner = f"{backend.project}/{options.stack.rpartition('/')[2]}"
    state = stacks.pulumi_json("stack", "export", "-s", options.stack, "--show-secrets")
    public, private = current_pair(state)
    unfinished = private.strip() != stack.private_key.strip()
    if not unfinished and take_away(stack, public, owner):
        say("finished the rotation that was cut off; for another key say it again")
        return 0
    if unfinished:
        say("the rotation that was cut off continues: the new key is in the stack's state already")
    else:
        pending.refuse(options.stack, chosen)
        names = ", ".join(node.name for node in stack.nodes)
        if not consent.given(f"{names} get another key to log in with, and run on. Go on?", yes=options.yes):
            say("nothing was changed")
            return 1
        os.environ[ROTATION] = secrets.token_hex(8)
    status = _up(chosen, preview=unfinished, yes=options.yes)
    if status:
        return status
    rotated = stacks.read(options.stack)
    public, _private = current_pair(stacks.pulumi_json("stack", "export", "-s", options.stack, "--show-secrets"))
    take_away(rotated, public, owner)
    refused_everywhere(replace(rotated, private_key=stack.private_key))
    say(f"{len(rotated.nodes)} nodes accept the new key, and refuse the former one")
    return 0


def _up(chosen: Sequence[str], *, preview: bool, yes: bool) -> int:
    """pulumi's status. Without a preview where the key is yet to be made: what follows from it is not known before."""
    ask = engine.consent(yes) if preview else ["--yes", "--skip-preview"]
    try:
        status = process.run(["pulumi", "up", *chosen, *ask])
    except KeyboardInterrupt:
        say(_CUT_OFF)
        raise
    if status:
        say(_CUT_OFF)
    return status


_CUT_OFF = (
    "each node accepts the former key still, and those that were reached the new one too; ./lab rotate ssh-keys continues from "
    "here, and so does ./lab up, which leaves the former key where it is"
)


def current_pair(state: Mapping[str, Any]) -> tuple[str, str]:
    """The public and the private key of the stack's own pair, from its state. LabError where it has none."""
    for resource in stacks.resources(state):
        if str(resource["urn"]).endswith("::client-key"):
            outputs = resource.get("outputs") or {}
            return stacks.plain(outputs.get("public_key")).partition("\n")[0], stacks.plain(outputs.get("private_key"))
    raise LabError(OWN_KEY)


def take_away(stack: Stack, public: str, owner: str) -> int:
    """Take the stack's former keys off all nodes, which are logged in to with the present one. Returns how many lines there were.
    LabError where a node cannot be reached, before anything is taken away."""
    answers = ssh.gather(stack, stack.nodes, ["true"], _REFUSED_SECONDS)
    if silent := [answer.error for answer in answers.values() if answer.error]:
        raise LabError(
            f"{'; '.join(silent)}: each node must be reached by the present key before a former one is taken away. Start it (./lab "
            "status), then say ./lab rotate ssh-keys again"
        )
    removed = 0
    for node in stack.nodes:
        environment = {"ACTION": "alone", "USER_NAME": stack.ssh_user, "OWNER": owner}
        run = Run(node=node, name="login-key.sh", limit=_LIMIT, environment=environment, more_stdin=f"{public}\n".encode())
        said = node_scripts.printed(stack, run)
        removed += int(said.partition("removed=")[2] or 0)
    return removed


def refused_everywhere(former: Stack) -> None:
    """LabError where a node accepts this stack's former key."""
    answers = ssh.gather(former, former.nodes, ["true"], _REFUSED_SECONDS)
    accepted = [name for name, answer in answers.items() if not answer.error]
    if accepted:
        raise LabError(
            f"{', '.join(accepted)} still accept the former key: it is there under another comment than the stack's, or in another "
            "place than sshd's AuthorizedKeysFile. Take it away by hand: ./lab ssh NODE"
        )

"""How another login key comes onto a machine that runs: by the former one.

Which key a machine accepts is in the state: it is an input of the first command on it. When that changes, the hook gives the
machine the new key next to the former one, before anything connects with it. Where a run was cut off, or did not reach a machine,
the next one continues. The former key is taken away when all machines have been reached by the new one (cli/rotations/ssh_keys.py).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import Output, ResourceHook, ResourceHookArgs

from components.node import command, ssh_client
from components.node.hook_threads import in_thread

_LIMIT = 60
"""Seconds for the script on the node; as many again for the connection."""


def key_arrival_hook(name: str, public: Output[str]) -> ResourceHook:
    """A hook to run before the update of the first command on a machine. public: the present key, as a line of authorized_keys.
    Raises RuntimeError where the machine accepts neither its former key nor the present one."""

    async def arrive(args: ResourceHookArgs) -> None:
        former, wanted = [await _connection(inputs) for inputs in (args.old_inputs, args.new_inputs)]
        if former.get("privateKey") and wanted.get("privateKey") and former["privateKey"] != wanted["privateKey"]:
            line = await public.future()
            await in_thread(give, args.name.removesuffix("-answers"), str(line), former, wanted)

    return ResourceHook(name, arrive)


async def _connection(inputs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The input `connection`, which is a secret."""
    value = await Output.from_input((inputs or {}).get("connection")).future()
    return value if isinstance(value, Mapping) else {}


def give(node: str, line: str, former: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Let the node accept the key of the connection `wanted`, whose public half `line` is, next to that of `former`."""
    if name := ssh_client.missing():
        raise RuntimeError(f"{node} cannot be given the new login key: there is no {name} on PATH. apt install openssh-client")
    pulumi.log.info(f"{node}: giving it the new login key by the former one")
    by_former, error = _add(node, line, former["privateKey"], wanted)
    if by_former:
        return
    # Given by a run that was cut off before it was recorded, or by hand.
    by_new, _error = _add(node, line, wanted["privateKey"], wanted)
    if not by_new:
        raise RuntimeError(
            f"{node} at {wanted['host']} cannot be given the new login key by the former one: {error}. If it is off, start it and "
            f"run `up` again; if it accepts neither key, write this line into the user's authorized_keys there, or rebuild it "
            f"(--replace '**::{node}-disk'): {line}"
        )


def _add(node: str, line: str, private_key: str, connection: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the node was reached with this private key and has the public one in `line` now, and else why not."""
    login = ssh_client.Login(
        host=connection["host"],
        port=int(connection["port"]),
        user=connection["user"],
        host_key=connection["hostKey"],
        alias=node,
        private_key=private_key,
    )
    name = "login-key.sh"
    script = command.command_line(name, {"ACTION": "add", "USER_NAME": login.user}, _LIMIT)
    with ssh_client.session(login, [script], more=["-T"]) as (words, descriptor):
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                words,
                pass_fds=(descriptor,),
                input=f"{command.text(name)}{line}\n",
                capture_output=True,
                text=True,
                timeout=2 * _LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False, f"no answer within {2 * _LIMIT} s"
    return done.returncode == 0, " ".join(done.stderr.split()) or f"status {done.returncode}"

"""Waits until this node's object in the cluster is Ready, queried with the kubelet's own credentials.

Environment: ROOT, NODE_NAME, LIMIT_SECONDS, as in k3s-node-ready.sh. Exit: 0; 1 at the limit, with the node's conditions.
Not kubectl: starting it takes seconds in an emulated guest. One request that stays open, for the same reason.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from typing import IO, Any, cast

Node = dict[str, Any]
READY = ""
"""The problem of a node that has none."""


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def request(root: str, name: str) -> tuple[list[str], str]:
    """The command that prints the node and its changes, as JSON in a line each; or why there is none yet."""
    agent = root + "/var/lib/rancher/k3s/agent/"
    server = re.search(r"""(?m)^\s*(?:- )?server:\s*"?(https://[^"\s]+)""", read(agent + "kubelet.kubeconfig"))
    missing = [file for file in ("server-ca.crt", "client-kubelet.crt", "client-kubelet.key") if not os.path.exists(agent + file)]
    if not server or missing:
        return [], f"the kubelet has no credentials yet: no {', '.join(missing) or 'server in kubelet.kubeconfig'} in {agent}"
    query = f"fieldSelector=metadata.name%3D{name}&watch=true&timeoutSeconds=12&pretty=false"
    return [
        "curl", "--silent", "--show-error", "--no-buffer", "--max-time", "15", "--noproxy", "*",
        "--cacert", agent + "server-ca.crt", "--cert", agent + "client-kubelet.crt", "--key", agent + "client-kubelet.key",
        "--url", f"{server[1]}/api/v1/nodes?{query}",
    ], ""  # fmt: skip


def state(line: bytes, boot_id: str) -> tuple[Node | None, str]:
    """The node of one event, and its problem."""
    try:
        event = json.loads(line)
        node = event.get("object", event)
        if node.get("kind") != "Node" or event.get("type") == "DELETED":
            return None, f"the API has no such node for this kubelet: {node.get('message', event.get('type'))}"
        boot = node["status"].get("nodeInfo", {}).get("bootID", "")
        conditions = {condition["type"]: condition for condition in node["status"].get("conditions", [])}
    except (ValueError, AttributeError, KeyError, TypeError):
        return None, "the API answers with something that is no event of a node"
    if boot and boot_id and boot != boot_id:
        return node, "its state is of a former boot, this kubelet has not reported yet"
    ready = conditions.get("Ready")
    if ready is None:
        return node, "no condition Ready yet"
    return node, READY if ready["status"] == "True" else f"not Ready: {ready.get('message', ready.get('reason', ''))}"


class Wait:
    """The wait for one node: what it was last, and how long it has taken."""

    def __init__(self, root: str, name: str, limit: int) -> None:
        self.root, self.name, self.limit = root, name, limit
        self.node: Node | None = None
        self.problem = "the API was not queried"
        self.start, self.shown = time.monotonic(), 0.0

    def note(self, text: str) -> None:
        print(f"node {self.name}: {text}", file=sys.stderr, flush=True)

    def over(self) -> bool:
        waited = time.monotonic() - self.start
        if waited >= self.shown:
            self.note(f"{self.problem}, {waited:.0f} s")
            self.shown = waited + 5
        return waited >= self.limit

    def until_ready(self) -> bool:
        while True:
            command, missing = request(self.root, self.name)
            if missing:
                self.problem = missing
            elif self._watch(command):
                return True
            if self.over():
                return False
            time.sleep(0.7)

    def _watch(self, command: list[str]) -> bool:
        """Until the node is Ready, which it returns, the request has ended, or the limit is reached."""
        answered = ended = ready = False
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
            stdout, stderr = cast("IO[bytes]", curl.stdout), cast("IO[bytes]", curl.stderr)
            boot_id, rest = read(self.root + "/proc/sys/kernel/random/boot_id").strip(), b""
            while not (ended or ready):
                if select.select([stdout], [], [], 1)[0]:
                    chunk = os.read(stdout.fileno(), 1 << 16)
                    ended = not chunk
                    *lines, rest = (rest + (chunk or b"\n")).split(b"\n")
                    for line in filter(None, lines):
                        answered = True
                        self.node, self.problem = state(line, boot_id)
                        ready = ready or self.problem == READY
                if not (ended or ready) and self.over():
                    break
            if not ended:
                curl.kill()
            error = stderr.read().decode(errors="replace").strip()
        if ended and not answered:
            self.node, self.problem = None, f"the API does not answer: {error or 'it knows no such node yet'}"
        return ready


if __name__ == "__main__":
    wait = Wait(os.environ["ROOT"], os.environ["NODE_NAME"], int(os.environ["LIMIT_SECONDS"]))
    if not wait.until_ready():
        wait.note(f"not Ready after {wait.limit} s: {wait.problem}")
        for condition in (wait.node or {}).get("status", {}).get("conditions", []):
            words = (str(condition.get(key, "")) for key in ("type", "status", "reason", "message"))
            print("  " + " ".join(words), file=sys.stderr)
        sys.exit(1)

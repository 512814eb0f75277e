"""`lab rotate ssh-keys`: the former key is removed when every node has been reached by the new one, wherever it is cut off."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from cli import backend, consent, engine, locks, node_scripts, pending, process, selection, stack
from cli.errors import LabError
from cli.rotations import ssh_keys
from cli.verbs import ssh
from components.machine import login_key

from .test_stack import NODE, OUTPUTS, secret

pytestmark = pytest.mark.unit

OPTIONS = argparse.Namespace(stack="dev", yes=True, verb="rotate", what="ssh-keys")
NODES = [NODE, {**NODE, "name": "agent-1", "role": "agent", "address": "192.168.122.181"}]


@dataclass
class Host:
    """Two nodes, the stack's state and its outputs. Keys are their names."""

    accepted: dict[str, set[str]] = field(default_factory=lambda: {"server-1": {"first"}, "agent-1": {"first"}})
    state: str = "first"
    output: str = "first"
    off: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Nodes that are off from the next run on."""
    changes: str = ""
    fails: bool = False
    ran: list[str] = field(default_factory=list)
    own_key: bool = False

    def pulumi_json(self, *words: str) -> dict[str, Any]:
        if words[:2] == ("stack", "output"):
            return {**OUTPUTS, "nodes": NODES, "sshPrivateKey": self.output}
        pair = {"public_key": f"ssh-ed25519 {self.state} k3s-macvlan/dev\nssh-ed25519 first x", "private_key": secret(self.state)}
        name = "other" if self.own_key else "client-key"
        return {"deployment": {"resources": [{"urn": f"urn:pulumi:dev::k3s-macvlan::x::{name}", "outputs": pair}]}}

    def pulumi(self, words: Sequence[str]) -> int:
        self.ran.append(" ".join(words))
        if rotation := os.environ.pop(ssh_keys.ROTATION, ""):
            self.state = f"key-{rotation}"
        self.off |= self.lost
        if self.fails:
            return 1
        for name, keys in self.accepted.items():
            if name not in self.off:
                keys.add(self.state)
        if self.off:
            return 1
        self.output = self.state
        return 0

    def gather(self, of: stack.Stack, nodes: Sequence[stack.Node], *_: Any, **__: Any) -> dict[str, ssh.Answer]:
        return {
            node.name: ssh.Answer()
            if of.private_key in self.accepted[node.name] and node.name not in self.off
            else ssh.Answer(error="denied")
            for node in nodes
        }

    def script(self, of: stack.Stack, run: node_scripts.Run) -> str:
        node, environment = run.node, run.environment
        assert (run.name, environment["OWNER"], environment["USER_NAME"]) == ("login-key.sh", "k3s-macvlan/dev", "admin")
        key = run.more_stdin.decode().split()[1]
        assert of.private_key in self.accepted[node.name] and key in self.accepted[node.name]
        removed = len(self.accepted[node.name]) - 1
        self.accepted[node.name] = {key}
        return f"removed={removed}"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(backend, "use", lambda _stack: backend.Backend(project="k3s-macvlan", local=True))
    monkeypatch.setattr(engine, "install_plugins", lambda: None)
    monkeypatch.setattr(locks, "release_and_report", lambda *_: None)
    monkeypatch.setattr(selection, "existing", lambda *_: ["-s", "dev"])
    monkeypatch.setattr(stack, "pulumi_json", made.pulumi_json)
    monkeypatch.setattr(stack, "read", lambda name: stack.parse_outputs(name, made.pulumi_json("stack", "output")))
    monkeypatch.setattr(process, "run", made.pulumi)
    monkeypatch.setattr(ssh, "gather", made.gather)
    monkeypatch.setattr(node_scripts, "printed", made.script)
    monkeypatch.setattr(pending, "changes", lambda _chosen: made.changes)
    monkeypatch.delenv(ssh_keys.ROTATION, raising=False)
    return made


def test_the_request_is_the_program_s() -> None:
    assert ssh_keys.ROTATION == login_key.ROTATION


def test_each_node_has_the_new_key_alone(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert ssh_keys.main(OPTIONS) == 0
    assert host.state.startswith("key-") and host.output == host.state
    assert host.accepted == {"server-1": {host.state}, "agent-1": {host.state}}
    assert host.ran == ["pulumi up -s dev --yes --skip-preview"]
    assert "2 nodes accept the new key, and refuse the former one" in capsys.readouterr().err
    first = host.state
    assert ssh_keys.main(OPTIONS) == 0 and host.state != first, "the next one makes another key"


def test_other_changes_come_first(host: Host) -> None:
    host.changes = "+ 1 to create"
    with pytest.raises(LabError, match=r"(?s)other changes.*\./lab -s dev up first.*1 to create"):
        ssh_keys.main(OPTIONS)
    assert host.ran == [] and host.accepted["server-1"] == {"first"}


def test_whoever_says_no_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "given", lambda question, *, yes: "server-1, agent-1" not in question or yes)
    assert ssh_keys.main(argparse.Namespace(stack="dev", yes=False)) == 1
    assert host.ran == [] and ssh_keys.ROTATION not in os.environ


def test_cut_off_on_the_way_it_continues_with_the_same_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.lost = {"agent-1"}
    assert ssh_keys.main(OPTIONS) == 1
    made = host.state
    assert host.accepted == {"server-1": {"first", made}, "agent-1": {"first"}} and host.output == "first"
    assert "each node accepts the former key still" in capsys.readouterr().err
    host.off, host.lost = set(), set()
    assert ssh_keys.main(OPTIONS) == 0
    assert host.state == made and host.accepted == {"server-1": {made}, "agent-1": {made}}
    assert host.ran[-1] == "pulumi up -s dev --yes"


def test_before_the_key_was_made_nothing_is_different(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_words: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ssh_keys.main(OPTIONS)
    assert host.accepted == {"server-1": {"first"}, "agent-1": {"first"}}


def test_an_up_that_finished_it_has_left_the_former_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.lost = {"agent-1"}
    assert ssh_keys.main(OPTIONS) == 1
    host.off, host.lost = set(), set()
    assert host.pulumi(["pulumi", "up"]) == 0
    assert ssh_keys.main(OPTIONS) == 0
    assert host.accepted == {"server-1": {host.state}, "agent-1": {host.state}}
    assert len(host.ran) == 2, "no further run, and no third key"
    assert "finished the rotation that was cut off" in capsys.readouterr().err


def test_nothing_is_taken_away_while_a_node_is_silent(host: Host) -> None:
    host.accepted["server-1"].add("older")
    host.off = {"agent-1"}
    with pytest.raises(LabError, match="each node must be reached by the present key before"):
        ssh_keys.main(OPTIONS)
    assert host.accepted["server-1"] == {"first", "older"}


def test_a_former_key_that_still_opens_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_scripts, "printed", lambda *_, **__: "removed=0")
    with pytest.raises(LabError, match="server-1, agent-1 still accept the former key"):
        ssh_keys.main(OPTIONS)


def test_the_user_s_own_key_is_not_the_stack_s(host: Host) -> None:
    host.own_key = True
    with pytest.raises(LabError, match=r"ssh\.privateKey.*docs/maintenance\.md"):
        ssh_keys.main(OPTIONS)
    assert host.ran == []

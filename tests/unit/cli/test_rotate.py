"""`lab rotate` of certificates and token: a run of the program with the request in its environment."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from lab_harness import PULUMI, Lab

from cli import command_line, running_servers, stack
from cli.errors import LabError
from cli.rotations import by_run
from cli.verbs import ssh
from components.cluster import rotation

from .test_stack import NODE, OUTPUTS

pytestmark = pytest.mark.unit


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.program(
        "pulumi",
        f"""[ -z "$K3S_MACVLAN_ROTATE" ] || echo "$1 rotates $K3S_MACVLAN_ROTATE"
if [ "$1" = preview ] && [ -e changes ]; then echo "+ 1 to create"; exit 1; fi
{PULUMI}""",
    )
    return made


def test_cli_and_program_have_the_same_words() -> None:
    assert by_run.REQUEST == rotation.REQUEST
    assert set(rotation.KINDS) <= set(command_line.ROTATIONS)


@pytest.mark.parametrize("what", rotation.KINDS)
def test_it_is_an_up_that_is_set_to_rotate(lab: Lab, what: str) -> None:
    lab.run("up")
    assert f"up rotates {what}" in lab.run("-y", "rotate", what)
    assert lab.calls("pulumi")[-1] == f"pulumi up -s dev --config-file {lab.root}/.lab/Pulumi.dev.yaml --yes"
    assert lab.calls("before_up") == ["before_up dev"], "as for every up"
    assert "rotates" not in lab.run("up"), "the next one is an ordinary one"


def test_without_a_stack_there_is_nothing_to_rotate(lab: Lab) -> None:
    assert "no stack dev yet, so there is nothing to rotate" in lab.run("rotate", "token", code=1)
    assert not [call for call in lab.calls("pulumi") if " up " in call or "init" in call]


def test_a_token_is_rotated_where_up_has_nothing_else_to_change(lab: Lab) -> None:
    lab.run("up")
    (lab.root / "changes").touch()
    said = lab.run("-y", "rotate", "token", code=1)
    assert "`up` has other changes to make: ./lab -s dev up first" in said and "+ 1 to create" in said
    assert not [call for call in lab.calls("pulumi") if " up " in call]
    assert "up rotates certificates" in lab.run("-y", "rotate", "certificates")


def test_a_token_is_rotated_where_all_servers_run(lab: Lab) -> None:
    lab.run("up")
    (lab.root / "silent").touch()
    assert "K3s must run on all servers of dev" in lab.run("-y", "rotate", "token", code=1)
    assert not [call for call in lab.calls("pulumi") if " up " in call]
    assert "up rotates certificates" in lab.run("-y", "rotate", "certificates")


def test_a_server_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of agents nothing is asked: they have their certificates, and join with the token that they get later."""
    names = ("server-1", "server-2", "server-3", "server-4")
    nodes = [*({**NODE, "name": name} for name in names), {**NODE, "name": "agent-1", "role": "agent"}]
    monkeypatch.setattr(stack, "read", lambda name: stack.parse_outputs(name, {**OUTPUTS, "nodes": nodes}))
    said = dict(zip(names, ("active\n", "inactive\n", "activating\n", None), strict=True))

    def gather(_stack: object, servers: Sequence[stack.Node], *_: object, **__: object) -> dict[str, ssh.Answer]:
        return {
            node.name: ssh.Answer(text=text) if (text := said[node.name]) else ssh.Answer(error="no answer") for node in servers
        }

    monkeypatch.setattr(ssh, "gather", gather)
    with pytest.raises(LabError) as failed:
        running_servers.refuse_without("dev")
    text = "server-2: K3s is inactive there; server-3: K3s is activating there; server-4: no answer"
    assert f"K3s must run on all servers: {text}. Bring it back" in str(failed.value)
    said.update(dict.fromkeys(names, "active\n"))
    running_servers.refuse_without("dev")


def test_what_cannot_be_rotated_is_refused(lab: Lab) -> None:
    assert "invalid choice: 'kubeconfig'" in lab.run("rotate", "kubeconfig", code=2)

"""`lab rotate` of certificates and token: a run of the program with the request in its environment."""

from pathlib import Path

import pytest
from lab_harness import PULUMI, Lab

from cli import command_line
from cli.rotations import by_run
from components.cluster import rotation

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


def test_what_cannot_be_rotated_is_refused(lab: Lab) -> None:
    assert "invalid choice: 'kubeconfig'" in lab.run("rotate", "kubeconfig", code=2)

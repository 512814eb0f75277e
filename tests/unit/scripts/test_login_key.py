"""login-key.sh and login_key.py."""

from __future__ import annotations

import getpass
import pwd
import subprocess

import pytest

from components.node.scripts import login_key

from .fake_node import Node

pytestmark = pytest.mark.unit

USER = getpass.getuser()
HOME = pwd.getpwnam(USER).pw_dir
OWNER = "k3s-macvlan/dev"
FORMER, NEW = f"ssh-ed25519 AAAAold {OWNER}", f"ssh-ed25519 AAAAnew {OWNER}"
OTHERS = [
    "# a comment of somebody",
    "ssh-rsa AAAAhers her@laptop",
    f"# ssh-ed25519 AAAAcommented {OWNER}",
    'command="echo hello there",no-pty ssh-ed25519 AAAAcron cron',
    "ssh-ed25519 AAAAotherstack k3s-macvlan/other",
]


def run(node: Node, action: str, key: str, *, setting: str = ".ssh/authorized_keys") -> subprocess.CompletedProcess[str]:
    node.command("sshd", f"#!/bin/sh\necho port 22\necho authorizedkeysfile {setting}\n")
    return node.run("login-key", stdin=f"{key}\n", ACTION=action, USER_NAME=USER, OWNER=OWNER)


def keys(node: Node, name: str = ".ssh/authorized_keys") -> list[str]:
    return (node.root / HOME.lstrip("/") / name).read_text().splitlines()


def test_a_key_comes_next_to_those_that_are_there_and_once(node: Node) -> None:
    path = node.file(f"{HOME}/.ssh/authorized_keys", "\n".join([*OTHERS, FORMER]), 0o640)
    for _ in range(2):
        done = run(node, "add", NEW)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert keys(node) == [*OTHERS, FORMER, NEW]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["authorized_keys"]


def test_alone_takes_the_stack_s_former_keys_away_and_no_other(node: Node) -> None:
    node.file(f"{HOME}/.ssh/authorized_keys", "\n".join([FORMER, *OTHERS, f"no-pty {FORMER}", NEW]) + "\n")
    node.file("/etc/ssh/keys/" + USER, f"{FORMER}\n")
    done = run(node, "alone", NEW, setting="%h/.ssh/authorized_keys /etc/ssh/keys/%u none")
    assert (done.returncode, done.stdout) == (0, "removed=3\n"), done.stderr
    assert keys(node) == [*OTHERS, NEW]
    assert (node.root / "etc/ssh/keys" / USER).read_text() == ""
    assert run(node, "alone", NEW).stdout == "removed=0\n"


def test_the_last_key_is_never_taken_away(node: Node) -> None:
    node.file(f"{HOME}/.ssh/authorized_keys", f"{FORMER}\n")
    done = run(node, "alone", NEW)
    assert done.returncode == 1 and "the key that is to stay is not there" in done.stderr
    assert keys(node) == [FORMER]


def test_a_file_that_is_not_there_is_made_for_its_user_alone(node: Node) -> None:
    assert run(node, "add", NEW, setting=".keys/mine .keys/more").returncode == 0
    assert keys(node, ".keys/mine") == [NEW]
    folder = node.root / HOME.lstrip("/") / ".keys"
    assert (folder.stat().st_mode & 0o777, (folder / "mine").stat().st_mode & 0o777) == (0o700, 0o600)


def test_without_an_answer_of_sshd_its_default_is_taken(node: Node) -> None:
    node.command("sshd", "#!/bin/sh\nexit 1\n")
    assert node.run("login-key", stdin=NEW, ACTION="add", USER_NAME=USER).returncode == 0
    assert keys(node) == [NEW]


@pytest.mark.parametrize(
    ("stdin", "change", "said"),
    [
        ("", {}, "stdin must be one line"),
        (f"{NEW}\n{FORMER}", {}, "stdin must be one line"),
        ("no key at all", {}, "stdin must be one line"),
        (NEW, {"ACTION": "drop"}, "ACTION must be"),
        (NEW, {"ACTION": "alone", "OWNER": ""}, "OWNER must be"),
        (NEW, {"USER_NAME": "a b"}, "USER_NAME must be"),
        (NEW, {"USER_NAME": "nobody-of-this-name"}, "no user nobody-of-this-name"),
    ],
)
def test_what_it_cannot_use_it_refuses(node: Node, stdin: str, change: dict[str, str], said: str) -> None:
    done = node.run("login-key", stdin=stdin, **{"ACTION": "add", "USER_NAME": USER, "OWNER": OWNER, **change})
    assert done.returncode == 1 and said in done.stderr
    assert not (node.root / HOME.lstrip("/") / ".ssh").exists()


def test_options_before_a_key_are_no_part_of_it() -> None:
    assert login_key.key_of('from="10.0.0.0/8",command="a b" ssh-ed25519 AAAAx me and more') == (
        "ssh-ed25519",
        "AAAAx",
        "me and more",
    )
    assert login_key.key_of("ssh-ed25519") is None
    assert login_key.paths("/a/%u/%%x ~ %h/b", "/home/me", "me") == ["/a/me/%x", "/home/me/~", "/home/me/b"]

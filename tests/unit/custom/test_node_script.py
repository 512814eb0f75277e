"""A script on a node by ssh, with stand-ins for ssh and its agent, of which ssh runs the command here."""

import os
from pathlib import Path

import pytest

from components.custom import node_script
from components.custom.node_script import NodeScriptError, NodeUnreachableError
from components.node import command
from components.node.ssh_client import Login

pytestmark = pytest.mark.unit

LOGIN = Login(
    host="192.168.122.21",
    user="debian",
    port=2222,
    private_key="-----KEY-----\n",
    host_key="ssh-ed25519 AAAA comment",
    alias="server-1",
)
SSH = r"""#!/bin/bash
printf '%s\n' "$@" > "$LOG"
for word in "$@"; do
  case $word in
    UserKnownHostsFile=*) cat "${word#*=}" > "$LOG.known" ;;
  esac
done
[[ ! -e $LOG.lost ]] || { echo "Connection refused" >&2; exit 255; }
exec bash -c "${@: -1}"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = {
        "ssh": SSH,
        "ssh-agent": '#!/bin/bash\nexec "$@"\n',
        "ssh-add": '#!/bin/bash\ncat > "$LOG.key"\n',
        "sudo": '#!/bin/bash\nshift\nexec "$@"\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setattr(command, "text", lambda name: f"echo said $WHAT; echo progress >&2; [[ $0 != {name} ]] || exit $STATUS")
    return tmp_path / "log"


def test_the_key_is_in_memory_and_the_host_s_is_the_only_one(log: Path) -> None:
    assert node_script.run(LOGIN, "x.sh", {"WHAT": "this", "STATUS": "0"}, 30) == "said this\n"
    arguments = log.read_text().splitlines()
    assert "-----KEY-----" not in log.read_text()
    assert Path(f"{log}.key").read_text() == "-----KEY-----\n"
    assert Path(f"{log}.known").read_text() == "server-1 ssh-ed25519 AAAA\n"
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlgorithms=ssh-ed25519", "HostKeyAlias=server-1"} <= set(
        arguments
    )
    assert "debian" in arguments and arguments[-2] == "192.168.122.21" and arguments[arguments.index("-F") + 1] == "none"


def test_a_script_that_fails_is_an_error_of_its_own_words(log: Path) -> None:
    with pytest.raises(NodeScriptError, match=r"^progress$"):
        node_script.run(LOGIN, "x.sh", {"WHAT": "this", "STATUS": "1"}, 30)


def test_a_node_that_is_not_reached(log: Path) -> None:
    Path(f"{log}.lost").touch()
    with pytest.raises(NodeUnreachableError, match=r"192\.168\.122\.21 is not reached by SSH: Connection refused"):
        node_script.run(LOGIN, "x.sh", {"WHAT": "this", "STATUS": "0"}, 30)


def test_without_ssh_there_is_a_remedy(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NodeUnreachableError, match="there is no ssh on PATH: apt install openssh-client"):
        node_script.run(LOGIN, "x.sh", {}, 30)


def test_the_login_shows_no_key() -> None:
    assert "KEY" not in repr(LOGIN)

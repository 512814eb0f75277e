"""k3s-backup.sh and k3s_backup.py."""

import hashlib
import json
from typing import Any

import pytest

from components.node.scripts import k3s_backup

from .fake_node import TOKEN, Node

pytestmark = pytest.mark.unit

SERVER = "var/lib/rancher/k3s/server"
SNAPSHOTS = f"{SERVER}/db/snapshots"
CONTENT = bytes(range(256)) * 5000
# K3s: `save` writes what the file `snapshot` has, `delete` writes down what it is given.
K3S = r"""#!/bin/bash
echo "$*" >> "$STUB/k3s.log"
folder=$ROOT$(cat "$STUB/folder" 2> /dev/null || echo /var/lib/rancher/k3s/server/db/snapshots)
case "$1 $2" in
  "--version ") echo "k3s version v1.36.3+k3s1 (abc)"; echo "go version go1.26" ;;
  "etcd-snapshot save")
    [[ ! -e $STUB/fails ]] || { echo "level=fatal msg=\"see server log for details: token: s3cr3t-join-token\"" >&2; exit 1; }
    mkdir -p "$folder"; cp "$STUB/snapshot" "$folder/${*: -1}-server-1-1764190000" ;;
esac
"""
# Without the file `etcd` it knows no HTTP/2; with it, it answers what that has.
CURL = r"""#!/bin/bash
if [[ $* == *--http2* ]]; then
  cat > "$STUB/request"
  [[ -e $STUB/etcd ]] || exit 2
  cat "$STUB/etcd"
  exit
fi
[[ -e $STUB/api ]] || { echo "curl: (7) Failed to connect" >&2; exit 7; }
echo '{"metadata": {"name": "kube-system", "uid": "5d1c1ef8", "creationTimestamp": "2026-11-01T10:00:00Z"}}'
"""


@pytest.fixture
def server(node: Node) -> Node:
    node.command("k3s", K3S)
    node.command("curl", CURL)
    (node.stub / "api").touch()
    (node.stub / "snapshot").write_bytes(CONTENT)
    node.file(f"{SERVER}/db/etcd/member/wal/0.wal", "")
    node.file(f"{SERVER}/token", f"K10{'ab' * 32}::server:{TOKEN}\n", 0o600)
    node.file("etc/rancher/k3s/config.yaml", f"token: {TOKEN}\ncluster-init: true\n", 0o600)
    node.file(f"{SNAPSHOTS}/etcd-snapshot-server-1-1", "K3s's own")
    return node


def backup(node: Node) -> tuple[int, bytes, str]:
    """Status, stdout and stderr; stdout is binary."""
    import subprocess  # noqa: PLC0415

    from .fake_node import SCRIPTS, stripped  # noqa: PLC0415

    done = subprocess.run(
        ["bash", "-c", stripped(SCRIPTS / "k3s-backup.sh")],
        env=node.environment({"LIMIT_SECONDS": "20"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def left(node: Node, folder: str = SNAPSHOTS) -> list[str]:
    return sorted(path.name for path in (node.root / folder).iterdir())


def test_the_snapshot_comes_whole_and_nothing_stays(server: Node) -> None:
    status, sent, said = backup(server)
    assert status == 0, said
    line, _newline, snapshot = sent.partition(b"\n")
    assert snapshot == CONTENT
    assert json.loads(line) == {
        "release": "v1.36.3+k3s1",
        "cluster": "5d1c1ef8",
        "founded": "2026-11-01T10:00:00Z",
        "token": TOKEN,
        "config": f"token: {TOKEN}\ncluster-init: true\n",
        "encrypted": False,
        "size": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    assert left(server) == ["etcd-snapshot-server-1-1"]
    assert TOKEN not in said
    log = (server.stub / "k3s.log").read_text()
    assert "etcd-snapshot delete --etcd-snapshot-compress=false --etcd-s3=false k3s-macvlan-backup-server-1-1764190000" in log
    assert TOKEN not in log


def test_encryption_of_secrets_and_another_directory_are_seen(server: Node) -> None:
    server.file(f"{SERVER}/cred/encryption-config.json", providers("aescbc", "identity"))
    server.file("etc/rancher/k3s/config.yaml", "etcd-snapshot-dir: '/srv/snapshots'\nsecrets-encryption: true\n")
    (server.stub / "folder").write_text("/srv/snapshots")
    status, sent, said = backup(server)
    assert status == 0, said
    assert json.loads(sent.partition(b"\n")[0])["encrypted"] is True
    assert left(server, "srv/snapshots") == []


def providers(*names: str) -> str:
    """K3s's encryption-config.json (pkg/secretsencrypt/config.go)."""
    keys = [{name: {} if name == "identity" else {"keys": [{"name": "aescbckey", "secret": "c2VjcmV0"}]}} for name in names]
    return json.dumps({"kind": "EncryptionConfiguration", "resources": [{"resources": ["secrets"], "providers": keys}]})


@pytest.mark.parametrize("option", [False, True])
@pytest.mark.parametrize(
    ("text", "with_option", "without"),
    [
        (providers("aescbc", "identity"), True, True),
        (providers("secretbox", "identity"), True, True),
        (providers("identity", "aescbc"), True, False),
        (providers("identity"), True, False),
        ("", False, False),
        ("{}", False, False),
    ],
    ids=["encrypted", "by secretbox", "decrypted", "prepared", "cut off", "empty"],
)
def test_secrets_that_may_have_a_key_need_the_encryption(
    server: Node, text: str, with_option: bool, without: bool, option: bool
) -> None:
    """Prepared alone, by an `up` that was cut off then, they have none. With the option another server may have made it."""
    server.file(f"{SERVER}/cred/encryption-config.json", text)
    on = "secrets-encryption: 'true'\n" if option else "secrets-encryption: false\n"
    assert k3s_backup.encrypts(str(server.root), on) is (with_option if option else without)


def test_what_a_killed_run_has_left_is_removed_and_not_sent(server: Node) -> None:
    server.file(f"{SNAPSHOTS}/k3s-macvlan-backup-server-1-1", "old")
    status, sent, said = backup(server)
    assert status == 0 and sent.partition(b"\n")[2] == CONTENT, said
    assert left(server) == ["etcd-snapshot-server-1-1"]


def test_a_server_without_an_answer_gives_its_reason(server: Node) -> None:
    (server.stub / "api").unlink()
    status, sent, said = backup(server)
    assert (status, sent) == (1, b"") and "the API of this server does not answer" in said


def test_a_snapshot_that_fails_shows_why_without_the_token(server: Node) -> None:
    (server.stub / "fails").touch()
    status, sent, said = backup(server)
    assert (status, sent) == (1, b"")
    assert "K3s made no snapshot within 20 s" in said and "see server log for details" in said and TOKEN not in said
    assert left(server) == ["etcd-snapshot-server-1-1"]


def test_a_snapshot_that_is_elsewhere_is_not_guessed_at(server: Node) -> None:
    (server.stub / "folder").write_text("/elsewhere")
    status, sent, said = backup(server)
    assert (status, sent) == (1, b"") and "reports a snapshot that is not in /var/lib/rancher/k3s/server/db/snapshots" in said


def test_a_snapshot_that_the_token_does_not_open_is_not_sent(server: Node) -> None:
    """K3s keeps what the token opens under its hash, which etcd is queried for; its answer names the key if it has it."""
    wanted = b"/bootstrap/" + hashlib.sha256(TOKEN.encode()).hexdigest()[:12].encode()
    (server.stub / "etcd").write_bytes(b"\0\0\0\0\x1d\x0a\x02\x10\x01\x12\x17\x0a" + bytes([len(wanted)]) + wanted)
    status, sent, said = backup(server)
    assert status == 0 and sent.endswith(CONTENT), said
    assert (server.stub / "request").read_bytes() == b"\0\0\0\0\x1b\x0a\x17" + wanted + b"\x40\x01"
    (server.stub / "etcd").write_bytes(b"\0\0\0\0\x04\x0a\x02\x10\x01")
    status, sent, said = backup(server)
    assert (status, sent) == (1, b"") and "the cluster has another token than this server" in said and "./lab up" in said
    assert left(server) == ["etcd-snapshot-server-1-1"]


def test_another_datastore_is_named(server: Node) -> None:
    (server.root / f"{SERVER}/db/etcd/member/wal/0.wal").unlink()
    (server.root / f"{SERVER}/db/etcd/member/wal").rmdir()
    (server.root / f"{SERVER}/db/etcd/member").rmdir()
    status, _sent, said = backup(server)
    assert status == 1 and "k3s.serverConfig.datastore-endpoint" in said


@pytest.mark.parametrize(("text", "token"), [(f"K10{'0' * 64}::server:abc\n", "abc"), ("abc\n", "abc"), ("a:b::c", "a:b::c")])
def test_token(text: str, token: str) -> None:
    assert k3s_backup.token_of(text) == token


def test_modules_are_what_the_script_starts(server: Node) -> None:
    namespace: dict[str, Any] = {"metadata": {"uid": "u", "creationTimestamp": "t"}}
    path = server.file("a", CONTENT)
    assert k3s_backup.head(str(server.root), "v1", str(path), namespace)["size"] == len(CONTENT)

"""secrets_encryption.py, and the scripts that encrypt the secrets of a cluster: k3s-encryption-prepare.sh, k3s-secrets-encrypt.sh,
k3s-encryption-key.sh."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from typing import Any

import pytest

from components.node.scripts import secrets_encryption

from .fake_node import CURL, Node

pytestmark = pytest.mark.unit
SERVER = "var/lib/rancher/k3s/server"
CONFIGURATION = f"{SERVER}/cred/encryption-config.json"
FIRST, LATER = "AES-CBC aescbckey", "AES-CBC aescbckey-2026-11-26T21:00:00Z"


def status(stage: str = "start", *, enable: bool | None = True, key: str = "", match: bool = True, **more: Any) -> dict[str, Any]:
    """As Go writes it: what is empty or false is left out."""
    fields = {"hashmatch": match or None, "enable": enable, "inactivekeys": more.get("inactive")}
    return {"stage": stage, "activekey": key, **{name: value for name, value in fields.items() if value is not None}}


ENCRYPTED = status("reencrypt_finished", key=LATER)
IDENTITY = status(enable=False)
STATES: list[tuple[str, dict[str, Any]]] = [
    ("off", {"stage": "", "activekey": ""}),
    ("encrypted aescbckey", status(key=FIRST)),
    ("encrypted secretboxkey", status(key="XSalsa20-POLY1305 secretboxkey")),
    ("encrypted aescbckey-2026-11-26T21:00:00Z", ENCRYPTED),
    ("encrypted aescbckey-2026-11-26T21:00:00Z", {**ENCRYPTED, "hashmatch": False, "hasherror": "hash does not match"}),
    ("interrupted aescbckey-2026-11-26T21:00:00Z", status(key=LATER)),
    ("running aescbckey-2026-11-26T21:00:00Z", status("reencrypt_active", key=LATER)),
    ("running", status("reencrypt_active", enable=False)),
    ("identity", IDENTITY),
    ("waiting", status(enable=False, match=False)),
    ("disabled", status("reencrypt_finished", enable=False, inactive=[FIRST])),
    ("by-hand aescbckey", status("prepare", key=FIRST, inactive=[LATER])),
]


@pytest.mark.parametrize(("words", "given"), STATES, ids=[f"{row[0]} {row[1]['stage']}" for row in STATES])
def test_what_k3s_says_of_it_in_a_word(words: str, given: dict[str, Any]) -> None:
    assert secrets_encryption.described(given).strip() == words


# `status` says what the next of the files status-1, status-2, … has, the last one again and again. `rotate-keys` and `enable`
# succeed where the files rotates and enables are.
K3S = r"""#!/bin/bash
echo "$*" >> "$STUB/k3s.log"
case "$1 $2" in
  "--version ") cat "$STUB/version" ;;
  "secrets-encrypt status")
    number=$(($(cat "$STUB/number" 2> /dev/null || echo 0) + 1))
    [[ -e $STUB/status-$number ]] || number=$((number - 1))
    echo "$number" > "$STUB/number"
    [[ -s $STUB/status-$number ]] || exit 1
    cat "$STUB/status-$number" ;;
  "secrets-encrypt rotate-keys")
    [[ ! -e $STUB/rotates ]] || exit 0
    echo "FATA[0090] context deadline exceeded (Client.Timeout exceeded while awaiting headers)" >&2
    exit 1 ;;
  "secrets-encrypt enable")
    file=$ROOT/var/lib/rancher/k3s/server/cred/encryption-config.json
    [[ ! -e $file ]] || { echo "FATA[0000] Error: EOF" >&2; exit 1; }
    if [[ -e $STUB/late ]]; then
      rm "$STUB/late"
      mkdir -p "${file%/*}"
      echo identity > "$file"
      echo "FATA[0010] context deadline exceeded (Client.Timeout exceeded while awaiting headers)" >&2
      exit 1
    fi
    [[ -e $STUB/enables ]] || { echo "FATA[0000] Error: see server log for details" >&2; exit 1; }
    mkdir -p "${file%/*}"
    echo identity > "$file" ;;
  "kubectl get") echo '{"kind": "List", "items": ["s3cr3t"]}' ;;
  "kubectl replace")
    cat > "$STUB/replaced"
    refusals=$(cat "$STUB/refusals" 2> /dev/null || echo 0)
    ((refusals == 0)) || { echo $((refusals - 1)) > "$STUB/refusals"; echo "the object has been modified" >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def server(node: Node) -> Node:
    node.command("k3s", K3S)
    node.file(f"{SERVER}/db/etcd/name", "server-1-0a1b")
    node.file(f"{SERVER}/cred/passwd", "x,server,server,k3s:server")
    (node.stub / "version").write_text("k3s version v1.36.4+k3s1 (0)\n")
    (node.stub / "active").write_text("active\n")
    return node


def says(node: Node, *statuses: dict[str, Any] | None) -> None:
    """What K3s says one time after another; None: it does not answer."""
    for number, given in enumerate(statuses, start=1):
        (node.stub / f"status-{number}").write_text("" if given is None else json.dumps(given))


def commands(node: Node) -> list[str]:
    log = node.stub / "k3s.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [" ".join(line.split()[:2]) for line in lines if not line.startswith(("--version", "secrets-encrypt status"))]


def encrypt(node: Node, limit: int = 30, **env: str) -> subprocess.CompletedProcess[str]:
    node.file(CONFIGURATION, "key")
    done = node.run("k3s-secrets-encrypt", LIMIT_SECONDS=str(limit), POLL_SECONDS="0.1", **env)
    assert "s3cr3t" not in done.stdout + done.stderr
    return done


ENDED = f"encrypted={hashlib.sha256(b'key').hexdigest()}\n"


# --- before the option is given to a cluster that is there


def prepare(node: Node, limit: int = 2) -> subprocess.CompletedProcess[str]:
    return node.run("k3s-encryption-prepare", LIMIT_SECONDS=str(limit), POLL_SECONDS="0.1")


def test_a_new_cluster_makes_its_key_itself(node: Node) -> None:
    node.command("k3s", K3S)
    assert prepare(node).stdout == "prepared=new\n"
    assert commands(node) == []


def test_a_cluster_with_a_key_is_left_alone(server: Node) -> None:
    server.file(CONFIGURATION, "key")
    (server.stub / "version").write_text("k3s version v1.27.8+k3s2 (0)\n")
    assert prepare(server).stdout == "prepared=before\n"
    assert commands(server) == []


def test_a_cluster_without_one_is_prepared_once(server: Node) -> None:
    (server.stub / "enables").touch()
    assert prepare(server).stdout == "prepared=now\n"
    assert commands(server) == ["secrets-encrypt enable"]
    assert prepare(server).stdout == "prepared=before\n"


def test_a_request_that_k3s_answers_too_late_is_made_again(server: Node) -> None:
    """Its file is there already, and with it the next request would end in a panic of K3s's."""
    (server.stub / "enables").touch()
    (server.stub / "late").touch()
    assert prepare(server).stdout == "prepared=now\n"
    assert commands(server) == ["secrets-encrypt enable"] * 2


def test_a_request_that_was_cut_off_is_made_again(server: Node) -> None:
    """K3s had written its file, and may not have stored it for the other servers."""
    (server.stub / "late").touch()
    assert prepare(server, limit=0).returncode == 1
    assert (server.root / CONFIGURATION).read_text() == "identity\n"
    (server.stub / "enables").touch()
    assert prepare(server).stdout == "prepared=now\n"
    assert commands(server) == ["secrets-encrypt enable"] * 2
    assert prepare(server).stdout == "prepared=before\n"


def test_a_key_that_k3s_uses_is_left_alone_whatever_was_cut_off(server: Node) -> None:
    (server.stub / "late").touch()
    assert prepare(server, limit=0).returncode == 1
    server.file("etc/rancher/k3s/config.yaml", "secrets-encryption: true\n")
    assert prepare(server).stdout == "prepared=before\n"
    assert (server.root / CONFIGURATION).read_text() == "identity\n"


@pytest.mark.parametrize(
    ("version", "able"),
    [
        ("v1.27.8+k3s2", False), ("v1.32.13+k3s1", False), ("v1.33.9+k3s1", False), ("v1.33.10+k3s1", True),
        ("v1.34.5+k3s1", False), ("v1.34.6+k3s1", True), ("v1.35.2+k3s1", False), ("v1.35.3+k3s1", True),
        ("v1.36.0+k3s1", True), ("v1.40.1+k3s1", True),
    ],
)  # fmt: skip
def test_a_release_that_cannot_is_refused_before_anything_is_changed(server: Node, version: str, able: bool) -> None:
    (server.stub / "enables").touch()
    (server.stub / "version").write_text(f"k3s version {version} (0)\n")
    done = prepare(server)
    assert (done.returncode == 0) == able, done.stderr
    if not able:
        assert f"K3s {version} cannot encrypt the secrets of a cluster that it began without: upgrade it to" in done.stderr
        assert commands(server) == []


def test_k3s_must_run(server: Node) -> None:
    (server.stub / "active").write_text("failed\n")
    done = prepare(server)
    assert done.returncode == 1 and "K3s does not run on this server" in done.stderr
    (server.stub / "version").write_text("")
    done = prepare(server)
    assert done.returncode == 1 and "K3s is not installed here, and this server has a cluster's data" in done.stderr


def test_k3s_that_refuses_is_named_with_its_words(server: Node) -> None:
    done = prepare(server)
    assert done.returncode == 1
    assert (
        "K3s has not prepared the encryption of secrets within 2 s" in done.stderr and "see server log for details" in done.stderr
    )


# --- once all servers have it


def test_a_cluster_that_began_encrypted_has_nothing_to_do(server: Node) -> None:
    says(server, status(key=FIRST))
    assert encrypt(server).stdout == ENDED
    assert commands(server) == []


def test_a_cluster_gets_its_first_key(server: Node) -> None:
    """K3s does not answer at once, its other servers say later that they have the option, and rewriting takes a while."""
    says(server, None, status(enable=False, match=False), IDENTITY, status("reencrypt_active", key=LATER), ENCRYPTED)
    (server.stub / "rotates").touch()
    done = encrypt(server)
    assert done.stdout == ENDED, done.stderr
    assert commands(server) == ["secrets-encrypt rotate-keys"]


def test_a_command_that_ends_too_early_is_not_given_again(server: Node) -> None:
    """K3s gives it 90 s and continues, which an emulated server needs."""
    says(server, IDENTITY, IDENTITY, status("reencrypt_active", key=LATER), ENCRYPTED)
    done = encrypt(server)
    assert done.stdout == ENDED, done.stderr
    assert commands(server) == ["secrets-encrypt rotate-keys"]
    assert "context deadline exceeded" in done.stderr


def test_what_was_cut_off_is_written_again_once(server: Node) -> None:
    says(server, status(key=LATER))
    (server.stub / "refusals").write_text("1")
    done = encrypt(server)
    assert done.stdout == ENDED, done.stderr
    assert commands(server).count("kubectl replace") == 2, "an object that changed meanwhile is read again"
    assert "attempt 1: the object has been modified" in done.stderr
    (server.stub / "k3s.log").unlink()
    assert encrypt(server).stdout == ENDED
    assert commands(server) == []


def test_a_rewriting_that_does_not_end_is_done_without_k3s(server: Node) -> None:
    says(server, status("reencrypt_active", key=LATER))
    done = encrypt(server, HANG_SECONDS="0")
    assert done.stdout == ENDED, done.stderr
    assert commands(server) == ["kubectl get", "kubectl replace"] or commands(server) == ["kubectl replace", "kubectl get"]


def test_what_cannot_be_written_is_an_error(server: Node) -> None:
    says(server, status(key=LATER))
    (server.stub / "refusals").write_text("9")
    done = encrypt(server)
    assert done.returncode == 1 and "not all secrets could be written again" in done.stderr


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"stage": "", "activekey": ""}, "K3s runs without secrets-encryption on this server"),
        (status("start", enable=False, inactive=[FIRST]), "the encryption of secrets was disabled on this server"),
        (status("rotate", key=FIRST), "a rotation of the secrets' keys is half done"),
        (None, "the secrets are not all encrypted after 1 s (last seen: silent)"),
        (status(enable=False, match=False), "the secrets are not all encrypted after 1 s (last seen: waiting)"),
    ],
)
def test_what_stands_in_the_way_is_named(server: Node, given: dict[str, Any] | None, text: str) -> None:
    says(server, given)
    done = encrypt(server, 1)
    assert (done.returncode, done.stdout) == (1, "") and text in done.stderr
    assert commands(server) == []


# --- the other servers


@pytest.fixture
def other(server: Node) -> Node:
    server.command("curl", CURL)
    (server.stub / "api").touch()
    (server.stub / "invocation").write_text("before\n")
    return server


def take(node: Node, limit: int = 20, stdin: str = ENDED) -> subprocess.CompletedProcess[str]:
    return node.run("k3s-encryption-key", stdin=stdin, LIMIT_SECONDS=str(limit), POLL_SECONDS="0.1")


def test_a_server_that_has_the_key_is_not_restarted_and_writes_the_secrets_once(other: Node) -> None:
    """It may have taken the key with a restart of its own, and has stored secrets as they are until then."""
    other.file(CONFIGURATION, "key")
    assert take(other).stdout == "key=there\n"
    assert sorted(commands(other)) == ["kubectl get", "kubectl replace"]
    (other.stub / "k3s.log").unlink()
    assert take(other).stdout == "key=there\n"
    assert (commands(other), other.restarts()) == ([], 0)


@pytest.mark.parametrize("former", ["identity", None])
def test_a_server_takes_the_key_with_a_restart(other: Node, former: str | None) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    other.file("etc/rancher/k3s/k3s.yaml", f"    server: https://127.0.0.1:{listening.getsockname()[1]}\n")
    if former is not None:
        other.file(CONFIGURATION, former)
    done = take(other)
    assert (done.returncode, done.stdout) == (0, "key=taken\n"), done.stderr
    assert other.restarts() == 1
    assert sorted(commands(other)) == ["kubectl get", "kubectl replace"], "it has stored secrets as they are until now"
    assert "the keys are others than those of the first server had been" in done.stderr, "the stand-in takes none"


def test_secrets_that_could_not_be_written_after_the_restart_are_written_by_the_next_run(other: Node) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    other.file("etc/rancher/k3s/k3s.yaml", f"    server: https://127.0.0.1:{listening.getsockname()[1]}\n")
    (other.stub / "refusals").write_text("3")
    done = take(other)
    assert done.returncode == 1 and "not all secrets could be written again" in done.stderr
    other.file(CONFIGURATION, "key")  # which K3s has taken with the restart
    (other.stub / "k3s.log").unlink()
    assert take(other).stdout == "key=there\n"
    assert sorted(commands(other)) == ["kubectl get", "kubectl replace"]
    (other.stub / "k3s.log").unlink()
    assert take(other).stdout == "key=there\n"
    assert (commands(other), other.restarts()) == ([], 1)


def test_a_server_that_does_not_come_back_is_an_error(other: Node) -> None:
    (other.stub / "api").unlink()
    done = take(other, 1)
    assert done.returncode == 1 and "K3s does not work 1 s after its restart for the key" in done.stderr


@pytest.mark.parametrize("stdin", ["", "encrypted=\n", "nothing\n"])
def test_without_the_first_server_s_word_nothing_is_done(other: Node, stdin: str) -> None:
    done = take(other, stdin=stdin)
    assert done.returncode == 1 and "stdin must be what the first server has printed" in done.stderr
    assert other.restarts() == 0

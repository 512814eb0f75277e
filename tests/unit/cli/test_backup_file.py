"""The file of a backup, its key, and what is refused of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import backup_file, data_key, engine, restore_checks
from cli.backup_file import CHUNK, Content, Header, Reader, Writer
from cli.errors import LabError
from cli.restore_checks import Running

pytestmark = pytest.mark.unit

KEY = bytes(range(32))
HEADER = Header(
    owner="k3s-macvlan/dev",
    cluster="5d1c1ef8-0000-4000-8000-000000000000",
    founded="2026-11-01T10:00:00Z",
    identity="0123456789abcdef",
    release="v1.36.3+k3s1",
    date="2026-11-26T21:00:00Z",
    key="config: {}\n",
    nonce=backup_file.new_nonce(),
)


def content(snapshot: bytes, **changed: Any) -> Content:
    known: dict[str, Any] = {
        "token": "s3cr3t",
        "agent_token": "s3cr3t-agents",
        "config": "cluster-cidr: 10.42.0.0/16\nservice-cidr: 10.43.0.0/16\n",
        "settings": "config: {}\n",
        "encrypted": False,
        "size": len(snapshot),
        "sha256": hashlib.sha256(snapshot).hexdigest(),
    }
    return Content(**{**known, **changed})


def written(snapshot: bytes, *, parts: int = 1 << 16, header: Header = HEADER) -> bytes:
    file = io.BytesIO()
    with Writer(file, header, KEY) as writer:
        writer.line(content(snapshot))
        for begin in range(0, len(snapshot), parts):
            writer.write(snapshot[begin : begin + parts])
    return file.getvalue()


def read(data: bytes, key: bytes = KEY) -> tuple[Content, bytes]:
    file = io.BytesIO(data)
    reader = Reader(file, "FILE", backup_file.read_header(file, "FILE"), key)
    return reader.content, b"".join(reader.snapshot())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 500, CHUNK, 3 * CHUNK, 2 * CHUNK + 77])
def test_what_was_written_is_read(size: int) -> None:
    snapshot = os.urandom(size)
    found, back = read(written(snapshot))
    assert back == snapshot and found == content(snapshot)


def test_a_content_that_fills_its_last_chunk_is_read() -> None:
    """Where the end of the content is the end of a chunk, that chunk is the last, and none follows."""
    line = len(written(b"y" * CHUNK)) - len(written(b"")) - 16
    assert line == CHUNK + len(str(CHUNK)) - 1
    sizes = range(CHUNK - 1000, CHUNK)
    full = [size for size in sizes if (len(json.dumps(asdict(content(b"y" * size)))) + 1 + size) % CHUNK == 0]
    assert len(full) == 1
    assert read(written(b"y" * full[0]))[1] == b"y" * full[0]


def test_nothing_of_the_content_is_readable() -> None:
    data = written(b"the Secret of somebody" * 1000)
    assert b"Secret" not in data and b"s3cr3t" not in data and b"10.42" not in data
    assert b'"owner": "k3s-macvlan/dev"' in data
    assert "s3cr3t" not in repr(content(b""))


def test_memory_stays_bounded() -> None:
    """The writer holds back a chunk at most, whatever comes at once or bit by bit."""
    file = io.BytesIO()
    with Writer(file, HEADER, KEY) as writer:
        writer.line(content(b""))
        for _ in range(50):
            writer.write(b"z" * (CHUNK // 10))
            assert len(writer._waiting) <= CHUNK


SEALED = written(os.urandom(2 * CHUNK + 1000))
BODY = SEALED.index(b"}\n") + 2


@pytest.mark.parametrize(
    "damaged",
    [
        SEALED[:-1],
        SEALED[: BODY + CHUNK + 16],
        SEALED[: BODY + 2 * (CHUNK + 16)],
        SEALED[:BODY],
        SEALED + b"x",
        SEALED[:BODY] + SEALED[BODY + CHUNK + 16 :],
        SEALED.replace(b'"release": "v1.36.3+k3s1"', b'"release": "v1.36.2+k3s1"'),
        SEALED.replace(b"k3s-macvlan/dev", b"k3s-macvlan/cat"),
    ],
    ids=["last byte", "after a chunk", "after two", "no content", "more", "a chunk missing", "release", "owner"],
)
def test_what_is_cut_off_or_altered_is_not_read(damaged: bytes) -> None:
    with pytest.raises(LabError, match=r"FILE is damaged: .*Take another backup"):
        read(damaged)


@settings(deadline=None, database=None, derandomize=True, max_examples=40)
@given(st.integers(min_value=BODY, max_value=len(SEALED) - 1), st.integers(min_value=1, max_value=255))
def test_no_byte_of_the_content_can_be_another(at: int, change: int) -> None:
    damaged = bytearray(SEALED)
    damaged[at] ^= change
    with pytest.raises(LabError, match="FILE is damaged"):
        read(bytes(damaged))


def test_another_key_reads_nothing() -> None:
    with pytest.raises(LabError, match="FILE is damaged"):
        read(SEALED, bytes(32))


def test_another_snapshot_than_the_backed_up_one_is_seen() -> None:
    file = io.BytesIO()
    with Writer(file, HEADER, KEY) as writer:
        writer.line(content(b"one"))
        writer.write(b"two")
    with pytest.raises(LabError, match="the snapshot in it is not the one that was backed up"):
        read(file.getvalue())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is no backup of ./lab backup"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "is no backup of ./lab backup"),
        (b"k3s-macvlan backup 2\n{}\n", "has the form 2, and this release of the program reads 1"),
        (b"k3s-macvlan backup 1\n", "its header is not whole"),
        (b"k3s-macvlan backup 1\n[1]\n", "its header is not whole"),
        (SEALED[: BODY // 2], "its header is not whole"),
        (b'k3s-macvlan backup 1\n{"owner": "x"}\n', "its header is not whole"),
    ],
)
def test_what_is_no_backup_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(LabError) as raised:
        backup_file.read_header(io.BytesIO(data), "FILE")
    assert text in str(raised.value)


# --- the key ---


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a stack `dev` in a backend of its own, as `lab` sets one, with the real pulumi."""
    try:
        engine.path()
    except LabError:
        pytest.skip("there is no pulumi")
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: k3s-macvlan\nruntime: python\n")
    (project / "Pulumi.dev.yaml").write_text("config:\n  k3s-macvlan:k3s: {}\n")
    (tmp_path / "passphrase").write_text("of the test\n")
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'state'}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setenv("PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER", "true")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
    before = (project / "Pulumi.dev.yaml").read_text()
    subprocess.run([engine.path(), "stack", "init", "--no-select", "dev"], cwd=project, check=True, capture_output=True)
    (project / "Pulumi.dev.yaml").write_text(before)  # as `lab`, which keeps the salt in the state
    monkeypatch.setattr(data_key, "ROOT", project)
    monkeypatch.setattr(data_key, "stack_file", lambda stack: project / f"Pulumi.{stack}.yaml")
    return tmp_path


def test_the_passphrase_is_enough_where_the_state_is_lost(backend: Path) -> None:
    key = data_key.make()
    text = data_key.wrap("k3s-macvlan", "dev", key)
    assert "encryptionsalt" in yaml.safe_load(text) and "of the test" not in text
    assert (backend / "project/Pulumi.dev.yaml").read_text() == "config:\n  k3s-macvlan:k3s: {}\n"
    assert data_key.unwrap("k3s-macvlan", "dev", text) == key
    shutil.rmtree(backend / "state")
    assert data_key.unwrap("k3s-macvlan", "dev", text) == key
    (backend / "passphrase").rename(backend / "former")
    (backend / "passphrase").write_text("another\n")
    with pytest.raises(LabError, match=r"cannot be decrypted: .*incorrect passphrase.*--passphrase-file FILE"):
        data_key.unwrap("k3s-macvlan", "dev", text)
    assert data_key.unwrap("k3s-macvlan", "dev", text, str(backend / "former")) == key
    assert not (backend / "state").exists()


def test_the_key_is_in_no_argument_and_no_file(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    run = subprocess.run

    def recorded(words: list[str], **options: Any) -> Any:
        calls.append(words)
        return run(words, **options)

    monkeypatch.setattr(subprocess, "run", recorded)
    key = data_key.make()
    data_key.wrap("k3s-macvlan", "dev", key)
    sent = {key.hex(), base64.b64encode(key).decode()}
    assert calls and not any(text in " ".join(words) for words in calls for text in sent)


def test_a_key_that_is_none_is_refused(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = data_key.wrap("k3s-macvlan", "dev", b"short")
    with pytest.raises(LabError, match="its key is none"):
        data_key.unwrap("k3s-macvlan", "dev", text)


# --- what is refused ---


def reasons(header: Header, version: str = "v1.36.3+k3s1", owner: str = "k3s-macvlan/dev", *, other: bool = False) -> str:
    return " | ".join(restore_checks.of_header(header, owner, version, other_cluster=other))


def test_its_own_stack_takes_it() -> None:
    assert reasons(HEADER) == "" == reasons(HEADER, "v1.36.4+k3s1")
    assert reasons(replace(HEADER, release="v1.35.9+k3s1")) == ""


def test_another_stack_s_is_taken_only_where_that_is_said() -> None:
    assert "it is of the stack k3s-macvlan/dev, and this one is k3s-macvlan/cn" in reasons(HEADER, owner="k3s-macvlan/cn")
    assert reasons(HEADER, owner="k3s-macvlan/cn", other=True) == ""


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("v1.36.2+k3s1", "k3s.version = v1.36.2+k3s1 is older"),
        ("v1.35.9+k3s1", "set k3s.version to v1.36.3+k3s1"),
        ("v1.38.0+k3s1", "skips minor releases after that"),
    ],
)
def test_a_release_that_cannot_read_it_is_refused(version: str, text: str) -> None:
    assert text in reasons(HEADER, version) and text in reasons(HEADER, version, other=True)


def running(**changed: str) -> str:
    known = Running(**{"cluster": "another", "founded": "2026-10-01T00:00:00Z", "identity": "fedcba9876543210", **changed})
    return " | ".join(restore_checks.of_running(HEADER, known, other_cluster=False))


def test_a_cluster_that_was_there_before_is_another_one() -> None:
    assert "it is of another cluster than the one that runs here" in running()
    assert not list(restore_checks.of_running(HEADER, Running(cluster="another", founded="2026-10-01"), other_cluster=True))


def test_the_same_cluster_and_the_one_that_follows_its_loss_take_it() -> None:
    assert running(cluster=HEADER.cluster) == ""
    assert running(identity=HEADER.identity) == ""
    assert running(founded="2026-11-26T22:00:00Z") == "", "it began after the backup"
    assert running(cluster="") == "", "nothing answers"
    assert not list(restore_checks.of_running(replace(HEADER, identity=""), Running(), other_cluster=False))


WANTED = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "token": ""}


def lacks(wanted: dict[str, Any], **changed: Any) -> str:
    return " | ".join(restore_checks.of_content(content(b"", **changed), {**WANTED, **wanted}))


def test_what_a_cluster_keeps_must_be_in_the_settings() -> None:
    assert lacks({}) == "" == lacks({"disable": ["traefik"]})
    assert "its cluster has service-cidr = 10.43.0.0/16, and k3s.serviceCidr gives 10.99.0.0/16" in lacks(
        {"service-cidr": "10.99.0.0/16"}
    )
    assert "cluster-domain = K3s's default, and k3s.serverConfig.cluster-domain gives home" in lacks({"cluster-domain": "home"})
    assert "datastore-endpoint" in lacks({"datastore-endpoint": "mysql://"})


def test_encrypted_secrets_need_the_setting() -> None:
    assert "set secrets-encryption: true" in lacks({}, encrypted=True)
    assert lacks({"secrets-encryption": True}, encrypted=True) == ""
    assert "without k3s.hardened and secrets-encryption" in lacks({"secrets-encryption": True})

"""Locks of the state: which of them nobody holds any more."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import backend, locks

pytestmark = pytest.mark.unit

HERE = socket.gethostname()


class State:
    """A file backend's directory with locks of the stack p/dev."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lock(self, pid: int, name: str = "one", **other: Any) -> Path:
        content = {
            "pid": pid,
            "username": "me",
            "hostname": HERE,
            "timestamp": datetime.now(UTC).isoformat(),
            **other,
        }
        path = locks.folder(self.path, "p", "dev") / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Any]:
    """Starts a process under a name."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "", program)
        started.append(subprocess.Popen([program, "60"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_lock_of_a_process_that_was_killed_is_removed_and_said(state: State, sleeper: Any) -> None:
    process = sleeper("pulumi")
    path, other = state.lock(process.pid), state.lock(process.pid, "other")
    assert all("is locked" in line for line in locks.release(state.path, "p", "dev"))
    process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 5
    while "Z" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2] and time.monotonic() < end:
        time.sleep(0.01)
    assert [line.partition(",")[0] for line in locks.release(state.path, "p", "dev")] == [
        "removed a lock of the state of stack dev"
    ] * 2
    assert not path.exists() and not other.exists()
    process.wait()
    state.lock(process.pid)
    messages = locks.release(state.path, "p", "me/dev")
    assert messages[0].startswith("removed") and f"me@{HERE} (process {process.pid})" in messages[0] and not path.exists()


@pytest.mark.parametrize("name", ["pulumi", ".pulumi-wrapped"])
def test_the_lock_of_a_pulumi_that_runs_stays_with_the_command(state: State, sleeper: Any, name: str) -> None:
    """Also of one whose program a wrapper has started, as nixpkgs' does."""
    path = state.lock(sleeper(name).pid)
    (message,) = locks.release(state.path, "p", "dev")
    assert message.endswith("./lab pulumi cancel -s dev") and path.exists()


def test_the_number_of_a_process_that_is_another_by_now_is_no_lock(state: State, sleeper: Any) -> None:
    assert locks.release(state.path, "p", "dev") == []
    path = state.lock(sleeper("pulumi").pid, timestamp="2020-01-01T10:00:00.123456789+02:00")
    assert locks.release(state.path, "p", "dev")[0].startswith("removed") and not path.exists(), "it began after its lock"


@pytest.mark.parametrize("host", ["elsewhere", HERE.upper() + "x", ""])
def test_the_lock_of_another_host_stays(state: State, host: str) -> None:
    path = state.lock(2**22 + 1, hostname=host)
    (message,) = locks.release(state.path, "p", "dev")
    assert f"me@{host} " in message and "./lab pulumi cancel -s dev" in message and path.exists()


def test_another_stack_s_locks_are_not_looked_at(state: State) -> None:
    path = state.lock(2**22 + 1)
    assert locks.release(state.path, "p", "cn") == locks.release(state.path, "q", "dev") == [] and path.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": 1}', '{"pid": "x", "username": 1, "hostname": 2, "timestamp": 3}', "\0"])
def test_what_is_no_lock_stays_with_the_command(state: State, text: str) -> None:
    path = state.lock(1)
    path.write_text(text)
    (message,) = locks.release(state.path, "p", "dev")
    assert str(path) in message and message.endswith(f"remove it if no other run is under way: rm {path}")
    assert path.read_text() == text


def test_a_damaged_lock_hides_no_other_and_its_command_is_one(tmp_path: Path) -> None:
    state = State(tmp_path / "a b")
    state.lock(1, "damaged").write_text("")
    path = state.lock(2**22 + 1, "dead")
    damaged, removed = locks.release(state.path, "p", "dev")
    assert shlex.split(damaged.rpartition("way: ")[2]) == ["rm", str(path.with_name("damaged.json"))]
    assert removed.startswith("removed") and not path.exists()


def test_what_cannot_be_seen_counts_as_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    """A process of another user, where /proc hides those."""
    lock = locks.parse(tmp_path, state.lock(77).read_text())

    def denied(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", denied)
    monkeypatch.setattr(locks, "PROC", tmp_path / "proc")
    assert not locks.is_dead(lock)
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/77/stat").write_text("77 (pulumi")
    assert not locks.is_dead(lock)


@pytest.mark.parametrize(
    ("name", "state_", "later", "dead"),
    [
        ("pulumi", "S", -10, False),
        ("pulumi", "S", 3, False),  # within what clocks may be off
        ("pulumi", "S", 30, True),
        ("pulumi", "Z", -10, True),
        (".pulumi-wrapped", "S", -10, False),
        ("a) Z (pulumi", "S", -10, False),
        ("a) S (pulumi", "Z", -10, True),
    ],
)
def test_by_state_and_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, name: str, state_: str, later: int, dead: bool
) -> None:
    lock = locks.parse(tmp_path, state.lock(77, timestamp="2026-11-26T10:00:00Z").read_text())
    began = int(lock.made) + later
    proc = tmp_path / "proc"
    (proc / "77").mkdir(parents=True)
    (proc / "stat").write_text(f"cpu 1\nbtime {began - 100}\n")
    ticks = 100 * os.sysconf("SC_CLK_TCK")
    (proc / "77/stat").write_text(f"77 ({name}) {state_} " + " ".join(["0"] * 18) + f" {ticks} 0\n")
    monkeypatch.setattr(locks, "PROC", proc)
    assert locks.is_dead(lock) == dead


@pytest.mark.parametrize("url", ["file://{home}/kept", "file://~/kept", "file://~/kept?no_tmp_dir=true", "file://kept"])
@pytest.mark.parametrize("by", ["variable", "login"])
def test_the_locks_of_a_directory_that_the_user_chose_are_released_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, by: str
) -> None:
    path = State(tmp_path / "kept").lock(4194305)  # a number that no process has: PID_MAX_LIMIT is 2^22
    url = url.format(home=tmp_path)
    for name in ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "PULUMI_CREDENTIALS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    monkeypatch.chdir(tmp_path)
    if by == "variable":
        monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    else:
        (tmp_path / "pulumi").mkdir()
        (tmp_path / "pulumi/credentials.json").write_text(json.dumps({"current": url, "accounts": {}}))
    locks.release_and_report(backend.Backend(project="p", local=False), "dev")
    assert not path.exists()
    assert "removed a lock of the state of stack dev" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["https://api.pulumi.com", "s3://bucket", ""])
def test_another_backend_s_locks_are_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_CREDENTIALS_PATH", raising=False)
    assert backend.directory(backend.Backend(project="p", local=False)) is None

"""No step of a custom resource is silent: while it waits, its innermost block says what for."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pulumi.dynamic import ConfigureRequest

from components.custom import page_check, reporting
from components.custom.reporting import progress
from components.libvirt import connection
from components.libvirt.artifact_disk import ArtifactDiskProvider
from components.libvirt.connection import HypervisorError

pytestmark = pytest.mark.unit

Wait = Callable[[str], None]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wait]:
    """heard(text) returns when the text has been said; the interval is short, and speaking is allowed."""
    messages: list[str] = []
    something = threading.Condition()

    def say(text: str) -> None:
        with something:
            messages.append(text)
            something.notify_all()

    def wait(text: str) -> None:
        with something:
            begun = len(messages)
            assert something.wait_for(lambda: any(line.startswith(text) for line in messages[begun:]), timeout=30), messages

    monkeypatch.setattr(reporting, "SAY_EVERY", 0.01)
    monkeypatch.setattr(reporting, "say", say)
    monkeypatch.setattr(reporting._Speech, "allowed", False)
    yield wait


def configure(provider: Any) -> None:
    provider.configure(ConfigureRequest(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", [ArtifactDiskProvider, page_check.HttpProofProvider])
def test_the_innermost_block_speaks_and_then_the_outer_one_again(
    heard: Wait, provider: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traceback, "format_exc", traceback.format_exc)  # put back at the end
    configure(provider())
    done = 1
    with progress(lambda: "outer"):
        heard("outer, 0 s")
        with progress(lambda: f"{done} of 2"):
            heard("1 of 2")
            done = 2
            heard("2 of 2")
        heard("outer")


def test_after_a_failure_nothing_speaks(heard: Wait) -> None:
    reporting.speak_up()
    with pytest.raises(HypervisorError), progress(lambda: "outer"):
        heard("outer")
        raise HypervisorError("broken")
    assert reporting._Speech.here.texts == []


def test_outside_the_provider_process_nothing_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "SAY_EVERY", 0.001)
    monkeypatch.setattr(reporting._Speech, "allowed", False)
    before = threading.active_count()
    with progress(lambda: "outer"):
        assert threading.active_count() == before
    assert capsys.readouterr().out == ""


def test_a_proof_that_waits_says_for_what(heard: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(_url: str, title: str, _limit: float) -> tuple[int, str]:
        heard("asking for http://192.168.122.200/")
        return 200, title

    monkeypatch.setattr(page_check, "prove", prove)
    configure(page_check.HttpProofProvider())
    page_check.HttpProofProvider().create({"url": "http://192.168.122.200/", "title": "t", "limit": 1, "required": True})


def test_whatever_libvirt_does_is_reported(heard: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    reporting.speak_up()

    class Connection:
        def close(self) -> None:
            """Nothing to close."""

    monkeypatch.setattr(connection, "opener", lambda _uri: Connection())
    with connection.connect("qemu:///system"):
        heard("libvirt (qemu:///system) is at work")

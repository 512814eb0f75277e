"""Another login key comes onto a machine by the former one, and only where it is another."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi import Output, ResourceHookArgs
from pulumi.runtime import Settings, configure

from components.machine import key_arrival
from components.node import command
from components.node.keys import public_key

pytestmark = pytest.mark.unit

LINE = "ssh-ed25519 AAAAnew k3s-macvlan/dev"


def private() -> str:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()


FORMER, NEW, STRANGE = private(), private(), private()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ssh in front of PATH: a machine that accepts the key in the file `accepted`, and writes down what it is sent."""
    for name in ("ssh-agent", "ssh-add"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nssh-add -L | grep -qFf {tmp_path}/accepted || {{ echo 'Permission denied (publickey).' >&2; exit 255; }}\n"
        f'for word; do last=$word; done; echo "$last" >> {tmp_path}/ran; cat > {tmp_path}/sent\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(pulumi.log, "info", lambda _text: None)
    return tmp_path


def accepts(node: Path, key: str) -> None:
    (node / "accepted").write_text(public_key(key) + "\n")


def connection(key: str) -> dict[str, Any]:
    return {"host": "192.168.122.180", "port": 22.0, "user": "ubuntu", "hostKey": "ssh-ed25519 AAAA k3s", "privateKey": key}


def updated(former: str, wanted: str) -> None:
    """The hook, before the first command on server-1 is updated."""

    async def story() -> None:
        # The SDK hands secrets to a hook as outputs.
        configure(Settings(project="p", stack="s"))
        arguments = ResourceHookArgs(
            urn="",
            id="",
            name="server-1-answers",
            type="",
            old_inputs={"connection": Output.secret(connection(former)), "create": "true"},
            new_inputs={"connection": Output.secret(connection(wanted)), "create": "true"},
        )
        hook = key_arrival.key_arrival_hook("arrives", Output.from_input(LINE))
        done = hook(arguments)
        assert done is not None
        await done

    asyncio.run(story())


@pytest.fixture(autouse=True)
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hook:
        def __init__(self, _name: str, callback: Any) -> None:
            self.callback = callback

        def __call__(self, args: ResourceHookArgs) -> Any:
            return self.callback(args)

    monkeypatch.setattr(key_arrival, "ResourceHook", Hook)


def test_the_new_key_is_given_by_the_former_one(node: Path) -> None:
    accepts(node, FORMER)
    updated(FORMER, NEW)
    assert (node / "sent").read_text() == command.text("login-key.sh") + f"{LINE}\n"
    ran = (node / "ran").read_text()
    assert "ACTION=add" in ran and "USER_NAME=ubuntu" in ran and ran.count("login-key.sh") >= 1
    assert "PRIVATE" not in ran + (node / "sent").read_text()


def test_a_key_that_stays_is_given_to_nobody(node: Path) -> None:
    accepts(node, FORMER)
    updated(FORMER, FORMER)
    assert not (node / "ran").exists()


def test_a_machine_that_has_it_already_is_left_as_it_is(node: Path) -> None:
    """A run that was cut off has given it, and the former one was taken away by hand."""
    accepts(node, NEW)
    updated(FORMER, NEW)
    assert (node / "ran").exists()


def test_a_machine_that_accepts_neither_says_what_to_do(node: Path) -> None:
    accepts(node, STRANGE)
    with pytest.raises(RuntimeError, match=r"server-1 at 192\.168\.122\.180 cannot be given.*Permission denied.*--replace") as said:
        updated(FORMER, NEW)
    assert LINE in str(said.value) and "PRIVATE" not in str(said.value)


def test_without_an_ssh_client_it_says_so(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(node / "nothing"))
    with pytest.raises(RuntimeError, match="apt install openssh-client"):
        updated(FORMER, NEW)

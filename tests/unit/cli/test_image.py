"""`./lab image`: what it says and hands on; libvirt's part is in tests/provider/test_image_store.py."""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as command
from cli import command_line, images, needs
from cli import stack as stacks
from cli.errors import LabError
from cli.images import Image
from cli.verbs import image, status
from components.config.pool_plan import image_pool
from components.libvirt import connection, image_store
from components.libvirt.connection import HypervisorError
from components.machine.image_recipe import recipe

pytestmark = pytest.mark.unit

PATH = "/var/lib/libvirt/images/k3s_macvlan_images/prepared-0123.qcow2"


def options(*words: str) -> argparse.Namespace:
    return command_line.parse(["-s", "dev", "image", *words])


@pytest.fixture(autouse=True)
def no_hypervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connect(uri: str) -> Iterator[str]:
        yield uri

    monkeypatch.setattr(connection, "connect", connect)


def found(**change: Any) -> Image:
    given = {"hypervisor": "local", "path": PATH, "size": 3 << 29, "over": (), "whole": True}
    return Image(**{**given, **change})


def test_it_does_one_thing_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--list", "--remove")
    assert "not allowed with" in capsys.readouterr().err


def test_it_needs_what_up_needs() -> None:
    assert needs.of(options()).packages == needs.of(command_line.parse(["up"])).packages


def test_the_list_says_what_is_over_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there = [found(over=("/a", "/b")), found(whole=False)]
    monkeypatch.setattr(image, "stored", lambda _pools: there)
    assert image.main(options("--list")) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"local  {PATH}  1.5 GiB  2 over it",
        f"local  {PATH}  1.5 GiB  nothing is over it, not made to its end",
    ]


def test_what_stays_is_said_with_its_disks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    removed: list[tuple[str, str]] = []
    stored = image_store.StoredImage(name="prepared-0123.qcow2", path=PATH, size=1, whole=True, over=("/disk",))
    monkeypatch.setattr(image_store, "remove_unused", lambda _connection, name, path, _say, virt_type: removed.append((name, path)))
    monkeypatch.setattr(image_store, "images", lambda _connection, _name: [stored])
    assert image.main(options("--remove")) == 0
    assert removed == [("k3s_macvlan_images", "/var/lib/libvirt/images/k3s_macvlan_images")]
    assert f"{PATH} stays: /disk over it" in capsys.readouterr().err


def test_it_makes_the_image_that_up_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Provider:
        def create(self, props: dict[str, Any]) -> Any:
            made.append(props)
            return argparse.Namespace(outs={"path": PATH})

    monkeypatch.setattr("components.libvirt.prepared_image.PreparedImageProvider", Provider)
    assert image.main(options()) == 0
    config, plan = stacks.load_settings("dev")
    wanted = recipe(config, plan, None)
    assert wanted is not None
    assert [(props["digest"], props["name"], props["pool"], props["required"]) for props in made] == [
        (wanted.digest, wanted.volume, image_pool(plan.pools[0]).name, True)
    ]


def test_with_artifacts_it_says_who_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = stacks.load_settings("dev")
    config = config.model_copy(update={"artifacts": config.artifacts.model_copy(update={"directory": "artifacts"})})
    monkeypatch.setattr(stacks, "load_settings", lambda _stack: (config, plan))
    with pytest.raises(LabError, match=r"\./lab up makes the prepared image"):
        image.main(options())


def test_with_credentials_in_a_url_it_says_which_setting_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = stacks.load_settings("dev")
    config = config.model_copy(
        update={"plugins": config.plugins.model_copy(update={"url": "https://me:pw@mirror.example/cni.tgz"})}
    )
    monkeypatch.setattr(stacks, "load_settings", lambda _stack: (config, plan))
    with pytest.raises(LabError, match=r"plugins\.url: with credentials") as error:
        image.main(options())
    assert "pw" not in str(error.value)


@pytest.mark.parametrize(
    ("hidden", "refused"),
    [
        ("k3s", True),
        ("plugins.url", True),
        ("k3s.registries.mirrors.docker.io.endpoint", True),
        ("k3s.registries.configs.r.example.auth.password", False),
        ("ssh.privateKey", False),
    ],
)
def test_settings_that_are_secrets_would_make_another_image(monkeypatch: pytest.MonkeyPatch, hidden: str, refused: bool) -> None:
    monkeypatch.setattr(stacks, "secrets_of", lambda _stack: frozenset({hidden}))
    made: list[Any] = []
    monkeypatch.setattr(image, "_make", lambda *arguments: made.append(arguments))
    if refused:
        with pytest.raises(LabError, match=f"{hidden}: a secret of the stack"):
            image.main(options())
    else:
        image.main(options())
    assert bool(made) is not refused


def test_a_hypervisor_that_has_lost_its_last_node_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = stacks.load_settings("dev")
    second = {"second": type(config.hypervisors["local"])(uri="qemu+ssh://me@second.example/system")}
    config = config.model_copy(update={"hypervisors": {**config.hypervisors, **second}})
    assert [(pool.hypervisor, pool.uri) for pool in images.all_pools(config, plan)] == [
        ("local", "qemu:///system"),
        ("second", "qemu+ssh://me@second.example/system"),
    ]
    assert images.all_pools(config, plan)[0] == images.pools(plan)[0]


@pytest.mark.parametrize("name", ["missing/node.qcow2", "full.qcow2"])
def test_a_file_that_cannot_be_written_is_an_error_with_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("LAB_CALLER", str(tmp_path))
    made: list[Any] = []
    monkeypatch.setattr(image, "_make", lambda *arguments: made.append(arguments))

    def full(*_arguments: Any, **_options: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_store, "export", full)
    with pytest.raises(LabError, match="is no directory" if "/" in name else "No space left on device"):
        image.main(options("--export", name))
    assert bool(made) is ("/" not in name), "before minutes are spent on the image"
    assert list(tmp_path.iterdir()) == []


def refuse(*_arguments: Any, **_options: Any) -> Any:
    raise HypervisorError("libvirt is not there: start it")


@pytest.mark.parametrize("words", [(), ("--list",)])
def test_what_libvirt_refuses_is_shown_as_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(image, "stored", refuse)
    monkeypatch.setattr(image, "_make", refuse)
    monkeypatch.setattr(sys, "argv", ["lab", "-s", "dev", "image", *words])
    assert command.entry() == 1
    assert "libvirt is not there: start it" in capsys.readouterr().err


def test_a_hypervisor_that_is_not_there_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _config, plan = stacks.load_settings("dev")
    one, two = image_pool(plan.pools[0]), dataclasses.replace(image_pool(plan.pools[0]), hypervisor="second")
    monkeypatch.setattr(image, "all_pools", lambda *_: [two, one])
    monkeypatch.setattr(image, "stored", lambda pools: refuse() if pools[0] is two else [found()])
    assert image.main(options("--list")) == 1
    shown = capsys.readouterr()
    assert PATH in shown.out and "second: libvirt is not there" in shown.err


def test_an_export_becomes_a_file_only_when_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_CALLER", str(tmp_path))
    monkeypatch.setattr(image, "_make", lambda *_: None)

    def cut_off(_connection: Any, _pool: str, _name: str, file: io.BufferedWriter, _said: Any, **_: Any) -> str:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(image_store, "export", cut_off)
    with pytest.raises(KeyboardInterrupt):
        image.main(options("--export", "node.qcow2"))
    assert list(tmp_path.iterdir()) == []

    def whole(_connection: Any, _pool: str, _name: str, file: io.BufferedWriter, said: Any, **_: Any) -> str:
        said(file.write(b"whole"))
        return "ab" * 32

    monkeypatch.setattr(image_store, "export", whole)
    assert image.main(options("--export", "node.qcow2")) == 0
    assert (tmp_path / "node.qcow2").read_bytes() == b"whole"
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'node.qcow2'}\n"
    assert f"image.checksum: sha256:{'ab' * 32}, image.prepare: never" in shown.err
    with pytest.raises(LabError, match="is there already"):
        image.main(options("--export", "node.qcow2"))


def test_status_has_the_images_and_does_not_fail_without_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    _config, plan = stacks.load_settings("dev")
    monkeypatch.setattr(images, "stored", lambda _pools: iter([found(over=("/a",))]))
    there, notes = status._images(plan)
    assert (there, notes) == ((found(over=("/a",)),), [])
    assert there[0].plain()["over"] == ["/a"]

    def refuse(_pools: Any) -> Any:
        raise OSError("no libvirtd")

    monkeypatch.setattr(images, "stored", refuse)
    assert status._images(plan) == ((), ["prepared images not seen: no libvirtd"])

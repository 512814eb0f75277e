"""plugins-install.sh."""

import subprocess
from pathlib import Path

import pytest

from .fake_node import BIN_DIR, CURL, PLUGIN, Node, archive

pytestmark = pytest.mark.unit


class Plugins:
    def __init__(self, node: Node, tmp_path: Path) -> None:
        self.node = node
        node.command("curl", CURL)
        self.url, self.sum = archive(tmp_path / "cni-plugins.tgz")
        self.dir = node.root / BIN_DIR.lstrip("/")
        self.dir.mkdir(parents=True)

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "ARCHIVE_URL": self.url,
            "ARCHIVE_SHA256": self.sum,
            "PLUGINS": "macvlan",
            "BIN_DIR": BIN_DIR,
            "LIMIT_SECONDS": "5",
        }
        return self.node.run("plugins-install", **given | env)

    def downloads(self) -> int:
        log = self.node.stub / "curl.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def plugins(node: Node, tmp_path: Path) -> Plugins:
    return Plugins(node, tmp_path)


def test_plugins_install_once(plugins: Plugins) -> None:
    done = plugins.run(PLUGINS="macvlan ipvlan")
    assert (done.returncode, done.stdout) == (0, f"installed=macvlan,ipvlan dir={BIN_DIR}\n"), done.stderr
    target = plugins.dir / "macvlan"
    assert target.stat().st_mode & 0o7777 == 0o755 and target.read_text() == PLUGIN
    assert sorted(p.name for p in plugins.dir.iterdir()) == ["ipvlan", "macvlan"]
    before = target.stat()
    assert plugins.run(PLUGINS="macvlan ipvlan").returncode == 0
    assert target.stat().st_ino == before.st_ino and target.stat().st_mtime_ns == before.st_mtime_ns
    assert plugins.downloads() == 1


def test_plugins_replace_while_running(plugins: Plugins) -> None:
    old = plugins.dir / "macvlan"
    old.write_text("old")
    with old.open() as running:
        assert plugins.run().returncode == 0
        assert running.read() == "old", "the running program keeps its file"
    assert old.read_text() == PLUGIN


def test_plugins_new_directory_needs_no_download(plugins: Plugins) -> None:
    assert plugins.run().returncode == 0
    data = plugins.dir.parent
    (data / "abc/bin").mkdir(parents=True)
    (data / "current").symlink_to(data / "abc")
    done = plugins.run(BIN_DIR="/var/lib/rancher/k3s/data/current/bin", ARCHIVE_URL="https://down.invalid/x")
    assert done.returncode == 0, done.stderr
    assert (data / "abc/bin/macvlan").exists()


def test_plugins_damaged_copy_is_fetched_again(plugins: Plugins) -> None:
    plugins.run()
    copy = plugins.node.root / f"var/lib/k3s-macvlan/cni/{plugins.sum}/macvlan"
    copy.write_text("damaged")
    assert plugins.run().returncode == 0 and copy.read_text() == PLUGIN
    assert (plugins.dir / "macvlan").read_text() == PLUGIN


def test_plugins_checksum(plugins: Plugins) -> None:
    done = plugins.run(ARCHIVE_SHA256="1" * 64)
    assert done.returncode == 1 and "1" * 64 in done.stderr and plugins.sum in done.stderr
    assert "plugins.checksum" in done.stderr and not (plugins.dir / "macvlan").exists()


def test_plugins_missing_in_archive(plugins: Plugins) -> None:
    done = plugins.run(PLUGINS="macvlan tap")
    assert done.returncode == 1 and "no tap; it has: bridge ipvlan macvlan" in done.stderr
    assert not (plugins.dir / "macvlan").exists()


@pytest.mark.parametrize("names", ["bridge", "host-local", "../x", "a;b", "$(x)", " ", "macvlan\nbridge"])
def test_plugins_refused_names(plugins: Plugins, names: str) -> None:
    assert plugins.run(PLUGINS=names).returncode == 1
    assert list(plugins.dir.iterdir()) == []


def test_plugins_link_of_k3s_is_kept(plugins: Plugins) -> None:
    (plugins.dir / "macvlan").symlink_to("/x/cni")
    done = plugins.run()
    assert done.returncode == 1 and "link made by K3s" in done.stderr and (plugins.dir / "macvlan").is_symlink()


def test_plugins_that_do_not_run(plugins: Plugins, tmp_path: Path) -> None:
    plugins.url, plugins.sum = archive(tmp_path / "other.tgz", text="#!/bin/sh\nexit 3\n")
    (plugins.dir / "macvlan").write_text("old")
    done = plugins.run()
    assert done.returncode == 1 and "does not run on this node" in done.stderr
    assert [(p.name, p.read_text()) for p in plugins.dir.iterdir()] == [("macvlan", "old")]


def test_plugins_no_directory(plugins: Plugins) -> None:
    plugins.dir.rmdir()
    done = plugins.run(LIMIT_SECONDS="1")
    assert done.returncode == 1 and f"{BIN_DIR} does not exist after 1 s" in done.stderr

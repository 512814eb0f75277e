"""image-pull.sh."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from .fake_node import (
    AGENT,
    Node,
)

pytestmark = pytest.mark.unit


K3S_PULLS = r"""#!/bin/bash
echo "$*" >> "$STUB/k3s.log"
case $1 in
  crictl) [[ -e $STUB/crictl ]] ;;
  ctr) [[ -e $STUB/ctr && $3 != none ]] ;;
esac
"""
IMAGES = {
    "IMAGES": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4 docker.io/library/nginx:1",
    "LIMIT_SECONDS": "5",
    "PULL_SECONDS": "5",
}


@pytest.fixture
def containerd(node: Node) -> Iterator[Node]:
    """Where its socket is."""
    node.file("usr/local/bin/k3s", K3S_PULLS, 0o755)
    place = node.root / "run/k3s/containerd"
    place.mkdir(parents=True)
    # Shorter than the 108 characters that a socket's name may have.
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(place):
        listening.bind("containerd.sock")
        yield node


def test_images_are_pulled_by_the_way_that_knows_the_registries(containerd: Node) -> None:
    (containerd.stub / "crictl").touch()
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={IMAGES['IMAGES']}\n"), done.stderr
    assert (containerd.stub / "k3s.log").read_text().splitlines() == [f"crictl pull {name}" for name in IMAGES["IMAGES"].split()]


def test_images_without_crictl(containerd: Node) -> None:
    (containerd.stub / "ctr").touch()
    hosts = containerd.file(f"{AGENT}/etc/containerd/certs.d/docker.io/hosts.toml", "").parents[1]
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={IMAGES['IMAGES']}\n"), done.stderr
    pulls = [line for line in (containerd.stub / "k3s.log").read_text().splitlines() if line.startswith("ctr")]
    assert pulls == [f"ctr --namespace k8s.io images pull --hosts-dir {hosts} {name}" for name in IMAGES["IMAGES"].split()]


@pytest.mark.parametrize("crictl", [True, False])
def test_images_by_the_programs_that_k3s_has_unpacked(containerd: Node, crictl: bool) -> None:
    """Where crictl is not among them, the answer that it does not exist takes seconds."""
    (containerd.stub / "crictl").touch()
    programs = containerd.file(
        "var/lib/rancher/k3s/data/current/bin/ctr", '#!/bin/bash\necho "$*" >> "$STUB/ctr.log"\n', 0o755
    ).parent
    if crictl:
        (programs / "crictl").touch()
    containerd.file(f"{AGENT}/etc/containerd/certs.d/docker.io/hosts.toml", "")
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={IMAGES['IMAGES']}\n"), done.stderr
    assert (containerd.stub / "k3s.log").exists() == crictl
    if not crictl:
        lines = (containerd.stub / "ctr.log").read_text().splitlines()
        socket_of = containerd.root / "run/k3s/containerd/containerd.sock"
        assert [line.split(" images pull ")[0] for line in lines] == [f"--address {socket_of} --namespace k8s.io"] * 2


def test_what_a_prepared_image_has_is_not_pulled(containerd: Node) -> None:
    (containerd.stub / "crictl").touch()
    multus, nginx = IMAGES["IMAGES"].split()
    containerd.file(f"{AGENT}/prepared-images", f"{multus}-other\n{nginx}\n")
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={multus}\n"), done.stderr
    assert (containerd.stub / "k3s.log").read_text() == f"crictl pull {multus}\n"


def test_where_a_prepared_image_has_all_nothing_waits_for_containerd(node: Node) -> None:
    node.file(f"{AGENT}/prepared-images", "\n".join(IMAGES["IMAGES"].split()) + "\n")
    done = node.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "pulled=\n", "")


def test_images_that_cannot_be_pulled_stop_nothing(containerd: Node) -> None:
    containerd.command("sleep", "#!/bin/sh\n")
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, "pulled=\n")
    assert done.stderr.count("the kubelet will pull it, or say why it cannot") == 2
    assert "ctr" not in (containerd.stub / "k3s.log").read_text().replace("crictl", ""), "ctr would query no mirror"


def test_images_without_containerd(node: Node) -> None:
    done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "0"})
    assert (done.returncode, done.stdout) == (0, "") and "containerd does not run" in done.stderr


def test_images_after_an_installation_that_failed(node: Node) -> None:
    """`up` ends when all its steps do, so this one must not wait for a containerd that nobody starts."""
    lock = node.file("run/lock/k3s-macvlan.lock", "")
    with subprocess.Popen(["flock", str(lock), "sleep", "1"]):
        time.sleep(0.2)
        done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "60"})
    assert (done.returncode, done.stdout) == (0, "") and "K3s was not installed" in done.stderr


def test_images_after_an_installation_that_failed_at_once(node: Node) -> None:
    lock = node.file("run/lock/k3s-macvlan.lock", "")
    os.utime(lock, (time.time() + 1, time.time() + 1))
    done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "60"})
    assert (done.returncode, done.stdout) == (0, "") and "K3s was not installed" in done.stderr


def test_images_wait_for_an_installation_that_has_not_begun(node: Node) -> None:
    """The lock of a former one, which failed, says nothing of this one."""
    lock = node.file("run/lock/k3s-macvlan.lock", "")
    os.utime(lock, (1, 1))
    done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "1"})
    assert (done.returncode, done.stdout) == (0, "") and "containerd does not run after 1 s" in done.stderr


@pytest.mark.parametrize("wrong", [{"IMAGES": "a;b"}, {"IMAGES": "$(b)"}, {"PULL_SECONDS": "1m"}])
def test_images_refuses(node: Node, wrong: dict[str, str]) -> None:
    assert node.run("image-pull", **IMAGES | wrong).returncode == 1

"""k3s-kubeconfig.sh."""

import os
import subprocess
import time

import pytest

from .fake_node import SCRIPTS, Node, stripped

pytestmark = pytest.mark.unit


KUBECONFIG = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\nusers:\n- user:\n    client-key-data: {}\n"


def test_kubeconfig_is_printed_when_it_is_whole(node: Node) -> None:
    path = node.file("etc/rancher/k3s/k3s.yaml", "", 0o600)
    process = subprocess.Popen(
        ["bash", "-c", stripped(SCRIPTS / "k3s-kubeconfig.sh")],
        env=node.environment({"LIMIT_SECONDS": "60"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    path.write_text(KUBECONFIG.format(""))
    time.sleep(1)
    assert process.poll() is None, "that is but the beginning"
    path.write_text(KUBECONFIG.format("S0VZ"))
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, KUBECONFIG.format("S0VZ")), errors
    assert "S0VZ" not in errors


def test_another_that_looks_is_no_installation(node: Node) -> None:
    """Several scripts wait for what K3s makes at the same time."""
    lock = node.file("run/lock/k3s-macvlan.lock", "")
    os.utime(lock, (1, 1))
    with subprocess.Popen(["flock", "--shared", str(lock), "sleep", "1.5"]):
        time.sleep(0.2)
        done = node.run("k3s-kubeconfig", LIMIT_SECONDS="5")
    assert done.returncode == 1 and "k3s.yaml after 5 s" in done.stderr


def test_kubeconfig_that_does_not_come(node: Node) -> None:
    done = node.run("k3s-kubeconfig", LIMIT_SECONDS="1")
    assert (done.returncode, done.stdout) == (1, "") and "k3s.yaml after 1 s" in done.stderr
    lock = node.file("run/lock/k3s-macvlan.lock", "")
    os.utime(lock, (time.time() + 5, time.time() + 5))
    begin = time.monotonic()
    done = node.run("k3s-kubeconfig", LIMIT_SECONDS="60")
    assert (done.returncode, done.stdout) == (1, "") and time.monotonic() - begin < 30
    assert "K3s was not installed" in done.stderr

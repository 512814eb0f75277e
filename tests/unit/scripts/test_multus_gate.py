"""multus-gate.sh."""

import re
import subprocess

import pytest

from .fake_node import BIN_DIR, CONF_DIR, TOKEN, Node, multus

pytestmark = pytest.mark.unit


def gate(node: Node) -> subprocess.CompletedProcess[str]:
    done = node.run("multus-gate", CONF_DIR=CONF_DIR, BIN_DIR=BIN_DIR, PLUGINS="macvlan", LIMIT_SECONDS="1")
    assert TOKEN not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", ["00-multus.conf", "00-multus.conflist"])
def test_gate_opens(node: Node, name: str) -> None:
    multus(node, name)
    done = gate(node)
    assert (done.returncode, done.stdout) == (0, f"conf={name}\n"), done.stderr


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (f"{CONF_DIR}/00-multus.conflist", None, "neither 00-multus.conf nor 00-multus.conflist exists"),
        (f"{CONF_DIR}/00-multus.conflist", "{", "not a valid CNI configuration"),
        (f"{CONF_DIR}/00-multus.conflist", '{"plugins": [{"type": "bridge"}]}', "of type 'bridge'"),
        (
            f"{CONF_DIR}/00-multus.conflist",
            '{"plugins": [{"type": "multus", "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig"}]}',
            "--multus-kubeconfig-file-host",
        ),
        (f"{CONF_DIR}/multus.d/multus.kubeconfig", None, "multus.kubeconfig does not exist"),
        (f"{CONF_DIR}/multus.d/multus.kubeconfig", '    token: ""\n', "has no token"),
        (f"{BIN_DIR}/multus", None, "/multus does not exist"),
        (f"{BIN_DIR}/macvlan", None, "/macvlan does not exist"),
        (f"{BIN_DIR}/macvlan", "#!/bin/sh\nexit 1\n", "/macvlan does not answer"),
    ],
)
def test_gate_names_what_is_missing(node: Node, path: str, text: str | None, message: str) -> None:
    multus(node)
    target = node.root / path.lstrip("/")
    if text is None:
        target.unlink()
    else:
        target.write_text(text)
    done = gate(node)
    assert done.returncode == 1 and message in done.stderr
    assert len(re.findall(r"^  /var|^  \S*multus|^  neither", done.stderr, re.M)) == 1, "only what is missing"
    assert f"{CONF_DIR} has:" in done.stderr

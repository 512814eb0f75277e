"""multus-clean.sh."""

import pytest

from .fake_node import BIN_DIR, CONF_DIR, PLUGIN, Node, multus

pytestmark = pytest.mark.unit


def test_clean(node: Node) -> None:
    multus(node)
    node.file(f"{CONF_DIR}/00-multus.conf.new", "x")
    node.file(f"{BIN_DIR}/passthru", PLUGIN)
    kept = [node.file(f"{CONF_DIR}/10-flannel.conflist", "{}"), node.root / BIN_DIR.lstrip("/") / "macvlan"]
    done = node.run("multus-clean", CONF_DIR=CONF_DIR, BIN_DIR=BIN_DIR)
    assert done.returncode == 0 and done.stdout == "removed=00-multus.conf.new,00-multus.conflist,multus.d,multus,passthru\n"
    left = [p for d in (CONF_DIR, BIN_DIR) for p in (node.root / d.lstrip("/")).iterdir()]
    assert sorted(left) == sorted(kept)
    for directory in (CONF_DIR, "/no/such"):
        done = node.run("multus-clean", CONF_DIR=directory, BIN_DIR=BIN_DIR)
        assert (done.returncode, done.stdout) == (0, "removed=nothing\n")


@pytest.mark.parametrize("directory", ["", "/", "relative"])
def test_clean_refuses_what_is_no_directory_of_its_own(node: Node, directory: str) -> None:
    assert node.run("multus-clean", CONF_DIR=directory, BIN_DIR=BIN_DIR).returncode != 0

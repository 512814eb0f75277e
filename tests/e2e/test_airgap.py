"""Without a way out: a directory of artifacts replaces every download, from an empty host to the page and back.

While the machines come up, nothing reaches the sites: neither the guests nor this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from builds import CLOSED
from conftest import Checkout
from kubectl import kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters]

SITES = "10.99.0.1"
TABLE = "lab_airgap"
LONGEST = 1800
"""Seconds after which the way out is opened again even if this process was killed."""


def nft(*words: str, check: bool = True) -> None:
    subprocess.run(["nft", *words], check=check, capture_output=True, text=True)


def answers() -> bool:
    """Whether this machine reaches the mirror."""
    try:
        with urllib.request.urlopen(f"http://{SITES}/k3s/install.sh", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def apart(engine: str) -> Iterator[None]:
    """No way out: the sites answer nobody, and nothing from the machines' bridge is passed on to another network."""
    if engine != CLOSED or shutil.which("nft") is None:
        pytest.skip("only in the closed test network, and with nft: elsewhere it would cut off the whole machine")
    assert answers()
    opener = f"sleep {LONGEST}; nft delete table inet {TABLE}"
    with subprocess.Popen(["sh", "-c", opener], start_new_session=True, stdout=subprocess.DEVNULL) as watchdog:
        try:
            nft("add", "table", "inet", TABLE)
            for hook, match in (("input", f"ip daddr {SITES}"), ("output", f"ip daddr {SITES}"), ("forward", "iifname virbr0")):
                nft("add", "chain", "inet", TABLE, hook, f"{{ type filter hook {hook} priority -300; policy accept; }}")
                nft("add", "rule", "inet", TABLE, hook, match, "counter", "drop")
            yield
        finally:
            nft("delete", "table", "inet", TABLE, check=False)
            subprocess.run(["pkill", "-P", str(watchdog.pid)], check=False)
            watchdog.kill()
    assert answers()


@pytest.fixture(scope="module")
def directory(checkout: Checkout) -> Iterator[Path]:
    checkout.set("artifacts", directory=".lab/artifacts")
    yield checkout.path / ".lab" / "artifacts"
    if not os.environ.get("LAB_E2E_KEEP"):
        checkout.lab("-y", "destroy")
        checkout.set("artifacts", directory="")


def test_fetch_fills_the_directory(checkout: Checkout, directory: Path) -> None:
    checkout.lab("fetch")
    manifest = json.loads((directory / "manifest.json").read_text())
    kinds = sorted(artifact["kind"] for artifact in manifest["artifacts"])
    assert kinds == ["base-image", "cni-plugins", "image", "image", "install-script", "k3s", "k3s-images"]
    assert "is here" in checkout.lab("fetch")


def test_a_damaged_file_stops_up_before_anything_is_made(checkout: Checkout, directory: Path) -> None:
    script = directory / "k3s-install.sh"
    whole = script.read_bytes()
    try:
        script.write_bytes(whole[:-1] + b"#")
        said = checkout.lab("-y", "up", ok=False)
    finally:
        script.write_bytes(whole)
    assert "has the SHA-256" in said and "nothing was created or changed" in said
    words = ["virsh", "-c", "qemu:///system", "-q", "pool-list", "--all", "--name"]
    assert "k3s-macvlan" not in subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_up_serves_the_page_without_access_to_the_internet(checkout: Checkout, apart: None) -> None:
    assert not answers()
    checkout.lab("-y", "up")
    outputs = checkout.outputs()
    assert outputs["proof"]["status"] == 200
    with urllib.request.urlopen(outputs["url"], timeout=10) as answer:
        assert "Welcome to nginx!" in answer.read().decode()


def test_the_guest_has_no_access_to_the_internet_and_pulled_nothing(checkout: Checkout, apart: None) -> None:
    said = checkout.node(f"curl --silent --max-time 5 http://{SITES}/ > /dev/null; echo $?")
    assert said.strip() in ("7", "28"), said
    images = checkout.node("k3s ctr -n k8s.io images list -q")
    file = yaml.safe_load((checkout.path / f"Pulumi.{checkout.stack}.yaml").read_text())["config"]
    assert file["k3s-macvlan:multus"]["image"] in images.split()
    kept = checkout.node("ls /var/lib/rancher/k3s/agent/images").split()
    assert len([name for name in kept if name.startswith("k3s-macvlan-")]) == 3, kept
    events = json.loads(kubectl(checkout, "get events -A -o json"))["items"]
    assert not [event["message"] for event in events if event["reason"] in ("Pulling", "Failed", "ErrImagePull")]


def test_second_run_changes_nothing_and_reads_no_file(checkout: Checkout, directory: Path, apart: None) -> None:
    """Even with the files away: a preview needs the manifest alone."""
    away = directory.with_name("away")
    away.mkdir()
    files = [file for file in directory.iterdir() if file.name != "manifest.json"]
    try:
        for file in files:
            file.rename(away / file.name)
        assert checkout.preview() == ({}, [])
    finally:
        for file in away.iterdir():
            file.rename(directory / file.name)
        away.rmdir()
    checkout.lab("-y", "up", "--expect-no-changes")
    checkout.lab("-y", "refresh", "--expect-no-changes")


def test_destroy_leaves_nothing(checkout: Checkout, apart: None) -> None:
    checkout.lab("-y", "destroy")
    left = subprocess.run(["ls", "/var/lib/libvirt/images"], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in left if name.startswith("k3s-macvlan-")]

"""Three servers that are kept: certificates and tokens, a reboot, hardening later on, backup and restore.

One server at a time, behind a virtual address, with a page on every node. On K3s's own binary alone. What agents do meanwhile is in
test_kept_cluster.py: three servers leave two emulated cores nothing for one (docs/measured.md 56).
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from builds import Build
from conftest import Checkout
from cryptography import x509
from host import host_state
from kubectl import kubectl, node_says, refused
from silence import silence
from test_kept_cluster import encrypted
from test_life import every_page_is_served
from test_nodes import LONG, etcd_members, node_names, up, watched
from test_virtual_address import LEASE, behind_the_address, holder

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters, pytest.mark.once, pytest.mark.k3s_own]

SERVERS = ["server-1", "server-2", "server-3"]
TLS = "/var/lib/rancher/k3s/server/tls"
FILE = ".lab/servers.k3s-backup"
HEALTHY = 0.9
"""Part of the requests for a page that are answered while all that runs is busy: on full cores one may exceed its limit."""


@pytest.fixture(scope="module")
def before(build: Build) -> dict[str, Any]:
    """The host before the story. build: skips where there is nothing to tell it on."""
    return host_state()


def urls(checkout: Checkout, *, but: str = "") -> list[str]:
    return [entry["url"] for entry in checkout.outputs()["pages"] if entry["node"] != but]


def one_after_another(said: str, resource: str, names: list[str]) -> None:
    """Each node's resource was at work alone, by what `up` has printed of it. resource: its name after the node's."""
    events = re.findall(rf"({'|'.join(names)})-{resource} (updating|updated)", said)
    order = [name for number, (name, _) in enumerate(events) if number == 0 or events[number - 1][0] != name]
    assert sorted(order) == sorted(names), events
    for name in names:
        assert (name, "updated") in events, events


def all_pages_are_served(counts: dict[str, Any]) -> None:
    for url, count in counts.items():
        assert count["served"] > 20 and count["served"] > HEALTHY * count.total(), (url, count)


def tokens(checkout: Checkout, name: str) -> dict[str, str]:
    config = yaml.safe_load(checkout.node("cat /etc/rancher/k3s/config.yaml", name))
    return {key: config[key] for key in ("token", "agent-token") if key in config}


def certificate(checkout: Checkout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(checkout.node(f"cat {TLS}/serving-kube-apiserver.crt", name).encode())


def all_are_ready(checkout: Checkout) -> None:
    shown = "get nodes -o jsonpath='{range .items[*]}{.metadata.name}={.status.conditions[?(@.type==\"Ready\")].status} {end}'"
    deadline = time.monotonic() + 900
    while (said := kubectl(checkout, shown).split()) != [f"{name}=True" for name in SERVERS]:
        assert time.monotonic() < deadline, said
        time.sleep(5)


def test_three_servers_run(checkout: Checkout, before: dict[str, Any]) -> None:
    """One after another, over a prepared image and without cluster DNS: two emulated cores are too slow for a second etcd beside a
    first start, and for DNS's own deadlines."""
    checkout.set("image", prepare="always")
    options = checkout.setting("k3s")["serverConfig"]
    checkout.set("k3s", serverConfig={**options, "disable": [*options["disable"], "coredns"]})
    checkout.set("workload", perNode=True)
    behind_the_address(checkout, servers=1)
    checkout.set("servers", count=3)
    up(checkout)
    every_page_is_served(checkout)
    assert etcd_members(checkout) == SERVERS
    assert checkout.preview() == ({}, [])


def test_certificates_are_rotated_one_server_after_another(checkout: Checkout) -> None:
    former = {name: certificate(checkout, name).not_valid_before_utc for name in SERVERS}
    serials = {name: certificate(checkout, name).serial_number for name in SERVERS}
    with watched(urls(checkout)) as counts, silence(checkout.outputs()["kubeconfig"], "certificates rotated"):
        said = checkout.lab("-y", "rotate", "certificates", limit=LONG)
    all_pages_are_served(counts)
    one_after_another(said, "certificates", SERVERS)
    for name in SERVERS:
        renewed = certificate(checkout, name)
        assert renewed.serial_number != serials[name] and renewed.not_valid_before_utc >= former[name], name
    all_are_ready(checkout)
    assert checkout.preview() == ({}, [])


def test_the_token_is_rotated_one_server_after_another(checkout: Checkout) -> None:
    former = tokens(checkout, "server-1")
    with watched(urls(checkout)) as counts:
        said = checkout.lab("-y", "rotate", "token", limit=LONG)
    all_pages_are_served(counts)
    one_after_another(said, "k3s-install", SERVERS)
    rotated = tokens(checkout, "server-1")
    assert rotated.keys() == former.keys() and not set(rotated.values()) & set(former.values())
    assert not any(secret in said for secret in (*rotated.values(), *former.values()))
    for name in SERVERS[1:]:
        assert tokens(checkout, name) == rotated, name
    for name in SERVERS:
        query = (
            f"curl --silent --output /dev/null --write-out '%{{http_code}} ' --cacert {TLS}/server-ca.crt "
            "https://127.0.0.1:6443/v1-k3s/encrypt/status --user server:"
        )
        node_says(checkout, f"{query}{rotated['token']}; {query}{former['token']}", r"^200 40[13] $", name=name)
    all_are_ready(checkout)
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_a_reboot_of_the_server_that_has_the_address(checkout: Checkout) -> None:
    name = holder(checkout)
    boot = checkout.node("cat /proc/sys/kernel/random/boot_id", name)
    with watched(urls(checkout, but=name)) as counts, silence(checkout.outputs()["kubeconfig"], f"{name} restarted") as measured:
        said = " ".join(checkout.lab("-y", "reboot", name, limit=LONG).split())
    all_pages_are_served(counts)
    assert f"{name} serves again" in said and "the only server" not in said
    assert measured.longest < 2 * (LEASE + 40), measured
    assert checkout.node("cat /proc/sys/kernel/random/boot_id", name) != boot
    all_are_ready(checkout)
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_a_second_server_is_not_drained_while_one_is_away(checkout: Checkout) -> None:
    checkout.lab("-y", "drain", "server-3", limit=LONG)
    said = " ".join(checkout.lab("-y", "drain", "server-2", ok=False).split())
    assert "server-3" in said
    assert kubectl(checkout, "get node server-2 -o jsonpath='{.spec.unschedulable}'") == ""
    checkout.lab("-y", "uncordon", "server-3", limit=LONG)
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_running_servers_are_hardened(checkout: Checkout) -> None:
    kubectl(checkout, "create secret generic kept --from-literal=word=before-the-key")
    checkout.set("k3s", hardened=True)
    planned, _ = checkout.preview()
    assert not [name for name in planned if name.endswith(("-domain", "-disk", "-seed"))], planned
    up(checkout)
    keys = {checkout.node("sha256sum < /var/lib/rancher/k3s/server/cred/encryption-config.json", name) for name in SERVERS}
    assert len(keys) == 1, "each server has a key of its own"
    for name in SERVERS:
        assert "Encryption Status: Enabled" in checkout.node("k3s secrets-encrypt status 2>&1", name)
        assert encrypted(checkout, "kept", name) >= 1, name
    assert kubectl(checkout, "get secret kept -o jsonpath='{.data.word}'") == "YmVmb3JlLXRoZS1rZXk="
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_the_servers_become_what_they_were(checkout: Checkout) -> None:
    """The others join the first, which has the backup's data."""
    checkout.lab("backup", FILE, limit=LONG)
    assert Path(checkout.path, FILE).stat().st_size > 0
    kubectl(checkout, "create configmap after --from-literal=since=after")
    kubectl(checkout, "delete secret kept --ignore-not-found")
    checkout.lab("-y", "restore", FILE, limit=LONG)
    assert kubectl(checkout, "get secret kept -o jsonpath='{.data.word}'") == "YmVmb3JlLXRoZS1rZXk="
    assert "NotFound" in refused(checkout, "get configmap after")
    assert node_names(checkout) == SERVERS and etcd_members(checkout) == SERVERS
    all_are_ready(checkout)
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before

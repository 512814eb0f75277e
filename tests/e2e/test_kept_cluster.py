"""A cluster that is kept: a virtual address, certificates and tokens, SSH keys, maintenance of its node, and hardening later on."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import json
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from builds import Build
from conftest import Checkout
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from host import host_state
from kubectl import kubectl, refused
from silence import silence

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters, pytest.mark.once, pytest.mark.k3s_own]

VIRTUAL = "192.168.122.179"
HELD = f"ip -4 -oneline address show dev enp1s0 to {VIRTUAL}/32"
STATIC_POD = "/var/lib/rancher/k3s/agent/pod-manifests/kube-vip.yaml"
TLS = "/var/lib/rancher/k3s/server/tls"
CONFIG = "/etc/rancher/k3s/config.yaml"
ETCD = "/var/lib/rancher/k3s/server/db/etcd/member"
# Revisions of a Secret in etcd's file, those that are encrypted.
ENCRYPTED = (
    "import re, sys; print(len(re.findall(sys.argv[1].encode() + rb'.{0,60}?k8s:enc:aescbc:v1:', open("
    f"'{ETCD}/snap/db', 'rb').read(), re.S)))"
)
PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "lab-privileged", "namespace": "default"},
    "spec": {"containers": [{"name": "x", "image": "docker.io/library/nginx:1.25", "securityContext": {"privileged": True}}]},
}


@pytest.fixture(scope="module")
def before(build: Build) -> dict[str, Any]:
    """The host before the story. build: skips where there is nothing to tell it on."""
    return host_state()


@contextlib.contextmanager
def page_served_throughout(checkout: Checkout, longest: float = 10.0) -> Iterator[None]:
    """The page is served during the block, with no gap longer than `longest` seconds."""
    url, done, gaps, last = str(checkout.outputs()["url"]), threading.Event(), [0.0], time.monotonic()

    def watch() -> None:
        nonlocal last
        while not done.wait(0.5):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=3) as answer:
                if b"Welcome to nginx!" in answer.read():
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    print(f"longest time without the page: {max(gaps):.1f} s")
    assert len(gaps) > 5 and max(gaps) < longest and time.monotonic() - last < longest, gaps


def until(probe: Callable[[], str], wanted: str, limit: float = 300) -> None:
    """Probe until it is so."""
    deadline = time.monotonic() + limit
    while (last := probe()) != wanted:
        assert time.monotonic() < deadline, last
        time.sleep(3)


def client_end(checkout: Checkout) -> datetime.datetime:
    """When the client certificate of the stack's kubeconfig ends."""
    user = yaml.safe_load(checkout.outputs()["kubeconfig"])["users"][0]["user"]
    return x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"])).not_valid_after_utc


def node_end(checkout: Checkout, path: str) -> datetime.datetime:
    return x509.load_pem_x509_certificate(checkout.node(f"cat {TLS}/{path}").encode()).not_valid_after_utc


def boot_id(checkout: Checkout) -> str:
    return checkout.node("cat /proc/sys/kernel/random/boot_id").strip()


def started(checkout: Checkout) -> str:
    """Another text after each start of K3s."""
    return checkout.node("systemctl show --property=InvocationID --value k3s").strip()


def end_soon(checkout: Checkout, days: int) -> None:
    """Give the scheduler a certificate of 300 days ago that ends in `days`, by the cluster's own authority for its own key."""
    old = x509.load_pem_x509_certificate(checkout.node(f"cat {TLS}/client-scheduler.crt").encode())
    authority = x509.load_pem_x509_certificate(checkout.node(f"cat {TLS}/client-ca.crt").encode())
    key: Any = serialization.load_pem_private_key(checkout.node(f"cat {TLS}/client-ca.key").encode(), None)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(authority.subject, old.subject, old.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=300)).not_valid_after(now + datetime.timedelta(days=days))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem += authority.public_bytes(serialization.Encoding.PEM)
    checkout.node(f"base64 -d > {TLS}/client-scheduler.crt <<< {base64.b64encode(pem).decode()}")


def lets_in(checkout: Checkout, outputs: dict[str, Any], private_key: str) -> bool:
    """Whether server-1 accepts this key."""
    key = checkout.path / ".lab" / "e2e-other-key"
    key.touch(mode=0o600)
    key.write_text(private_key)
    node = next(candidate for candidate in outputs["nodes"] if candidate["name"] == "server-1")
    hosts = checkout.path / ".lab" / "e2e-other-hosts"
    hosts.write_text(f"{node['address']} {node['hostKey']}\n")
    options = ["-oIdentitiesOnly=yes", "-oBatchMode=yes", "-oConnectTimeout=20", "-oStrictHostKeyChecking=yes"]
    try:
        done = subprocess.run(
            [*outputs["sshCommand"].split()[:-1], "-i", str(key), *options, f"-oUserKnownHostsFile={hosts}",
             outputs["sshCommand"].split()[-1], "true"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        key.unlink()
    assert done.returncode in (0, 255), done.stderr
    assert done.returncode == 0 or "Permission denied" in done.stderr, done.stderr
    return done.returncode == 0


def served(checkout: Checkout, limit: int = 60) -> None:
    """The page, at the address that the outputs have now."""
    url, deadline = checkout.outputs()["url"], time.monotonic() + limit
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert "Welcome to nginx!" in answer.read().decode()
                return
        except OSError:
            assert time.monotonic() < deadline, f"{url} is not served"
            time.sleep(2)


def server_of(checkout: Checkout) -> str:
    """Where the stack's kubeconfig reaches the API."""
    return str(yaml.safe_load(checkout.outputs()["kubeconfig"])["clusters"][0]["cluster"]["server"])


def holder(checkout: Checkout) -> str:
    text = checkout.lab("status", "--json")
    return str(json.loads(text[text.index("{") :])["virtual_address"]["on"])


def identity(checkout: Checkout) -> dict[str, Any]:
    """What must stay: the cluster and the pod on the network."""
    return {
        "cluster": kubectl(checkout, "get namespace kube-system -o jsonpath='{.metadata.uid}'"),
        "pod": kubectl(checkout, "get pod nginx-macvlan -o jsonpath='{.metadata.uid}'"),
        "address": checkout.outputs()["address"],
    }


def encrypted(checkout: Checkout, name: str, node: str = "server-1") -> int:
    return int(checkout.node(f'python3 -c "{ENCRYPTED}" /registry/secrets/default/{name}', node))


def secret(checkout: Checkout, name: str) -> str:
    return base64.b64decode(kubectl(checkout, f"get secret {name} -o jsonpath='{{.data.word}}'")).decode().strip()


def test_the_api_is_at_the_virtual_address_from_the_start(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.set("k3s", virtualAddress=VIRTUAL)
    checkout.lab("-y", "up")
    served(checkout)
    assert checkout.preview() == ({}, [])


def test_the_virtual_address_is_in_certificate_and_kubeconfig(checkout: Checkout) -> None:
    assert server_of(checkout) == f"https://{VIRTUAL}:6443"
    assert "server-1" in checkout.lab("kubectl", "get", "nodes")
    served_by = x509.load_pem_x509_certificate(ssl.get_server_certificate((VIRTUAL, 6443)).encode())
    names = served_by.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address(VIRTUAL) in names.get_values_for_type(x509.IPAddress)
    # One host's address behind the node's own, from which nothing is sent.
    addresses = checkout.node("ip -4 -oneline address show dev enp1s0").splitlines()
    assert "192.168.122.180/24" in addresses[0] and f"{VIRTUAL}/32 scope global deprecated" in addresses[1], addresses
    assert holder(checkout) == "server-1"
    assert (
        kubectl(checkout, "get node server-1 -o jsonpath='{.status.addresses[?(@.type==\"InternalIP\")].address}'")
        == "192.168.122.180"
    )
    assert checkout.node(f"stat --format=%a {STATIC_POD} -L /var/lib/k3s-macvlan/kube-vip.kubeconfig").split() == ["600", "600"]
    checkout.lab("doctor", "--offline")


@pytest.mark.observes
def test_the_address_comes_back_when_it_is_taken_off_the_interface(checkout: Checkout) -> None:
    """As systemd-networkd does with addresses that it does not know, when it is restarted."""
    with silence(checkout.outputs()["kubeconfig"], "the address taken off the interface") as measured:
        time.sleep(5)
        checkout.node(f"ip address delete {VIRTUAL}/32 dev enp1s0")
        time.sleep(30)
    assert checkout.node(HELD)
    assert 0 < measured.longest < 20, measured


@pytest.mark.observes
def test_a_restart_of_k3s_gives_the_address_back_and_takes_it_again(checkout: Checkout) -> None:
    with silence(checkout.outputs()["kubeconfig"], "the only server's K3s restarted") as measured:
        time.sleep(5)
        checkout.node("systemctl restart --no-block k3s")
        deadline = time.monotonic() + 600
        time.sleep(60)
        answered = len(measured.answered)
        while len(measured.answered) < answered + 20:
            assert time.monotonic() < deadline, measured
            time.sleep(1)
    assert holder(checkout) == "server-1"


@pytest.mark.observes
def test_status_shows_how_long_certificates_last(checkout: Checkout) -> None:
    assert "364 d" in checkout.lab("status")


def test_certificates_that_end_soon_are_renewed_by_up_after_a_preview_that_says_so(checkout: Checkout) -> None:
    was, end, machine = started(checkout), client_end(checkout), boot_id(checkout)
    end_soon(checkout, 60)
    checkout.lab("-y", "refresh")
    planned, _ = checkout.preview()
    assert planned["server-1-certificates"] == "update" and "server-1-k3s-install" not in planned, planned
    said = " ".join(checkout.lab("preview").split())
    assert "server-1: K3s makes new certificates and is restarted: server/tls/client-scheduler.crt ends on" in said
    assert started(checkout) == was
    with page_served_throughout(checkout):
        checkout.lab("-y", "up")
    assert started(checkout) != was and boot_id(checkout) == machine
    assert node_end(checkout, "client-scheduler.crt") > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)
    assert client_end(checkout) > end, "the kubeconfig follows"
    assert "server-1" in kubectl(checkout, "get nodes")
    assert checkout.preview() == ({}, [])


def test_what_k3s_renewed_by_itself_restarts_nothing(checkout: Checkout) -> None:
    end_soon(checkout, 60)
    checkout.lab("-y", "refresh")
    assert "server-1-certificates" in checkout.preview()[0]
    checkout.node("systemctl restart k3s")
    was = started(checkout)
    checkout.lab("-y", "refresh")
    assert "server-1-certificates" not in checkout.preview()[0]
    checkout.lab("-y", "up")
    assert started(checkout) == was
    assert checkout.preview() == ({}, [])


def test_rotate_certificates_makes_new_ones_whatever_is_left(checkout: Checkout) -> None:
    end, serving = client_end(checkout), node_end(checkout, "serving-kube-apiserver.crt")
    with page_served_throughout(checkout):
        checkout.lab("-y", "rotate", "certificates")
    assert client_end(checkout) > end and node_end(checkout, "serving-kube-apiserver.crt") > serving
    assert "server-1" in kubectl(checkout, "get nodes")
    assert checkout.preview() == ({}, [])


def test_rotate_token_gives_the_cluster_another_one(checkout: Checkout) -> None:
    def token() -> dict[str, str]:
        config = yaml.safe_load(checkout.node(f"cat {CONFIG}"))
        return {key: config[key] for key in ("token", "agent-token") if key in config}

    former = token()
    with page_served_throughout(checkout):
        said = checkout.lab("-y", "rotate", "token")
    rotated = token()
    assert rotated.keys() == former.keys() and not set(rotated.values()) & set(former.values())
    assert not any(secret in said for secret in (*rotated.values(), *former.values()))
    assert checkout.preview() == ({}, [])
    # K3s reads its data with the new one, and finds its list of passwords no newer than what servers share: twice.
    for _ in range(2):
        checkout.node("systemctl restart k3s")
    assert "Ready" in kubectl(checkout, "get nodes")
    shown = checkout.node(
        "for token in $(sed -n 's/^token: //p' /etc/rancher/k3s/config.yaml | tr -d \"'\") "
        f"{former['token']}; do curl --silent --output /dev/null --write-out '%{{http_code}} ' "
        f"--cacert {TLS}/server-ca.crt --user server:$token https://127.0.0.1:6443/v1-k3s/encrypt/status; done"
    )
    assert shown.split()[0] == "200" and shown.split()[1] in ("401", "403"), shown


def test_a_rotation_of_the_token_that_is_cut_off_is_completed_by_up(checkout: Checkout) -> None:
    """Ctrl-C when the stack's token is another one and the installation has begun."""
    run = checkout.run("-y", "rotate", "token")
    run.saw("server-1-k3s-install.*updating", 300)
    run.interrupt()
    code, _ = checkout.finished(run)
    assert code != 0
    checkout.lab("-y", "up")
    assert "Ready" in kubectl(checkout, "get nodes")
    assert checkout.preview() == ({}, [])


def test_the_login_key_is_replaced_while_the_node_runs(checkout: Checkout) -> None:
    was, before = boot_id(checkout), checkout.outputs()
    own = checkout.node("cat ~ubuntu/.ssh/authorized_keys").strip().splitlines()
    checkout.node("echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOthers of@others' >> ~ubuntu/.ssh/authorized_keys")
    said = checkout.lab("-y", "rotate", "ssh-keys", limit=1800)
    assert "accept the new key, and refuse the former one" in said
    after = checkout.outputs()
    assert after["sshPrivateKey"] != before["sshPrivateKey"]
    assert lets_in(checkout, after, after["sshPrivateKey"])
    assert not lets_in(checkout, after, before["sshPrivateKey"])
    assert boot_id(checkout) == was
    # On two emulated cores K3s was seen to restart by itself meanwhile, hence the script's own word.
    assert "restarted=false" in said and "restarted=true" not in said
    keys = checkout.node("cat ~ubuntu/.ssh/authorized_keys").strip().splitlines()
    assert len(keys) == len(own) + 1 and any("of@others" in key for key in keys) and own[0] not in keys
    assert checkout.preview() == ({}, [])
    served(checkout)
    assert before["sshPrivateKey"].splitlines()[1] not in said and after["sshPrivateKey"].splitlines()[1] not in said


@pytest.mark.observes
def test_a_refresh_after_the_rotation_finds_no_drift(checkout: Checkout) -> None:
    checkout.lab("-y", "refresh")
    assert checkout.preview() == ({}, [])


def test_a_drained_node_takes_pods_again(checkout: Checkout) -> None:
    kubectl(checkout, "create deployment shifting --image=docker.io/library/nginx:1.25")
    until(lambda: kubectl(checkout, "get deployment shifting -o jsonpath='{.status.availableReplicas}'"), "1")
    kubectl(checkout, "run by-hand --image=docker.io/library/nginx:1.25")
    assert "these pods would be lost" in " ".join(checkout.lab("-y", "drain", "server-1", ok=False).split())
    kubectl(checkout, "delete pod by-hand --wait=true --timeout=100s --ignore-not-found")
    said = " ".join(checkout.lab("-y", "drain", "server-1").split())
    assert "it is the stack's own, and no other node takes it" in said
    assert kubectl(checkout, "get node server-1 -o jsonpath='{.spec.unschedulable}'") == "true"
    phases = "get pods -l app=shifting -o jsonpath='{.items[*].status.phase}'"
    until(lambda: kubectl(checkout, phases), "Pending")
    assert "cordoned" in checkout.lab("status")
    served(checkout)
    checkout.lab("-y", "uncordon", "server-1")
    until(lambda: kubectl(checkout, "get deployment shifting -o jsonpath='{.status.availableReplicas}'"), "1")
    kubectl(checkout, "delete deployment shifting --wait=true --timeout=100s --ignore-not-found")
    assert checkout.preview() == ({}, [])


def test_a_reboot_brings_all_back(checkout: Checkout) -> None:
    was, uid = boot_id(checkout), kubectl(checkout, "get pod nginx-macvlan -o jsonpath='{.metadata.uid}'")
    said = " ".join(checkout.lab("-y", "reboot", "server-1", limit=2400).split())
    assert "server-1 is the only server: the Kubernetes API goes for the time of the reboot" in said
    assert "server-1 serves again" in said
    assert boot_id(checkout) != was
    assert kubectl(checkout, "get node server-1 -o jsonpath='{.spec.unschedulable}'") == ""
    assert kubectl(checkout, "get pod nginx-macvlan -o jsonpath='{.metadata.uid}'") == uid
    served(checkout)
    assert checkout.preview() == ({}, [])


def test_a_virtual_address_is_taken_away_again(checkout: Checkout) -> None:
    before = identity(checkout)
    checkout.set("k3s", virtualAddress=None)
    checkout.lab("-y", "up")
    assert server_of(checkout) == "https://192.168.122.180:6443"
    assert identity(checkout) == before
    # K3s is restarted in the same `up`, so kube-vip has lost its lease and with it the address before its container ends.
    until(lambda: checkout.node(f"{HELD}; ls {STATIC_POD} /var/lib/k3s-macvlan/kube-vip.yaml 2> /dev/null || true"), "")
    until(lambda: str("kube-vip" in kubectl(checkout, "get pods --namespace kube-system -o name")), "False")
    assert checkout.preview() == ({}, [])


def test_a_running_cluster_is_hardened(checkout: Checkout) -> None:
    kubectl(checkout, "create secret generic lab-before --from-literal=word=before-the-key")
    assert encrypted(checkout, "lab-before") == 0
    boot = checkout.node("cat /proc/sys/kernel/random/boot_id")
    checkout.set("k3s", hardened=True)
    planned, _ = checkout.preview()
    assert not {"server-1-domain", "server-1-disk", "server-1-seed"} & planned.keys(), planned
    checkout.lab("-y", "up", limit=2400)
    assert checkout.node("cat /proc/sys/kernel/random/boot_id") == boot
    assert checkout.preview() == ({}, [])


@pytest.mark.observes
def test_secrets_of_before_and_of_now_are_encrypted(checkout: Checkout) -> None:
    said = ""

    def finished() -> str:
        nonlocal said
        said = checkout.node("k3s secrets-encrypt status 2>&1 || true")
        return str("Encryption Status: Enabled" in said and "reencrypt_finished" in said)

    until(finished, "True")
    kubectl(checkout, "create secret generic lab-after --from-literal=word=after-the-key")
    time.sleep(5)
    assert encrypted(checkout, "lab-before") >= 1 and encrypted(checkout, "lab-after") >= 1
    assert checkout.node(f"grep --recursive --text --count after-the-key {ETCD} | grep -v ':0$' || true") == ""
    assert (secret(checkout, "lab-before"), secret(checkout, "lab-after")) == ("before-the-key", "after-the-key")


@pytest.mark.observes
def test_the_pod_serves_its_page_without_root(checkout: Checkout) -> None:
    assert kubectl(checkout, "exec nginx-macvlan -- id -u").strip() == "101"
    with urllib.request.urlopen(checkout.outputs()["url"], timeout=10) as answer:
        assert "Welcome to nginx!" in answer.read().decode()


@pytest.mark.observes
def test_a_privileged_pod_is_refused_and_multus_is_not(checkout: Checkout) -> None:
    said = refused(checkout, "apply --validate=false -f -", json.dumps(PRIVILEGED))
    assert 'violates PodSecurity "restricted' in said, said
    kubectl(checkout, "-n kube-system delete pod -l app=multus")
    kubectl(checkout, "-n kube-system rollout status daemonset/kube-multus-ds --timeout=100s")
    assert kubectl(checkout, "get serviceaccount default -o jsonpath='{.automountServiceAccountToken}'") == "false"


@pytest.mark.observes
def test_the_node_is_what_the_guide_requires(checkout: Checkout) -> None:
    assert checkout.node("sysctl -n vm.panic_on_oom vm.overcommit_memory kernel.panic kernel.panic_on_oops").split() == [
        "0", "1", "10", "1",
    ]  # fmt: skip
    modes = checkout.node(
        "stat -c '%a %n' /etc/rancher/k3s/k3s.yaml /etc/rancher/k3s/config.yaml /var/lib/rancher/k3s/server"
        " /var/lib/rancher/k3s/server/logs /var/lib/rancher/k3s/server/logs/audit.log /var/lib/rancher/k3s/server/tls/*.crt"
    )
    assert {line.split()[0] for line in modes.splitlines()} == {"600", "700"}, modes
    event = json.loads(checkout.node("tail -n 1 /var/lib/rancher/k3s/server/logs/audit.log"))
    assert (event["kind"], event["level"], event["stage"] != "RequestReceived") == ("Event", "Metadata", True)
    # What metrics-server reads, which this stack is without.
    assert "node_cpu_usage_seconds_total" in kubectl(checkout, "get --raw /api/v1/nodes/server-1/proxy/metrics/resource")


def test_it_is_not_taken_back_while_secrets_are_encrypted(checkout: Checkout) -> None:
    checkout.set("k3s", hardened=False)
    said = " ".join(checkout.lab("-y", "up", ok=False).split())
    assert "the secrets of this cluster are encrypted" in said
    assert secret(checkout, "lab-before") == "before-the-key"
    checkout.set("k3s", hardened=True)
    checkout.lab("-y", "up")
    assert checkout.preview() == ({}, [])
    kubectl(checkout, "delete secret lab-before lab-after --ignore-not-found")


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before

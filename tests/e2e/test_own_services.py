"""What K3s itself brings to a cluster, next to pods with addresses of their own: storage, network policies, metrics."""

from __future__ import annotations

import base64
import gzip
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from builds import CLOSED, Build
from conftest import Checkout
from host import host_state
from kubectl import apply, kubectl, pod_is_ready, says
from test_life import page

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters, pytest.mark.k3s_own]

CLIENT: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "lab-client"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    },
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "lab-client"},
        "spec": {
            "containers": [
                {"name": "web", "image": "docker.io/library/nginx:1.25", "volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
            ],
            "volumes": [{"name": "kept", "persistentVolumeClaim": {"claimName": "lab-client"}}],
        },
    },
]
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "lab-nobody"},
    "spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "nginx-macvlan"}}, "policyTypes": ["Ingress"]},
}


def files_of_ipset() -> list[dict[str, str]]:
    """cloud-init's write_files for this machine's own ipset, which runs on the nodes, since both are Debian of the same release;
    empty where this machine has none.

    K3s's releases bring ipset along, which its policy controller needs; one that was built by hand has none, nor the node. K3s
    looks for it when it starts.
    """
    program = shutil.which("ipset", path="/usr/sbin:/sbin:/usr/bin")
    if program is None:
        return []
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    libraries = [word for word in linked if "/libipset" in word or "/libmnl" in word]
    places = {program: "/usr/sbin", **dict.fromkeys(libraries, "/usr/lib/x86_64-linux-gnu")}
    return [
        {
            "path": f"{place}/{Path(path).name}",
            "permissions": "0755",
            "encoding": "gzip+base64",
            "content": base64.b64encode(gzip.compress(Path(path).resolve().read_bytes(), mtime=0)).decode(),
        }
        for path, place in places.items()
    ]


@pytest.fixture(scope="module")
def before(checkout: Checkout) -> dict[str, Any]:
    """The host before the story."""
    return host_state()


def test_up_with_storage_and_metrics(checkout: Checkout, build: Build, before: dict[str, Any]) -> None:
    options = checkout.setting("k3s").get("serverConfig", {})
    checkout.set("k3s", serverConfig={**options, "disable": ["traefik", "servicelb"]})
    if build.stack == CLOSED:
        checkout.set("cloudInit", write_files=files_of_ipset() or None)
    checkout.lab("-y", "up")
    assert "Welcome to nginx!" in page(checkout.outputs()["url"])


def test_a_claim_of_k3s_s_own_storage_is_bound(checkout: Checkout) -> None:
    apply(checkout, *CLIENT)
    pod_is_ready(checkout, "lab-client")
    kubectl(checkout, "exec lab-client -- busybox touch /kept/here")
    assert kubectl(checkout, "get pvc lab-client -o jsonpath='{.spec.storageClassName} {.status.phase}'") == "local-path Bound"


def test_a_network_policy_holds_on_the_cluster_s_network_and_not_on_the_pod_s_own(checkout: Checkout) -> None:
    """As docs/own-pods.md says: policies are about eth0."""
    if checkout.node("journalctl --unit=k3s --grep='Skipping network policy controller start' --quiet || true"):
        pytest.skip("SKIPPED: this K3s has no ipset, nor has this machine to bring one to the node (package ipset)")
    page_of, client = (
        kubectl(checkout, f"get pod {pod} -o jsonpath='{{.status.podIP}}'") for pod in ("nginx-macvlan", "lab-client")
    )
    # From the client's network namespace with the node's curl: the image's own programs cannot ask for a page.
    request = (
        "for each in $(pgrep --exact nginx); do\n"
        f'  nsenter --net --target $each ip -4 -brief address show eth0 | grep -q " {client}/" || continue\n'
        f"  nsenter --net --target $each curl --silent --show-error --max-time 4 http://{page_of}/ 2>&1 || true\n  exit\n"
        "done\necho 'no such client'\n"
    )

    def until(served: bool, problem: str) -> None:
        deadline = time.monotonic() + 600
        while ("Welcome to nginx!" in (answer := checkout.node(request))) != served:
            assert time.monotonic() < deadline, f"{problem}: {answer}"
            time.sleep(1)

    until(True, "the page is not served inside the cluster")
    apply(checkout, POLICY)
    until(False, "the policy controller lets everybody in")
    assert "Welcome to nginx!" in page(checkout.outputs()["url"])
    kubectl(checkout, "delete networkpolicy/lab-nobody pod/lab-client pvc/lab-client --wait=false --ignore-not-found")


@pytest.mark.observes
def test_the_node_s_metrics_are_answered(checkout: Checkout) -> None:
    says(checkout, "top nodes", r"(?m)^server-1 +\d", 900)


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before

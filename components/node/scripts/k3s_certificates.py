"""Prints when the certificates of K3s on this node end: `certificate END BEGINNING FILE` of the one that ends first, `authority …`
of the authority that ends first. Times as 2027-11-26T10:00:00Z.

Environment: ROOT. Exit: 0; 1 where there is no certificate yet. What K3s itself replaces while it runs (dynamic-cert.json) is not
among them. The files are those that `k3s certificate rotate` replaces: others in their directories may be of former releases.
"""

from __future__ import annotations

import os
import ssl
import sys
import time
from typing import Any

DATA = "/var/lib/rancher/k3s/"
LEAVES = tuple(
    f"{path}.crt"
    for path in (
        *(f"server/tls/client-{name}" for name in ("admin", "supervisor", "controller", "k3s-cloud-controller", "scheduler")),
        *(f"server/tls/{name}" for name in ("client-kube-apiserver", "serving-kube-apiserver", "client-auth-proxy")),
        *(f"server/tls/{name}/{name}" for name in ("kube-scheduler", "kube-controller-manager")),
        *(f"server/tls/etcd/{name}" for name in ("client", "server-client", "peer-server-client")),
        *(f"agent/{name}" for name in ("client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller")),
    )
)
AUTHORITIES = tuple(
    f"{path}-ca.crt"
    for path in (
        *(f"server/tls/{name}" for name in ("client", "server", "request-header", "etcd/server", "etcd/peer")),
        *(f"agent/{name}" for name in ("client", "server")),
    )
)


def decoded(path: str) -> dict[str, Any]:
    """The first certificate of the file. The standard library has nothing else that reads one."""
    document: dict[str, Any] = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]
    return document


def moment(text: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ssl.cert_time_to_seconds(text)))


def first(root: str, paths: tuple[str, ...]) -> str:
    """END BEGINNING FILE of the one that ends first, "" where there is none. One that is just being written counts as none."""
    ends = []
    for path in paths:
        try:
            document = decoded(root + DATA + path)
            ends.append((moment(document["notAfter"]), moment(document["notBefore"]), path))
        except (OSError, ValueError, KeyError):  # ssl.SSLError is an OSError
            continue
    return " ".join(min(ends)) if ends else ""


def main() -> None:
    root = os.environ.get("ROOT", "")
    leaf, authority = first(root, LEAVES), first(root, AUTHORITIES)
    if not leaf:
        sys.exit(1)
    print(f"certificate {leaf}")
    if authority:
        print(f"authority {authority}")


if __name__ == "__main__":
    main()

"""Deletes from a restored cluster what its machines are not, or would be refused for.

Arguments: the root, the names of the nodes that there are, with blanks between.
Deleted: all node-password secrets, because a machine that was recreated since has another password; objects of nodes that there are
not; the program's own pods, whose annotations name addresses that they had when the backup was made. Each kubelet, and `up`, create
them again.
Stdout: what was deleted, a line each. Exit: 0; 1 where the API did not do so in LIMIT seconds, with its answer.
"""

import json
import subprocess
import sys
import time
from typing import Any

LIMIT = 180
REVISION = "k3s-macvlan.dev/network-revision"
"""Annotation of the program's own pods."""
SECRETS = "/api/v1/namespaces/kube-system/secrets"


class ApiError(Exception):
    """No answer, or none that is JSON."""


def request(root: str, path: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Status and answer of the API, queried as its administrator."""
    tls = root + "/var/lib/rancher/k3s/server/tls/"
    command = [
        "curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*", "--cacert", tls + "server-ca.crt",
        "--cert", tls + "client-admin.crt", "--key", tls + "client-admin.key", "--write-out", "\n%{http_code}",
        "--url", "https://127.0.0.1:6443" + path, *options,
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    body, _, status = done.stdout.rpartition("\n")
    try:
        return int(status), json.loads(body)
    except ValueError:
        raise ApiError(done.stderr.strip() or "the API answers with something that is no JSON") from None


def listed(root: str, path: str) -> list[dict[str, Any]]:
    # Without the content of Secrets.
    accept = "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    status, answer = request(root, path, "--header", accept)
    if status != 200:
        raise ApiError(f"{path}: {status} {answer.get('message', '')}")
    items: list[dict[str, Any]] = answer.get("items") or []
    return items


def unwanted(
    nodes: list[dict[str, Any]], secrets: list[dict[str, Any]], pods: list[dict[str, Any]], there_are: set[str]
) -> list[str]:
    """Paths of what is deleted."""
    own = [pod for pod in pods if REVISION in (pod["metadata"].get("annotations") or {})]
    names = [secret["metadata"]["name"] for secret in secrets]
    return [
        *(f"{SECRETS}/{name}" for name in names if name.endswith(".node-password.k3s")),
        *(f"/api/v1/nodes/{node['metadata']['name']}" for node in nodes if node["metadata"]["name"] not in there_are),
        *(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}" for pod in own),
    ]


def clean(root: str, there_are: set[str]) -> list[str]:
    nodes, secrets = listed(root, "/api/v1/nodes"), listed(root, SECRETS)
    pods = listed(root, "/api/v1/pods?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dpulumi")
    paths = unwanted(nodes, secrets, pods, there_are)
    for path in paths:
        # At once: no kubelet runs such a pod any more.
        now = "?gracePeriodSeconds=0" if "/pods/" in path else ""
        status, answer = request(root, path + now, "--request", "DELETE")
        if status not in {200, 202, 404}:
            raise ApiError(f"{path}: {status} {answer.get('message', '')}")
    return paths


if __name__ == "__main__":
    end = time.monotonic() + LIMIT
    while True:
        try:
            for deleted in clean(sys.argv[1], set(sys.argv[2].split())):
                print(deleted)
            break
        except ApiError as error:
            if time.monotonic() >= end:
                sys.exit(f"restore: the API did not take it within {LIMIT} s: {error}")
            time.sleep(2)

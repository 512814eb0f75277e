"""Files of K3s on a node, and its kubeconfig. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from components.config import hardening
from components.config.plan import API_PORT, NodePlan
from components.config.settings import K3s
from components.config.snapshots import options
from components.node import yaml_text

_TRUE = {"true", "1", "t", "yes", "on"}


def config(
    node: NodePlan, join: str, api_names: Sequence[str], k3s: K3s, token: str, *, agent_token: str | None = None
) -> dict[str, Any]:
    """/etc/rancher/k3s/config.yaml of a node; join: URL of a server, "" for the one that begins the cluster.

    With agent_token an agent's file does not hold `token`, with which a server could join and read the cluster's secrets.
    https://docs.k3s.io/installation/configuration, https://docs.k3s.io/cli/token
    """
    own: dict[str, Any] = {"node-name": node.name, "node-ip": str(node.address), "token": token}
    if agent_token:
        own |= {"agent-token": agent_token} if node.role == "server" else {"token": agent_token}
    own |= {"server": join} if join else {"cluster-init": True}
    if node.labels:
        own["node-label"] = list(node.labels)
    if node.taints:
        own["node-taint"] = list(node.taints)
    if node.role == "server":
        own |= {"tls-san": list(api_names), "cluster-cidr": str(k3s.pod_cidr), "service-cidr": str(k3s.service_cidr)}
        if k3s.system_default_registry:
            own["system-default-registry"] = k3s.system_default_registry
        if k3s.snapshots:
            own |= options(k3s.snapshots)
    return {**of_settings(k3s, node.role), **own}


def encrypts(k3s: K3s) -> bool:
    """Whether K3s is to encrypt Secrets in etcd."""
    options = of_settings(k3s, "server").items()
    return any(str(value).strip().lower() in _TRUE for key, value in options if hardening.canonical(key) == "secrets-encryption")


def of_settings(k3s: K3s, role: str) -> dict[str, Any]:
    """K3s's options that the settings name for nodes of this role. role: server or agent."""
    extra = {**k3s.config, **(k3s.server_config if role == "server" else {})}
    return hardening.added(extra, hardening.options(k3s, role)) if k3s.hardened else extra


def registries_yaml(k3s: K3s) -> str | None:
    """/etc/rancher/k3s/registries.yaml, or None where nothing is set. https://docs.k3s.io/installation/private-registry"""
    document: dict[str, Any] = {}
    if k3s.registries.mirrors:
        document["mirrors"] = {
            name: {"endpoint": list(mirror.endpoint), **({"rewrite": mirror.rewrite} if mirror.rewrite else {})}
            for name, mirror in k3s.registries.mirrors.items()
        }
    if k3s.registries.configs:
        document["configs"] = {
            name: {key: value for key, value in (("auth", access.auth), ("tls", access.tls)) if value}
            for name, access in k3s.registries.configs.items()
        }
    return yaml_text.dump(document) if document else None


# A power cut soon after a pod has started leaves empty files in CNI's caches, and no pod with such a file can be torn down
# or recreated: "cached result: unexpected end of JSON input" (seen in the e2e tier; multus-cni issue 1087). Without its file
# the teardown continues. An empty file is never a valid one.
_CACHE_DROP_IN = """\
[Service]
ExecStartPre=-/usr/bin/find /var/lib/cni/results /var/lib/cni/multus -type f -empty -delete
"""


def files(role: str, config_yaml: str, registries: str | None, further: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """What k3s-install.sh reads from stdin. further: by path, content and mode of files that K3s is restarted for as well."""
    unit = "k3s.service" if role == "server" else "k3s-agent.service"
    documents = {
        "/etc/rancher/k3s/config.yaml": {"content": config_yaml, "mode": "0600"},
        f"/etc/systemd/system/{unit}.d/10-cni-cache.conf": {"content": _CACHE_DROP_IN, "mode": "0644"},
    }
    if registries is not None:
        documents["/etc/rancher/k3s/registries.yaml"] = {"content": registries, "mode": "0600"}
    return json.dumps({**documents, **(further or {})}, sort_keys=True)


def kubeconfig(text: str, address: str, name: str) -> str:
    """K3s's own kubeconfig with the API's address as others reach it, and the stack's name for cluster, user and context."""
    document = yaml.safe_load(text)
    label = name.replace("/", "-")
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    cluster["server"] = f"https://{address}:{API_PORT}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": label, "cluster": cluster}],
            "users": [{"name": label, "user": user}],
            "contexts": [{"name": label, "context": {"cluster": label, "user": label}}],
            "current-context": label,
        },
        sort_keys=True,
    )

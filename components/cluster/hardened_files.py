"""Files on nodes of K3s's CIS hardening guide (k3s.hardened). Pure. https://docs.k3s.io/security/hardening-guide"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.config.hardening import ADMISSION, AUDIT_LOGS, AUDIT_POLICY
from components.node import yaml_text

SYSCTL = "/etc/sysctl.d/90-kubelet.conf"
"""Kernel parameters that the kubelet wants with protect-kernel-defaults."""

# The guide's, and two more that the kubelet compares and distributions seldom change
# (kubernetes/pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables).
_PARAMETERS = """\
vm.panic_on_oom=0
vm.overcommit_memory=1
kernel.panic=10
kernel.panic_on_oops=1
kernel.keys.root_maxkeys=1000000
kernel.keys.root_maxbytes=25000000
"""

_SERVER = "/var/lib/rancher/k3s/server"

# At each start and not once: another file of /etc/sysctl.d may say something else, and K3s gives certificates that it renews the
# mode 0644 again. systemd-sysctl is wherever systemd is, the program sysctl is not.
_PARAMETERS_AT_START = f"ExecStartPre=-/usr/lib/systemd/systemd-sysctl {SYSCTL}\n"
_DIRECTORIES_AT_START = f"ExecStartPre=-/usr/bin/install -d -m 0700 {_SERVER} {AUDIT_LOGS}\n"
_CERTIFICATES_AT_START = f"ExecStartPost=-/bin/sh -c 'chmod 0600 {_SERVER}/tls/*.crt'\n"


def files(role: str, exempt_namespaces: Sequence[str]) -> dict[str, dict[str, str]]:
    """By path, content and mode. exempt_namespaces: those in which pods may be whatever they are."""
    unit = "k3s.service" if role == "server" else "k3s-agent.service"
    drop_in = f"[Service]\n{_PARAMETERS_AT_START}"
    documents = {SYSCTL: _PARAMETERS}
    if role == "server":
        drop_in += _DIRECTORIES_AT_START + _CERTIFICATES_AT_START
        documents |= {ADMISSION: yaml_text.dump(_admission(exempt_namespaces)), AUDIT_POLICY: yaml_text.dump(_audit_policy())}
    documents[f"/etc/systemd/system/{unit}.d/20-hardening.conf"] = drop_in
    secret = (ADMISSION, AUDIT_POLICY)
    return {path: {"content": text, "mode": "0600" if path in secret else "0644"} for path, text in documents.items()}


def _admission(exempt_namespaces: Sequence[str]) -> dict[str, Any]:
    levels = dict.fromkeys(("enforce", "audit", "warn"), "restricted")
    versions = {f"{mode}-version": "latest" for mode in levels}
    pod_security = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": levels | versions,
        "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": list(exempt_namespaces)},
    }
    # The plugin does not start without limits, and the guide leaves them open. Beyond these events are lost; a kubelet records
    # 50 a second at most.
    event_rate = {
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
        "kind": "Configuration",
        "limits": [
            {"type": "Server", "qps": 500, "burst": 1000},
            {"type": "Namespace", "qps": 50, "burst": 100, "cacheSize": 2000},
        ],
    }
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [
            {"name": "EventRateLimit", "configuration": event_rate},
            {"name": "PodSecurity", "configuration": pod_security},
        ],
    }


def _audit_policy() -> dict[str, Any]:
    """The guide's: who did what, without contents. A request is written once, when it is answered."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }

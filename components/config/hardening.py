"""K3s's CIS hardening guide (k3s.hardened) as options of its config.yaml, and what of it concerns other settings. Pure.

https://docs.k3s.io/security/hardening-guide, the page of 2026-10. What a user sets in k3s.config and k3s.serverConfig is kept: a
list of arguments is added to, and an argument that the guide leaves to one's needs is theirs. What takes a part of it back is a
conflict (hardening_conflicts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.config import k3s_options
from components.config.plan import k3s_release
from components.config.settings import K3s, Settings, Workload

ADMISSION = "/etc/rancher/k3s/psa.yaml"
"""The API server's admission configuration on a server. The guide's place is in K3s's data, which a restore moves away."""
AUDIT_POLICY = "/etc/rancher/k3s/audit.yaml"
"""What the API server's audit log has."""
AUDIT_LOGS = "/var/lib/rancher/k3s/server/logs"
"""Directory of the audit log."""
ADMISSION_PLUGINS = ("NodeRestriction", "EventRateLimit")
"""Admission plugins of the guide that are not on by themselves. PodSecurity is."""

NGINX_USER = 101
"""The user nginx in the image nginx, of Debian and of Alpine alike."""
NGINX_DIRECTORIES = ("/run", "/var/cache/nginx", "/var/lib/nginx")
"""Where it writes: its process's number, and parts of requests: in the second directory by the image nginx, in the third by
Debian's package. https://hub.docker.com/_/nginx, "Running nginx as a non-root user"; /var/run is /run there."""

# Those of TLS 1.2; TLS 1.3 has its own.
_CIPHERS = (
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
)

# From this release on the guide keeps 100 ended pods, before it 10.
_MORE_ENDED_PODS = 29


def options(k3s: K3s, role: str) -> dict[str, Any]:
    """What the guide puts into config.yaml of a server or an agent with this release."""
    kubelet = [
        "streaming-connection-idle-timeout=5m",
        f"tls-cipher-suites={','.join(_CIPHERS)}",
        # The guide leaves the number open (control 4.2.13).
        "pod-max-pids=4096",
    ]
    common: dict[str, Any] = {"protect-kernel-defaults": True, "kubelet-arg": kubelet}
    if role != "server":
        return common
    ended = 100 if k3s_release(k3s.version)[0] >= _MORE_ENDED_PODS else 10
    return common | {
        "secrets-encryption": True,
        "write-kubeconfig-mode": "0600",
        "kube-apiserver-arg": [
            f"enable-admission-plugins={','.join(ADMISSION_PLUGINS)}",
            f"admission-control-config-file={ADMISSION}",
            f"audit-log-path={AUDIT_LOGS}/audit.log",
            f"audit-policy-file={AUDIT_POLICY}",
            "audit-log-maxage=30",
            "audit-log-maxbackup=10",
            "audit-log-maxsize=100",
            # In the guide from v1.29 on; releases before it have the argument too.
            "service-account-extend-token-expiration=false",
        ],
        "kube-controller-manager-arg": [f"terminated-pod-gc-threshold={ended}"],
    }


def added(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A user's keys of config.yaml with those of `own` added.

    Kubernetes's programs put the values of enable-admission-plugins together, however often it is given; of another argument the
    user's value replaces `own`'s.
    """
    result = dict(given)
    for option, value in own.items():
        keys = [key for key in given if canonical(key) == option]
        if not isinstance(value, list):
            result = {key: kept for key, kept in result.items() if key not in keys} | {option: value}
            continue
        theirs = [element for key in keys for element in k3s_options.arguments(given[key])]
        replaced = {argument_name(element) for element in theirs} - {"enable-admission-plugins"}
        for key in keys:
            del result[key]
        # K3s keeps the arguments of an alias apart, and one of the two would be lost.
        key = keys[0].removesuffix("+") if keys else option
        result[key] = [*(element for element in value if argument_name(element) not in replaced), *theirs]
    return result


def canonical(key: str) -> str:
    """The option of a key of config.yaml, under one name where K3s has two."""
    option = k3s_options.name(key)
    return {"kube-controller-arg": "kube-controller-manager-arg"}.get(option, option)


def argument_name(argument: str) -> str:
    """Name of an argument, which may begin with -- and end in + or - (K3s: after or before its own value)."""
    return k3s_options.argument_name(argument).rstrip("+-")


def exempt_namespaces(settings: Settings) -> tuple[str, ...]:
    """Namespaces on which PodSecurity has no say: K3s's own, Multus's, and that of a pod that is to run as root."""
    names = {"kube-system", settings.multus.namespace}
    names |= {str(value) for key, value in _server_options(settings.k3s) if canonical(key) == "servicelb-namespace"}
    if settings.workload.user == 0:
        names.add(settings.workload.namespace)
    return tuple(sorted(names))


def workload(settings: Settings) -> Workload:
    """The setting workload with its user and directories."""
    own = settings.workload
    user = own.user if own.user is not None else NGINX_USER if settings.k3s.hardened else 0
    directories = own.empty_dirs if own.empty_dirs is not None else NGINX_DIRECTORIES if user else ()
    return own.model_copy(update={"user": user, "empty_dirs": directories})


def _server_options(k3s: K3s) -> Iterator[tuple[str, Any]]:
    yield from k3s.config.items()
    yield from k3s.server_config.items()

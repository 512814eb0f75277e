"""Conflicts with k3s.hardened: settings that take a part of it back, or that it would break. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from components.config import hardening, k3s_options
from components.config.plan import k3s_release
from components.config.problems import Problem, following
from components.config.settings import Settings

# PodSecurity; PodSecurityPolicy was before it.
_FIRST_RELEASE = 25

_FALSE = {"false", "0", "f", "no", "off"}


def _off(value: str) -> bool:
    return value.strip().lower() in _FALSE


def _on(value: str) -> bool:
    return not _off(value)


def _readable(value: str) -> bool:
    return bool(int(value, 8) & 0o077)


def _no_duration(value: str) -> bool:
    return value.strip("0hmsuµn") == ""


# By option: what takes it back.
_OPTIONS: dict[str, Callable[[str], bool]] = {
    "protect-kernel-defaults": _off,
    "secrets-encryption": _off,
    "write-kubeconfig-mode": _readable,
    "disable-network-policy": _on,
}
_ARGUMENTS: dict[str, dict[str, Callable[[str], bool]]] = {
    "kubelet-arg": {
        "protect-kernel-defaults": _off,
        "streaming-connection-idle-timeout": _no_duration,
        "anonymous-auth": _on,
        "authorization-mode": lambda value: value == "AlwaysAllow",
        "read-only-port": lambda value: value != "0",
    },
    "kube-apiserver-arg": {
        "admission-control-config-file": lambda _: True,
        "anonymous-auth": _on,
        "audit-log-path": lambda value: value in ("", "-"),
        "authorization-mode": lambda value: "AlwaysAllow" in value.split(","),
        "disable-admission-plugins": lambda value: bool({"PodSecurity", *hardening.ADMISSION_PLUGINS} & set(value.split(","))),
        "profiling": _on,
        "service-account-extend-token-expiration": _on,
        "service-account-lookup": _off,
    },
    "kube-controller-manager-arg": {
        "profiling": _on,
        "terminated-pod-gc-threshold": lambda value: value.startswith(("0", "-")),
        "use-service-account-credentials": _off,
    },
    "kube-scheduler-arg": {"profiling": _on},
}


def conflicts(settings: Settings) -> Iterator[Problem]:
    """What contradicts k3s.hardened: true."""
    if not settings.k3s.hardened:
        return
    if k3s_release(settings.k3s.version)[0] < _FIRST_RELEASE:
        conflict = f"needs PodSecurity, which K3s has from v1.{_FIRST_RELEASE} on; take a newer k3s.version"
        yield following("k3s.hardened", "True", conflict, "k3s.version")
    if settings.multus.namespace == "default":
        conflict = (
            "is exempt from PodSecurity with k3s.hardened, since Multus is privileged, and default has other pods as well; leave "
            "multus.namespace at kube-system, or name one for Multus alone"
        )
        yield following("multus.namespace", "'default'", conflict, "k3s.hardened")
    if settings.workload.user == 0 and settings.workload.namespace == "default":
        conflict = (
            "would exempt the namespace default from PodSecurity, which k3s.hardened sets to restricted; give the pod a namespace "
            "of its own (workload.namespace), or an image that runs as another user"
        )
        yield following("workload.user", "0", conflict, "workload.namespace", "k3s.hardened")
    for setting, config in (("k3s.config", settings.k3s.config), ("k3s.serverConfig", settings.k3s.server_config)):
        for key, value in config.items():
            for what in _taken_back(key, value):
                conflict = f"{what} takes back a part of k3s.hardened; remove it, or leave k3s.hardened out (docs/hardening.md)"
                yield following(f"{setting}.{key}", "", conflict, "k3s.hardened")


def _taken_back(key: str, value: Any) -> Iterator[str]:
    option = hardening.canonical(key)
    if option in _OPTIONS and _OPTIONS[option](str(value)):
        yield f"the value of {option}"
    known = _ARGUMENTS.get(option, {})
    for argument in k3s_options.arguments(value) if known else ():
        name = hardening.argument_name(argument)
        if name in known and known[name](argument.partition("=")[2] if "=" in argument else "true"):
            yield f"its argument {name}"

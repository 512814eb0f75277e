"""The scenario by hand: the parameters of `by-hand.sh`, from the same settings and plan as `up`, and what it prints."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import yaml

from components.cluster import k3s_files
from components.config.network_plan import AttachmentPlan, NodeNetworkPlan
from components.config.plan import Plan, with_prefix
from components.config.settings import Settings
from components.network import cni

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "by-hand.sh"
LIMIT = 900
"""Seconds of each wait."""


class ByHandError(Exception):
    """The script failed, or the stack is not one that it can make; meant for the user."""


def environment(settings: Settings, plan: Plan, work: Path) -> dict[str, str]:
    """The script's parameters. It makes one server, the first of the plan, with its MAC and address, under another name.

    Raises ByHandError for a stack whose settings the script does not know.
    """
    node, shape, network = plan.nodes[0], settings.machine, settings.network
    if settings.k3s.hardened or settings.cloud_init:
        raise ByHandError("the scenario by hand knows no k3s.hardened and no cloudInit: take a stack without them")
    node_network, _, page = _network(plan)
    own = node_network.network.settings
    # Nobody has it before the pod is there.
    check = own.range.last if own.range else page
    return {
        "WORK": str(work),
        "NAME": f"{plan.project}-{plan.stack}-by-hand",
        "MAC": node.mac,
        "ADDRESS": str(node.address),
        "URI": node.pool.uri,
        "POOL": f"{node.pool.path}-by-hand",
        "NETWORK": network.name,
        "INTERFACE": network.interface,
        "MEMORY": str(node.memory),
        "CPUS": str(node.cpus),
        "DISK": str(node.disk // 2**30),
        "VIRT_TYPE": shape.virt_type,
        "CPU_MODE": shape.cpu_mode,
        "CPU_MODEL": shape.cpu_model,
        "CACHE": shape.disk_cache,
        "MACHINE": shape.machine_type,
        "IMAGE": settings.image.source if "://" in settings.image.source else f"file://{settings.image.source}",
        "CHECKSUM": settings.image.checksum,
        "SSH_USER": settings.ssh.user,
        "INSTALL_URL": settings.k3s.install_script.url,
        "INSTALL_ENV": "\n".join(f"{name}={value}" for name, value in sorted(_install_environment(settings).items())),
        "K3S_VERSION": settings.k3s.version,
        "K3S_REGISTRY": settings.k3s.system_default_registry,
        "PLUGINS_URL": settings.plugins.url,
        "PLUGINS": " ".join(plan.plugins),
        "CNI_BIN": plan.cni.bin,
        "CNI_CONF": plan.cni.conf,
        "CHECK_ADDRESS": with_prefix(node_network.network.cidr, check),
        "POD": settings.workload.name,
        "NAMESPACE": settings.workload.namespace,
        "PAGE": str(page),
        "PORT": str(settings.workload.port),
        "TITLE": settings.proof.title,
        "LIMIT": str(LIMIT),
    }


def _network(plan: Plan) -> tuple[NodeNetworkPlan, AttachmentPlan, IPv4Address]:
    """The network for pods on the machine, what the pod has on it, and its address: the one that it has in the book, or the first
    that host-local gives out. ByHandError where the script does not know such a network."""
    networks = plan.nodes[0].networks
    node_network, attachment = networks[0], plan.pods[0].attachments[0]
    booked = attachment.booked.ip if attachment.booked else None
    page = booked or (node_network.slice.first if node_network.slice else None)
    known = node_network.network.of_nodes and node_network.network.settings.ipam != "dhcp"
    if len(networks) != 1 or not known or page is None:
        raise ByHandError(
            "the scenario by hand knows one network for pods, on the nodes' own interface and in their subnet, without ipam dhcp; "
            f"this stack has {', '.join(network.path for network in plan.networks)}: take another one"
        )
    return node_network, attachment, page


def _install_environment(settings: Settings) -> dict[str, str]:
    """Environment of the install script: its copies read the address of the releases from one variable or the other."""
    environment, releases = dict(settings.k3s.install_script.environment), settings.k3s.releases
    return environment | ({"GITHUB_URL": releases, "INSTALL_K3S_ARTIFACT_URL": f"{releases}/download"} if releases else {})


def documents(settings: Settings, plan: Plan) -> dict[str, str]:
    """The files that the script applies, by name."""
    multus = settings.multus
    manifest = Template((HERE / "multus.yaml").read_text(encoding="utf-8")).substitute(
        image=multus.image,
        conf=plan.cni.conf,
        bin=plan.cni.bin,
        cpu=multus.cpu_request,
        memory_request=multus.memory_request,
        memory_limit=multus.memory_limit,
    )
    node_network, attachment, _ = _network(plan)
    network = node_network.network
    definition = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": network.name, "namespace": network.settings.namespace},
        "spec": {"config": cni.canonical(cni.on_node(node_network))},
    }
    requested = cni.annotation([cni.attachment(network, attachment.booked)], settings.workload.namespace)
    manifest_of_pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": settings.workload.name,
            "namespace": settings.workload.namespace,
            "annotations": {"k8s.v1.cni.cncf.io/networks": requested},
        },
        "spec": {"containers": [{"name": "web", "image": settings.workload.image, "imagePullPolicy": "IfNotPresent"}]},
    }
    options = k3s_files.of_settings(settings.k3s, "server")
    return {
        "config.yaml": yaml.safe_dump(options, sort_keys=False) if options else "",
        "registries.yaml": k3s_files.registries_yaml(settings.k3s) or "",
        "multus.yaml": manifest,
        "pod.yaml": yaml.safe_dump_all([definition, manifest_of_pod], sort_keys=False),
    }


def stages(lines: Iterable[str]) -> dict[str, float]:
    """Seconds since the start at which each stage was done, from the script's lines."""
    return {name: float(seconds) for name, seconds in (line.split() for line in lines if line.strip())}


def run(settings: Settings, plan: Plan) -> Mapping[str, float]:
    """Run the script; raises ByHandError with the end of its stderr."""
    with TemporaryDirectory(prefix="by-hand-") as name:
        work = Path(name)
        for file, text in documents(settings, plan).items():
            (work / file).write_text(text, encoding="utf-8")
        completed = subprocess.run(  # noqa: S603 - our own script
            [str(SCRIPT)],
            env={**os.environ, **environment(settings, plan, work)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if completed.returncode:
        so_far = " ".join(completed.stdout.split()) or "nothing"
        raise ByHandError(
            f"by-hand.sh ended with status {completed.returncode} (done: {so_far}):\n{completed.stderr.strip()[-2000:]}"
        )
    return stages(completed.stdout.splitlines())

"""`lab reboot`: a node is drained, restarted from within, checked as `up` checks it, and takes pods again."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from cli import maintenance, networks, node_scripts
from cli import stack as stacks
from cli.errors import LabError
from cli.maintenance import Maintenance
from cli.node_scripts import Run
from cli.report import say
from cli.verbs import ssh
from cli.waiting import Waiting
from components.config.plan import NodePlan

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_CLOSED = 255
"""ssh's status where the machine shut down before it answered."""
_NETWORK_LIMIT = 400
"""Seconds for one network's check, as `up` gives it."""


def main(options: argparse.Namespace) -> int:
    """0 when the node serves again, 1 when whoever was asked did not want it."""
    job = maintenance.begin(options)
    name, limits = job.node.name, job.settings.timeouts
    with maintenance.saying_what_holds(job):
        boot = boot_id(job)
        if not boot:
            raise LabError(f"{name} does not answer on SSH, so it cannot be restarted from within: ./lab status, ./lab logs {name}")
        cordoned = any(node.cordoned for node in job.kube_nodes() if node.name == name)
        if not maintenance.take_out(job, options, comes_back=True):
            return 1
        # Draining may take minutes.
        job.turn(job.kube_nodes(), f"{name} is drained and not restarted")
        staying = {pod: started(item) for pod, item in job.own_pods().items() if item["spec"].get("nodeName") == name}
        job.state = (
            f"{name} is cordoned and may be restarting: ./lab status says when it is Ready, then ./lab uncordon {name}, or ./lab "
            f"reboot {name} again"
        )
        restart(job)
        wait_for_boot(job, boot, limits.shutdown + limits.boot)
        check(job)
        if cordoned:
            say(f"{name} was cordoned before, and is again: ./lab uncordon {name}")
            job.state = f"{name} is cordoned, as it was before"
        else:
            maintenance.put_back(job, limits.k3s)
        bring_back(job, staying)
    say(f"{name} serves again")
    return 0


def boot_id(job: Maintenance) -> str:
    """Of the boot that runs; empty where the node does not answer."""
    answer = ssh.gather(job.stack, [job.node], ["cat", _BOOT_ID], 30)[job.node.name]
    return answer.text.strip()


def restart(job: Maintenance) -> None:
    """From within, in order. libvirt would only reset it."""
    say(f"{job.node.name}: restarting")
    done = ssh.run(job.stack, job.node, ["sudo", "-n", "systemctl", "reboot"], capture=True)
    if done.returncode not in (0, _CLOSED):
        raise LabError(f"{job.node.name} does not restart: {' '.join(done.stderr.split()) or f'status {done.returncode}'}")


def wait_for_boot(job: Maintenance, former: str, limit: float) -> None:
    """Until the node answers with another boot ID than `former`, `limit` seconds at most."""
    name, waiting = job.node.name, Waiting(limit)
    while True:
        # A connection over SSH costs an emulated guest more than a second while it boots; a port costs nothing.
        if ssh.is_open(job.node.address, job.stack.ssh_port):
            boot = boot_id(job)
            if boot and boot != former:
                say(f"{name}: booted after {waiting.seconds:.0f} s")
                return
            last = "it has not shut down yet" if boot else "its SSH server does not let in yet"
        else:
            last = "it does not answer"
        if waiting.is_over:
            raise LabError(
                f"{name} did not boot within timeouts.shutdown + timeouts.boot = {limit:.0f} s: {last}. Its console: ./lab logs "
                f"{name} --console; raise the limits if the machine is slow"
            )
        waiting.report(f"{name}: {last}")
        time.sleep(1)


def check(job: Maintenance) -> None:
    """The checks of `up`: the node is Ready in this boot, Multus is in place, each network works."""
    node, limits = job.node, job.settings.timeouts
    planned = next((plan for plan in job.plan.nodes if plan.name == node.name), None)
    if planned is None:
        raise LabError(f"{node.name} is not in the stack file any more: ./lab up removes it")
    ready = {"NODE_NAME": node.name, "LIMIT_SECONDS": str(limits.k3s + limits.node_ready)}

    def check(name: str, environment: Mapping[str, str], limit: int) -> None:
        node_scripts.printed(job.stack, Run(node=node, name=name, limit=limit, environment=environment))

    check("k3s-node-ready.sh", ready, limits.k3s + limits.node_ready + 60)
    multus = {
        "CONF_DIR": job.plan.cni.conf,
        "BIN_DIR": job.plan.cni.bin,
        "PLUGINS": " ".join(job.plan.plugins),
        "LIMIT_SECONDS": str(limits.multus),
    }
    check("multus-gate.sh", multus, limits.multus + 30)
    for environment in network_checks(planned):
        check("network-check.sh", environment, _NETWORK_LIMIT)
    if node.role == "server":
        own = maintenance.Api(maintenance.by_address(job.stack.kubeconfig, node.address))
        maintenance.attempt(lambda: own.get("/api/v1/nodes"), limits.k3s, f"{node.name}: waiting for its API")


def network_checks(planned: NodePlan) -> list[Mapping[str, str]]:
    """Parameters of network-check.sh for each network of the node, without the addresses that pods have by now."""
    from components.network.node_networks import check_parameters  # noqa: PLC0415 - imports Pulumi

    return [
        {key: value for key, value in check_parameters(network, planned.mac).items() if key not in ("FREE", "BOOKED")}
        for network in planned.networks
        if network.network.settings.check
    ]


def started(pod: Mapping[str, Any]) -> str:
    """When the pod's containers were started last."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return " ".join(str((status.get("state") or {}).get("running", {}).get("startedAt", "")) for status in statuses)


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)


def bring_back(job: Maintenance, former: Mapping[str, str]) -> None:
    """Until the stack's own pods that stayed on the node run again and their pages are served; where one has other addresses now, a
    run of the program reads them. former: when their containers were started before."""
    gone = wait_for_pods(job, former, job.settings.timeouts.pod)
    there = job.own_pods()
    moved = [name for name in former if name in there and addresses(there[name]) != proven(job, name)]
    job.make_again([*gone, *moved])
    prove(job, former)


def wait_for_pods(job: Maintenance, former: Mapping[str, str], limit: float) -> list[str]:
    """Until each of the pods runs again, `limit` seconds at most. Returns those that are not there any more, as where the node was
    away for longer than they tolerate."""
    waiting = Waiting(limit)
    while True:
        with contextlib.suppress(OSError):
            there = job.own_pods()
            remaining = [
                name
                for name, before in former.items()
                if name in there and not (is_ready(there[name]) and started(there[name]) != before)
            ]
            if not remaining:
                return [name for name in former if name not in there]
        if waiting.is_over:
            raise LabError(
                f"{', '.join(former)} does not run again within timeouts.pod = {limit:.0f} s: ./lab kubectl -n "
                f"{job.settings.workload.namespace} describe pod {next(iter(former))}"
            )
        waiting.report(f"{job.node.name}: waiting for {', '.join(former)}")
        time.sleep(2)


def addresses(pod: Mapping[str, Any]) -> set[str]:
    """The first address of each of its interfaces on networks, as the outputs have it."""
    annotations = pod["metadata"].get("annotations") or {}
    return {
        interface.addresses[0]
        for interface in networks.interfaces(annotations.get(networks.STATUS, ""))
        if interface.own and interface.addresses
    }


def proven(job: Maintenance, pod: str) -> set[str]:
    """The pod's addresses as the last `up` left them."""
    return {str(page["address"]) for page in job.stack.pages if page.get("pod") == pod}


def prove(job: Maintenance, pods: Mapping[str, str]) -> None:
    """The pages of these pods are served to this machine, as far as the last `up` has seen them served to it."""
    from components.custom import page_check  # noqa: PLC0415 - imports Pulumi

    if not job.settings.proof.enabled:
        return
    for page in stacks.read(job.stack.name).pages:
        if page.get("pod") in pods and page.get("url") and not page.get("unseen"):
            try:
                page_check.prove(str(page["url"]), str(page.get("title") or job.settings.proof.title), job.settings.timeouts.proof)
            except page_check.PageError as error:
                raise LabError(str(error)) from None
            say(f"{page['url']} is served")

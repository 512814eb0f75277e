"""A K3s cluster on libvirt with a pod that has an address of its own on the real network. The whole story, top to bottom."""

import pulumi

from components import interrupt, outputs
from components.cluster.cluster import Cluster, ClusterArgs
from components.config import reading
from components.config.problems import SettingsError
from components.config.raw import from_engine
from components.custom.server_gate import Failure
from components.machine.hypervisor import Hypervisor, HypervisorArgs
from components.machine.login_key import client_key
from components.machine.network_checks import free_addresses
from components.machine.virtual_machine import VirtualMachine, VirtualMachineArgs
from components.network.multus import Multus, MultusArgs
from components.network.node_access import NodeAccess, NodeAccessArgs
from components.network.page import Page, PageArgs
from components.network.pod import MacvlanPod, MacvlanPodArgs
from components.network.pod_network import MacvlanNetwork, MacvlanNetworkArgs

interrupt.exit_without_traceback()
project, stack = pulumi.get_project(), pulumi.get_stack()

# Configuration and plan: every mistake is reported here, before anything is created. Of artifacts a preview reads the manifest.
try:
    config, plan, artifacts, warnings = reading.load(
        project, stack, from_engine(project), artifact_files="listed" if pulumi.runtime.is_dry_run() else "verified"
    )
except SettingsError as error:
    raise pulumi.RunError(str(error)) from None
for warning in warnings:
    pulumi.log.warn(warning)

# Machines.
failure = Failure()
key = client_key(config.ssh, plan.owner)
free = free_addresses(plan, config.network)
hypervisors = {
    pool.hypervisor: Hypervisor(
        pool.hypervisor,
        HypervisorArgs(
            owner=plan.owner,
            pool=pool,
            image=plan.image,
            network=config.network,
            claims=plan.claims,
            macs=[node.mac for node in plan.nodes],
            after=free,
            artifacts=artifacts,
        ),
    )
    for pool in plan.pools
}
machines: list[VirtualMachine] = []
for node in plan.nodes:
    args = VirtualMachineArgs(
        owner=plan.owner,
        node=node,
        hypervisor=hypervisors[node.pool.hypervisor],
        key=key,
        ssh=config.ssh,
        network=config.network,
        machine=config.machine,
        cloud_init=config.cloud_init,
        macvlan=config.macvlan,
        ping=config.macvlan_check.ping,
        timeouts=config.timeouts,
        failure=failure,
        previous_server=next((machine for machine in reversed(machines) if machine.server_gate), None),
    )
    machines.append(VirtualMachine(node.name, args))

# Cluster.
cluster = Cluster(
    "k3s",
    ClusterArgs(
        owner=plan.owner,
        machines=machines,
        api_address=plan.api_address,
        api_names=plan.api_names,
        namespaces=plan.namespaces,
        k3s=config.k3s,
        plugins=config.plugins,
        cni=plan.cni,
        timeouts=config.timeouts,
        failure=failure,
        artifacts=artifacts,
    ),
)
multus = Multus(
    "multus",
    MultusArgs(
        machines=machines,
        cluster=cluster,
        settings=config.multus,
        paths=plan.cni,
        plugin_names=config.plugins.names,
        version=config.k3s.version,
        timeouts=config.timeouts,
    ),
)

# Network and pod.
network = MacvlanNetwork(
    config.macvlan.name,
    MacvlanNetworkArgs(
        machines=machines,
        cluster=cluster,
        multus=multus,
        macvlan=config.macvlan,
        network=config.network,
        master=plan.master,
    ),
)
access = [
    NodeAccess(f"{machine.node.name}-access", NodeAccessArgs(machine=machine, macvlan=config.macvlan, master=plan.master))
    for machine in machines
    if machine.node.access_address is not None
]
pods = [
    MacvlanPod(
        pod.name,
        MacvlanPodArgs(
            cluster=cluster,
            pod=pod.name,
            machine=next((machine for machine in machines if machine.node is pod.node), None),
            network=network,
            macvlan=config.macvlan,
            workload=config.workload,
            lan=config.network,
            after=[*multus.multus_ready.values(), *(machine.network_checked for machine in machines)],
            limit=config.timeouts.pod,
        ),
    )
    for pod in plan.pods
]

for machine in machines:
    machine.sync(after=[pod.uid for pod in pods if pod.node in (None, machine.node.name)])

# Proof and exports.
pages = [
    Page(
        f"{pod.pod}-page",
        PageArgs(pod=pod, port=config.workload.port, proof=config.proof, limit=config.timeouts.proof),
    )
    for pod in pods
]
outputs.export(pages=pages, cluster=cluster, machines=machines, key=key, ssh=config.ssh)

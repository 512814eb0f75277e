"""A K3s cluster on libvirt with a pod that has an address of its own on the real network. The whole story, top to bottom."""

import os

import pulumi

from components import completion, interrupt, outputs, sdk_shortcuts
from components.cluster import rotation
from components.cluster.cluster import Cluster, ClusterArgs
from components.cluster.pod_report import pod_report
from components.config import hardening, reading
from components.config.problems import SettingsError
from components.config.raw import from_engine
from components.custom.server_gate import Failure
from components.machine import host_devices, image_recipe
from components.machine.hypervisor import Hypervisor, HypervisorArgs
from components.machine.key_arrival import key_arrival_hook
from components.machine.login_key import client_key
from components.machine.network_checks import free_addresses
from components.machine.node_nics import NodeNics
from components.machine.virtual_machine import VirtualMachine, VirtualMachineArgs
from components.network.changed_network import changed_network_report
from components.network.leftover_pod import leftover_pod_hook
from components.network.multus import Multus, MultusArgs
from components.network.node_networks import NodeNetworks, NodeNetworksArgs
from components.network.page import Page, PageArgs
from components.network.pod import MacvlanPod, MacvlanPodArgs
from components.network.pod_network import PodNetwork, PodNetworkArgs
from components.network.running_pods import RunningPods

interrupt.exit_without_traceback()
if interrupt.run_by_pulumi():
    sdk_shortcuts.take()
project, stack = pulumi.get_project(), pulumi.get_stack()

# Configuration and plan: every mistake is reported here, before anything is created. Of artifacts a preview reads the manifest.
try:
    config, plan, artifacts, warnings = reading.load(
        project, stack, from_engine(project), artifact_files="listed" if pulumi.runtime.is_dry_run() else "verified"
    )
except SettingsError as error:
    raise pulumi.RunError(str(error)) from None
try:
    rotate = rotation.requested(os.environ, config.k3s.version)
except ValueError as error:
    raise pulumi.RunError(str(error)) from None
for warning in warnings:
    pulumi.log.warn(warning)

# Machines.
failure = Failure()
key = client_key(config.ssh, plan.owner)
key_arrival = key_arrival_hook("login-key-arrives", key.public)
free = free_addresses(plan, config.network)
devices = host_devices.of_nodes(plan)
recipe = image_recipe.recipe(config, plan, artifacts)
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
            after=[*free, *(device for node in plan.nodes if node.pool is pool for device in devices[node.name])],
            artifacts=artifacts,
            data_disks=[disk for node in plan.nodes if node.pool is pool for disk in node.disks],
            data_pools=[data_pool for data_pool in plan.data_pools if data_pool.hypervisor == pool.hypervisor],
            machine=config.machine,
            recipe=recipe,
            machines=image_recipe.machines(config, plan, pool),
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
        key_arrival=key_arrival,
        ssh=config.ssh,
        network=config.network,
        machine=config.machine,
        cloud_init=config.cloud_init,
        timeouts=config.timeouts,
        failure=failure,
        devices=devices[node.name],
        previous_server=next((machine for machine in reversed(machines) if machine.server_gate), None),
    )
    machines.append(VirtualMachine(node.name, args))

nics = {machine.node.name: NodeNics(f"{machine.node.name}-nics", machine=machine) for machine in machines if machine.node.nics}

# Cluster.
cluster = Cluster(
    "k3s",
    ClusterArgs(
        owner=plan.owner,
        machines=machines,
        api_address=plan.api_address,
        join_address=plan.join_address,
        interface=config.network.interface,
        api_names=plan.api_names,
        namespaces=plan.namespaces,
        k3s=config.k3s,
        plugins=config.plugins,
        plugin_names=plan.plugins,
        cni=plan.cni,
        timeouts=config.timeouts,
        failure=failure,
        artifacts=artifacts,
        rotate=rotate,
        exempt_namespaces=hardening.exempt_namespaces(config),
    ),
)
multus = Multus(
    "multus",
    MultusArgs(
        machines=machines,
        cluster=cluster,
        settings=config.multus,
        paths=plan.cni,
        plugin_names=plan.plugins,
        version=config.k3s.version,
        timeouts=config.timeouts,
    ),
)

# Networks and pods.
on_nodes = [
    NodeNetworks(
        f"{machine.node.name}-networks",
        NodeNetworksArgs(
            machine=machine,
            plugins_installed=cluster.nodes[machine.node.name].plugins_installed,
            nics=nics[machine.node.name].ready if machine.node.name in nics else {},
            bin_directory=plan.cni.bin,
            version=config.k3s.version,
        ),
    )
    for machine in machines
]
changed = changed_network_report("changed-network", cluster.kubeconfig)
networks = {
    network.name: PodNetwork(
        network.name,
        PodNetworkArgs(network=network, machines=machines, on_nodes=on_nodes, cluster=cluster, multus=multus, changed=changed),
    )
    for network in plan.networks
}
report = pod_report("pod-report", cluster.kubeconfig)
running = RunningPods(
    cluster.kubeconfig,
    config.workload.namespace,
    names=[pod.name for pod in plan.pods if pod.node is None],
    nodes=[node.name for node in plan.nodes],
)
make_way = leftover_pod_hook("pod-makes-way", cluster.kubeconfig, config.timeouts.pod)
pods = [
    MacvlanPod(
        pod.name,
        MacvlanPodArgs(
            cluster=cluster,
            pod=pod,
            machine=next((machine for machine in machines if machine.node is pod.node), None),
            host=next((machine for machine in machines if machine.node is pod.node or len(machines) == 1), None),
            networks=networks,
            running=running,
            make_way=make_way,
            report=report,
            workload=hardening.workload(config),
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
        f"{pod.pod}-{interface.network.name}",
        PageArgs(pod=pod, interface=interface, port=config.workload.port, proof=config.proof, limit=config.timeouts.proof),
    )
    for pod in pods
    for interface in pod.interfaces
]
outputs.export(pages=pages, networks=plan.networks, cluster=cluster, machines=machines, key=key, ssh=config.ssh)
pulumi.run(completion.all_done)

"""A K3s cluster on libvirt with a pod that has an address of its own on the real network. The whole story, top to bottom."""

import pulumi

from components import interrupt, outputs
from components.cluster.cluster import Cluster, ClusterArgs
from components.config import artifacts, conflicts, problems, reading
from components.config.plan import images
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

# Configuration and plan: every mistake is reported here, before anything is created.
try:
    misnamed = reading.misnamed(project, reading.config_keys())
    config, layout = reading.load(project, stack, reading.from_stack(project), found=misnamed)
    # Files in place of downloads, where there are any; a preview reads their manifest alone.
    stock = artifacts.load(stack, config, files=not pulumi.runtime.is_dry_run())
except problems.SettingsError as error:
    raise pulumi.RunError(str(error)) from None
for warning in conflicts.warnings(config):
    pulumi.log.warn(warning)
image = stock.image(layout.image) if stock else layout.image
config = stock.settings(config) if stock else config

# Machines.
failure = Failure()
key = client_key(config.ssh, layout.owner)
free = free_addresses(layout, config.network)
hypervisors = {
    pool.hypervisor: Hypervisor(
        pool.hypervisor,
        HypervisorArgs(
            owner=layout.owner,
            pool=pool,
            image=image,
            network=config.network,
            claims=layout.claims,
            macs=[node.mac for node in layout.nodes],
            after=free,
            stock=stock,
        ),
    )
    for pool in layout.pools
}
machines: list[VirtualMachine] = []
for node in layout.nodes:
    args = VirtualMachineArgs(
        owner=layout.owner,
        node=node,
        hypervisor=hypervisors[node.pool.hypervisor],
        key=key,
        settings=config,
        failure=failure,
        previous_server=next((machine for machine in reversed(machines) if machine.server_gate), None),
    )
    machines.append(VirtualMachine(node.name, args))

# Cluster.
cluster = Cluster(
    "k3s",
    ClusterArgs(
        owner=layout.owner,
        machines=machines,
        api_names=layout.api_names,
        images={node.name: images(layout, config, node) for node in layout.nodes},
        namespaces=layout.namespaces,
        k3s=config.k3s,
        plugins=config.plugins,
        cni=layout.cni,
        timeouts=config.timeouts,
        failure=failure,
        stock=stock,
    ),
)
multus = Multus(
    "multus",
    MultusArgs(
        machines=machines,
        cluster=cluster,
        settings=config.multus,
        paths=layout.cni,
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
        master=layout.master,
    ),
)
access = [
    NodeAccess(f"{machine.node.name}-access", NodeAccessArgs(machine=machine, macvlan=config.macvlan, master=layout.master))
    for machine in machines
    if machine.node.access_address is not None
]
pods = [
    MacvlanPod(
        planned.name,
        MacvlanPodArgs(
            cluster=cluster,
            pod=planned.name,
            machine=next((machine for machine in machines if machine.node is planned.node), None),
            network=network,
            macvlan=config.macvlan,
            workload=config.workload,
            lan=config.network,
            after=[*multus.multus_ready.values(), *(machine.network_checked for machine in machines)],
            limit=config.timeouts.pod,
        ),
    )
    for planned in layout.pods
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

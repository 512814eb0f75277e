"""A K3s cluster on libvirt with a pod that has an address of its own on the real network. The whole story, top to bottom."""

import pulumi

from components import artifacts, conflicts, mistakes, outputs, quiet, settings
from components.access import NodeAccess, NodeAccessArgs
from components.hypervisor import Hypervisor, HypervisorArgs
from components.k3s import Cluster, ClusterArgs
from components.lan import free_addresses
from components.machine import VirtualMachine, VirtualMachineArgs
from components.macvlan import MacvlanNetwork, MacvlanNetworkArgs, MacvlanPod, MacvlanPodArgs
from components.multus import Multus, MultusArgs
from components.page import Page, PageArgs
from components.plan import images
from components.settled import Failure
from components.ssh import client_key

quiet.end_quietly()
project, stack = pulumi.get_project(), pulumi.get_stack()

# Settings and plan: every mistake is told here, before anything is made.
try:
    misnamed = settings.misnamed(project, settings.config_keys())
    config, layout = conflicts.load(project, stack, settings.from_stack(project), found=misnamed)
    # Files in place of downloads, where there are any; a preview reads their manifest alone.
    stock = artifacts.load(stack, config, files=not pulumi.runtime.is_dry_run())
except mistakes.SettingsError as error:
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
        before=next((machine for machine in reversed(machines) if machine.settled), None),
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
            after=[*multus.gates.values(), *(machine.checked for machine in machines)],
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

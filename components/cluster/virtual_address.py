"""The cluster's virtual address (k3s.virtualAddress): kube-vip on each server, of which one has the address at a time.

A static pod, and not a DaemonSet of Pulumi's or one of K3s's own manifests, for three reasons. The program's Kubernetes provider
and the nodes after the first reach the API by the very address that a typed resource would have to make first. The kubelet runs it
as the files on the node say, so it runs wherever K3s does, until the file is removed; what K3s applies from a manifest stays even
then. And kube-vip must reach the API of its own server alone: by a Service, a server whose API has ended would keep the lease by
another server's, and with it the address. It may do there what the server's administrator may: a static pod has no service account.
"""

from __future__ import annotations

import hashlib

import pulumi
from pulumi import Output, ResourceOptions

from components.config.plan import API_PORT
from components.config.settings import K3s
from components.machine.virtual_machine import VirtualMachine
from components.node import command, yaml_text

# Where kube-vip looks for a kubeconfig, and where virtual-address.sh keeps it.
_EXPECTED, _KUBECONFIG = "/etc/kubernetes/admin.conf", "/var/lib/k3s-macvlan/kube-vip.kubeconfig"
# A directory, because K3s recreates some of its files when certificates are rotated, and a mounted file would stay the old one.
_TLS = "/var/lib/rancher/k3s/server/tls"
_OFF_SECONDS = 60


def static_pod(node: str, interface: str, k3s: K3s) -> str:
    """The manifest of kube-vip on a server. Pure.

    After `kube-vip manifest pod`; its releases from v1.0.0 to v1.2.3 know these variables.
    """
    lease = k3s.kube_vip
    environment = {
        "address": str(k3s.virtual_address),
        "cp_enable": "true",
        "cp_namespace": "kube-system",
        # Over the kubeconfig's, and valid in K3s's certificate: this server's own API.
        "kubernetes_addr": f"https://127.0.0.1:{API_PORT}",
        "port": str(API_PORT),
        # Its metrics are for this node alone; without a word they are on all of its addresses.
        "prometheus_server": "127.0.0.1:2112",
        "vip_arp": "true",
        "vip_interface": interface,
        "vip_leaderelection": "true",
        # By default 15, 10 and 2 s, kube-vip's own and those of K3s's controllers. The API of a busy emulated server was seen to be
        # later than that (docs/nodes.md), hence the setting.
        "vip_leaseduration": str(lease.lease_duration),
        "vip_leasename": "plndr-cp-lock",
        "vip_nodename": node,
        "vip_renewdeadline": str(lease.renew_deadline),
        "vip_retryperiod": str(lease.retry_period),
        # No route of the network's own by this address, and kube-vip marks it as deprecated: nothing is sent from it.
        "vip_subnet": "32",
    }
    container = {
        "name": "kube-vip",
        "image": lease.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["manager"],
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            # Where SELinux is enforcing, no other type may read K3s's files. Without SELinux it says nothing.
            "seLinuxOptions": {"type": "spc_t"},
        },
        "volumeMounts": [
            {"name": "kubeconfig", "mountPath": _EXPECTED, "readOnly": True},
            {"name": "tls", "mountPath": _TLS, "readOnly": True},
        ],
    }
    return yaml_text.dump(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "kube-vip",
                "namespace": "kube-system",
                "labels": {"app.kubernetes.io/name": "kube-vip", "app.kubernetes.io/managed-by": "k3s-macvlan"},
            },
            "spec": {
                "containers": [container],
                "hostNetwork": True,
                "priorityClassName": "system-node-critical",
                # It gives the address and the lease back when it ends.
                "terminationGracePeriodSeconds": 20,
                "volumes": [
                    {"name": "kubeconfig", "hostPath": {"path": _KUBECONFIG, "type": "File"}},
                    {"name": "tls", "hostPath": {"path": _TLS, "type": "Directory"}},
                ],
            },
        }
    )


def answering(
    machine: VirtualMachine,
    interface: str,
    k3s: K3s,
    *,
    installation: Output[str],
    installed: pulumi.Resource,
    limit: int,
    opts: ResourceOptions,
) -> pulumi.Resource:
    """The step after which the API answers at the virtual address; undone, the address leaves this server.

    installation: all that K3s is installed from on this server. Another one may restart K3s, and then the address is waited for
    again.
    """
    node = machine.node
    place = {"ADDRESS": str(k3s.virtual_address), "INTERFACE": interface}
    manifest = static_pod(node.name, interface, k3s)
    return machine.run(
        f"{node.name}-virtual-address",
        command.Script(
            name="virtual-address.sh",
            environment={**place, "ACTION": "on", "NODE_NAME": node.name, "LIMIT_SECONDS": str(limit)},
            limit=limit + 600,
            stdin=installation.apply(lambda text: f"{hashlib.sha256(text.encode()).hexdigest()[:16]}\n{manifest}"),
        ),
        # Another address is another step, so that the former one is given back.
        str(k3s.virtual_address),
        on_delete=command.Script(
            name="virtual-address.sh",
            environment={**place, "ACTION": "off", "LIMIT_SECONDS": str(_OFF_SECONDS)},
            limit=_OFF_SECONDS + 30,
        ),
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[installed])),
    )

"""Multus, thin, with K3s's paths: CRD, RBAC, token, ConfigMap and DaemonSet, and what it takes to remove it again.

After upstream's deployments/multus-daemonset.yml, with these differences: K3s's directories and the kubeconfig's path on
the host; a token that does not expire (the projected one does, and the thin daemon copies it once: multus-cni issue 1263);
the configuration stays on disk when the daemon stops, so that pods wait for it instead of silently getting one interface
(issue 1527); a memory limit that holds (issue 1346); the priority of a node's own components.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ComponentResource, CustomTimeouts, ResourceHookBinding, ResourceOptions
from pulumi_kubernetes.apiextensions import v1 as apiextensions
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

from components.cluster.cluster import Cluster
from components.cluster.pod_report import daemon_report
from components.config.plan import CniPaths
from components.config.settings import Multus as MultusSettings
from components.config.settings import Timeouts
from components.machine.virtual_machine import VirtualMachine
from components.node import command

DAEMON_SET = "kube-multus-ds"
_LABELS = {"app": "multus", "name": "multus", "tier": "node"}
# Where the image expects the node's directories and a service account's token.
_HOST_CONF, _HOST_BIN, _TOKEN = "/host/etc/cni/net.d", "/host/opt/cni/bin", "/var/run/secrets/kubernetes.io/serviceaccount"
# What the provider waits for in place of its own rule, within the resource's custom timeouts.
_WAIT_FOR = "pulumi.com/waitFor"
# K3s writes this file when its own network is up.
_MASTER_CONF = "10-flannel.conflist"


@dataclass(frozen=True, kw_only=True)
class MultusArgs:
    """Inputs of `Multus`."""

    machines: list[VirtualMachine]
    """All nodes."""
    cluster: Cluster
    """The cluster."""
    settings: MultusSettings
    """The setting multus."""
    paths: CniPaths
    """CNI directories on the nodes."""
    plugin_names: Sequence[str]
    """Plugins that must be on a node before its pods may start."""
    version: str
    """K3s's release. Another one rolls the DaemonSet: with the old layout, the directory that a running pod has mounted is then no
    longer the one in use."""
    timeouts: Timeouts
    """The setting timeouts, in seconds."""


class Multus(ComponentResource):
    """Multus on every node. Errors: a DaemonSet that is not ready in time, with its pods' events; what a node's check reports."""

    crd: apiextensions.CustomResourceDefinition
    """Of NetworkAttachmentDefinitions."""
    multus_ready: dict[str, pulumi.Resource]
    """By node name, the step after which its pods get their networks. A ready DaemonSet does not mean that: its files appear
    seconds later (measured)."""

    def __init__(self, name: str, args: MultusArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:multus:Multus", name, {}, opts)
        namespace, own = args.settings.namespace, ResourceOptions.merge(args.cluster.child_options, ResourceOptions(parent=self))
        limits = _timeouts(args.timeouts.multus)

        self.crd = apiextensions.CustomResourceDefinition(
            f"{name}-crd",
            metadata=meta.ObjectMetaArgs(
                name="network-attachment-definitions.k8s.cni.cncf.io", annotations={_WAIT_FOR: "condition=Established"}
            ),
            spec=_crd(),
            opts=ResourceOptions.merge(own, ResourceOptions(custom_timeouts=limits)),
        )
        account = core.ServiceAccount(f"{name}-account", metadata=meta.ObjectMetaArgs(name="multus", namespace=namespace), opts=own)
        role = rbac.ClusterRole(f"{name}-role", metadata=meta.ObjectMetaArgs(name="multus"), rules=_rules(), opts=own)
        binding = rbac.ClusterRoleBinding(
            f"{name}-binding",
            metadata=meta.ObjectMetaArgs(name="multus"),
            role_ref=rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name=role.metadata.name),
            subjects=[rbac.SubjectArgs(kind="ServiceAccount", name=account.metadata.name, namespace=namespace)],
            opts=own,
        )
        token = core.Secret(
            f"{name}-token",
            metadata=meta.ObjectMetaArgs(
                name="multus-token",
                namespace=namespace,
                # The provider's own wait for the token ends after 5 s whatever limit it is given (awaiters.go,
                # untilCoreV1SecretInitialized), and the controller of a K3s that has just started takes longer (seen).
                annotations={
                    "kubernetes.io/service-account.name": account.metadata.name,
                    _WAIT_FOR: "jsonpath={.data.token}",
                },
            ),
            type="kubernetes.io/service-account-token",
            opts=ResourceOptions.merge(own, ResourceOptions(additional_secret_outputs=["data"], custom_timeouts=limits)),
        )
        config_map = core.ConfigMap(
            f"{name}-config",
            metadata=meta.ObjectMetaArgs(name="multus-cni-config", namespace=namespace, labels={"app": "multus", "tier": "node"}),
            data={"cni-conf.json": _sample(args.paths)},
            opts=own,
        )
        # Created before the DaemonSet and so deleted after it: pods first, then the daemon, then its files.
        cleaners = [
            machine.run(
                f"{machine.node.name}-multus-clean",
                None,
                on_delete=command.Script(
                    name="multus-clean.sh", environment={"CONF_DIR": args.paths.conf, "BIN_DIR": args.paths.bin}, limit=60
                ),
                opts=ResourceOptions(parent=self, depends_on=[machine.ssh_ready]),
            )
            for machine in args.machines
        ]
        report = daemon_report(f"{name}-report", args.cluster.kubeconfig, namespace, _LABELS["name"], "multus.image")
        daemon_set = apps.DaemonSet(
            f"{name}-daemonset",
            metadata=meta.ObjectMetaArgs(name=DAEMON_SET, namespace=namespace, labels=_LABELS),
            spec=apps.DaemonSetSpecArgs(
                selector=meta.LabelSelectorArgs(match_labels={"name": "multus"}),
                update_strategy=apps.DaemonSetUpdateStrategyArgs(type="RollingUpdate"),
                template=core.PodTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(labels=_LABELS, annotations={"k3s-macvlan.dev/k3s-version": args.version}),
                    spec=_pod(args, account.metadata.name, token.metadata.name, config_map.metadata.name),
                ),
            ),
            opts=ResourceOptions.merge(
                own,
                ResourceOptions(
                    depends_on=[binding, self.crd, *cleaners],
                    custom_timeouts=limits,
                    hooks=ResourceHookBinding(on_error=[report]),
                ),
            ),
        )
        self.multus_ready = {
            machine.node.name: machine.run(
                f"{machine.node.name}-multus-gate",
                command.Script(
                    name="multus-gate.sh",
                    environment={
                        "CONF_DIR": args.paths.conf,
                        "BIN_DIR": args.paths.bin,
                        "PLUGINS": " ".join(args.plugin_names),
                        "LIMIT_SECONDS": str(args.timeouts.multus),
                    },
                    limit=args.timeouts.multus + 30,
                ),
                args.version,
                args.settings.image,
                opts=ResourceOptions(parent=self, depends_on=[daemon_set, *args.cluster.nodes[machine.node.name].node_ready_steps]),
            )
            for machine in args.machines
        }
        self.register_outputs({})


def _timeouts(seconds: int) -> CustomTimeouts:
    return CustomTimeouts(create=f"{seconds}s", update=f"{seconds}s", delete=f"{seconds}s")


def _crd() -> apiextensions.CustomResourceDefinitionSpecArgs:
    schema = apiextensions.JSONSchemaPropsArgs
    return apiextensions.CustomResourceDefinitionSpecArgs(
        group="k8s.cni.cncf.io",
        scope="Namespaced",
        names=apiextensions.CustomResourceDefinitionNamesArgs(
            plural="network-attachment-definitions",
            singular="network-attachment-definition",
            kind="NetworkAttachmentDefinition",
            short_names=["net-attach-def"],
        ),
        versions=[
            apiextensions.CustomResourceDefinitionVersionArgs(
                name="v1",
                served=True,
                storage=True,
                schema=apiextensions.CustomResourceValidationArgs(
                    open_apiv3_schema=schema(
                        description="A network that pods may be attached to "
                        "(Kubernetes Network Custom Resource Definition De-facto Standard)",
                        type="object",
                        properties={
                            "apiVersion": schema(type="string"),
                            "kind": schema(type="string"),
                            "metadata": schema(type="object"),
                            "spec": schema(
                                description="The desired state of the attachment",
                                type="object",
                                properties={"config": schema(description="CNI configuration as JSON", type="string")},
                            ),
                        },
                    )
                ),
            )
        ],
    )


def _rules() -> list[rbac.PolicyRuleArgs]:
    """What the thin plugin does with the API: it reads networks and pods, and writes the pods' status and events."""
    rule = rbac.PolicyRuleArgs
    return [
        rule(api_groups=["k8s.cni.cncf.io"], resources=["network-attachment-definitions"], verbs=["get", "list", "watch"]),
        rule(api_groups=[""], resources=["pods"], verbs=["get", "list", "watch"]),
        rule(api_groups=[""], resources=["pods/status"], verbs=["get", "update", "patch"]),
        rule(api_groups=["", "events.k8s.io"], resources=["events"], verbs=["create", "patch", "update"]),
    ]


def _sample(paths: CniPaths) -> str:
    """A configuration to start from where `--multus-conf-file=auto` does not serve; mounted at /tmp/multus-conf."""
    document = {
        "name": "multus-cni-network",
        "type": "multus",
        "capabilities": {"portMappings": True},
        "kubeconfig": paths.multus_kubeconfig,
        "delegates": [
            {
                "cniVersion": "1.0.0",
                "name": "cbr0",
                "plugins": [
                    {
                        "type": "flannel",
                        "delegate": {"forceAddress": True, "hairpinMode": True, "isDefaultGateway": True},
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            }
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True)


def _pod(args: MultusArgs, account: pulumi.Input[str], token: pulumi.Input[str], config_map: pulumi.Input[str]) -> core.PodSpecArgs:
    image, settings, paths = args.settings.image, args.settings, args.paths
    arguments = [
        "--multus-conf-file=auto",
        f"--multus-autoconfig-dir={_HOST_CONF}",
        f"--cni-conf-dir={_HOST_CONF}",
        f"--multus-master-cni-file-name={_MASTER_CONF}",
        f"--multus-kubeconfig-file-host={paths.multus_kubeconfig}",
    ]
    if settings.log_level:
        arguments += [f"--multus-log-level={settings.log_level}", "--multus-log-to-stderr=true"]
    if settings.namespace_isolation:
        arguments.append("--namespace-isolation=true")
    mount, privileged = core.VolumeMountArgs, core.SecurityContextArgs(privileged=True)
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    return core.PodSpecArgs(
        host_network=True,
        priority_class_name="system-node-critical",
        service_account_name=account,
        automount_service_account_token=False,
        termination_grace_period_seconds=10,
        tolerations=[core.TolerationArgs(operator="Exists", effect=effect) for effect in ("NoSchedule", "NoExecute")],
        init_containers=[
            core.ContainerArgs(
                name="install-multus-binary",
                image=image,
                image_pull_policy="IfNotPresent",
                command=["/install_multus"],
                args=["--type", "thin"],
                resources=core.ResourceRequirementsArgs(requests={"cpu": "10m", "memory": "15Mi"}),
                security_context=privileged,
                termination_message_policy="FallbackToLogsOnError",
                volume_mounts=[mount(name="cnibin", mount_path=_HOST_BIN, mount_propagation="Bidirectional")],
            )
        ],
        containers=[
            core.ContainerArgs(
                name="kube-multus",
                image=image,
                image_pull_policy="IfNotPresent",
                command=["/thin_entrypoint"],
                args=arguments,
                resources=core.ResourceRequirementsArgs(requests=requests, limits={"memory": settings.memory_limit}),
                security_context=privileged,
                termination_message_policy="FallbackToLogsOnError",
                volume_mounts=[
                    mount(name="cni", mount_path=_HOST_CONF),
                    mount(name="cnibin", mount_path=_HOST_BIN),
                    mount(name="multus-cfg", mount_path="/tmp/multus-conf"),  # noqa: S108 (the image's own path)
                    mount(name="token", mount_path=_TOKEN, read_only=True),
                ],
            )
        ],
        volumes=[
            _host_path("cni", paths.conf),
            _host_path("cnibin", paths.bin),
            core.VolumeArgs(
                name="multus-cfg",
                config_map=core.ConfigMapVolumeSourceArgs(
                    name=config_map, items=[core.KeyToPathArgs(key="cni-conf.json", path="70-multus.conf")]
                ),
            ),
            core.VolumeArgs(name="token", secret=core.SecretVolumeSourceArgs(secret_name=token)),
        ],
    )


def _host_path(name: str, path: str) -> core.VolumeArgs:
    return core.VolumeArgs(name=name, host_path=core.HostPathVolumeSourceArgs(path=path))

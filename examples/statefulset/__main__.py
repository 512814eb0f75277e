"""A pod of a StatefulSet, with the addresses that are booked for it on the networks of a k3s-macvlan stack."""

import pulumi
from booked import annotation
from pulumi import ResourceOptions
from pulumi_kubernetes import Provider
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

config = pulumi.Config()
entry, namespace = config.require("entry"), config.require("namespace")
networks = config.require_object("networks")

stack = pulumi.StackReference(config.require("cluster"))
cluster = Provider("cluster", kubeconfig=stack.require_output("kubeconfig"))
requested = stack.require_output("attachments").apply(lambda books: annotation(books, entry, networks))

labels = {"app.kubernetes.io/name": entry}
apps.StatefulSet(
    entry,
    metadata=meta.ObjectMetaArgs(name=entry, namespace=namespace),
    spec=apps.StatefulSetSpecArgs(
        service_name=entry,
        # An address is one pod's: one replica, and the next pod starts when the former one has ended.
        replicas=1,
        pod_management_policy="OrderedReady",
        update_strategy=apps.StatefulSetUpdateStrategyArgs(type="RollingUpdate"),
        selector=meta.LabelSelectorArgs(match_labels=labels),
        template=core.PodTemplateSpecArgs(
            metadata=meta.ObjectMetaArgs(labels=labels, annotations={"k8s.v1.cni.cncf.io/networks": requested}),
            spec=core.PodSpecArgs(
                automount_service_account_token=False,
                containers=[core.ContainerArgs(name=entry, image=config.require("image"))],
            ),
        ),
    ),
    opts=ResourceOptions(provider=cluster, delete_before_replace=True),
)
pulumi.export("networks", requested)

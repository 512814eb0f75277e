"""The pack: which rule breaks a preview (mandatory), which is only reported (advisory), and what may be configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from rules import downloads, names, network, workloads

NAME = "k3s-macvlan"
MULTUS = "DaemonSet/kube-multus-ds"
# What the program takes where a stack sets nothing. A test compares: the pack is published without the program.
INTERFACE, CIDR = "enp1s0", "192.168.122.0/24"
POD_CIDR, SERVICE_CIDR = "10.42.0.0/16", "10.43.0.0/16"
MANDATORY, ADVISORY = EnforcementLevel.MANDATORY, EnforcementLevel.ADVISORY

Rule = Callable[[str, Any], Iterator[str]]


def policies() -> list[Policy]:
    addresses = network.Addresses()

    def in_network(args: ResourceValidationArgs, report: ReportViolation) -> None:
        addresses.collect(args.urn, args.resource_type, args.props)
        for message in network.outside(args.resource_type, args.props):
            report(message, None)

    def out_of_dhcp(args: StackValidationArgs, report: ReportViolation) -> None:
        nodes = _setting("network")
        unclaimed = addresses.unclaimed(
            (resource.urn for resource in args.resources),
            interface=str(nodes.get("interface", INTERFACE)),
            cidr=str(nodes.get("cidr", CIDR)),
        )
        for message, urn in unclaimed:
            report(message, urn)

    return [
        _rule("image-pinned", "Images have a tag or a digest.", downloads.floating_images),
        _rule("image-not-latest", "Images are not of the tag latest.", downloads.latest_images, ADVISORY),
        _rule("download-verified", "Downloads have a checksum.", downloads.unverified),
        _rule("checksum-by-value", "Checksums are written down, not downloaded.", downloads.verified_by_its_site, ADVISORY),
        _rule("install-script-verified", "K3s's install script has a checksum.", downloads.unverified_install_script, ADVISORY),
        _rule("name-limits", "Names are within the limits of libvirt, Kubernetes and guests.", names.out_of_limits),
        ResourceValidationPolicy(
            name="no-privileged-pod",
            description="Only Multus runs privileged.",
            validate=_privileged,
            enforcement_level=MANDATORY,
            config_schema=_texts("allowed", "What may be privileged: Kind/name.", [MULTUS]),
        ),
        ResourceValidationPolicy(
            name="no-default-route",
            description="Pods keep the cluster's default route.",
            validate=_default_route,
            enforcement_level=MANDATORY,
            config_schema=_texts("acknowledged", "Names of networks that may have a default route.", []),
        ),
        ResourceValidationPolicy(
            name="no-cluster-route",
            description="Pods reach the cluster's own networks through the cluster.",
            validate=_cluster_routes,
            enforcement_level=MANDATORY,
            config_schema=_texts("acknowledged", "Names of networks that may have a route into the cluster's networks.", []),
        ),
        ResourceValidationPolicy(
            name="range-in-network",
            description="The pods' addresses, and next hops of their routes, are hosts of their network.",
            validate=in_network,
            enforcement_level=MANDATORY,
        ),
        # It works on what range-in-network has collected: switching that one off switches this one off too.
        StackValidationPolicy(
            name="range-out-of-dhcp",
            description="The pods' addresses on the nodes' own network are taken out of DHCP.",
            validate=out_of_dhcp,
            enforcement_level=MANDATORY,
        ),
    ]


def serve() -> None:
    """Answer Pulumi until it ends this process."""
    PolicyPack(name=NAME, policies=policies())


def _rule(name: str, description: str, rule: Rule, level: EnforcementLevel = MANDATORY) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for message in rule(args.resource_type, args.props):
            report(message, None)

    return ResourceValidationPolicy(name=name, description=description, validate=validate, enforcement_level=level)


def _texts(name: str, description: str, default: list[str]) -> PolicyConfigSchema:
    schema = {"type": "array", "items": {"type": "string"}, "description": description, "default": default}
    return PolicyConfigSchema(properties={name: schema})


def _privileged(args: ResourceValidationArgs, report: ReportViolation) -> None:
    for message in workloads.privileged(args.resource_type, args.props, args.get_config().get("allowed", [MULTUS])):
        report(message, None)


def _default_route(args: ResourceValidationArgs, report: ReportViolation) -> None:
    acknowledged = [*args.get_config().get("acknowledged", []), *acknowledged_by_setting("defaultRoute", "clusterRoutes")]
    for message in network.default_routes(args.resource_type, args.props, acknowledged):
        report(message, None)


def _cluster_routes(args: ResourceValidationArgs, report: ReportViolation) -> None:
    acknowledged = [*args.get_config().get("acknowledged", []), *acknowledged_by_setting("clusterRoutes")]
    k3s = _setting("k3s")
    cluster = [str(k3s.get("podCidr", POD_CIDR)), str(k3s.get("serviceCidr", SERVICE_CIDR))]
    for message in network.cluster_routes(args.resource_type, args.props, acknowledged, cluster):
        report(message, None)


def acknowledged_by_setting(*names: str) -> list[str]:
    """The networks of the program's own for which one of the settings podNetworks.NETWORK.`names` requests the route; the program
    then warns by itself."""
    networks = _setting("podNetworks")
    return [
        str(network)
        for network, fields in networks.items()
        if isinstance(fields, Mapping) and any(fields.get(name) is True for name in names)
    ]


def _setting(name: str) -> Mapping[str, Any]:
    try:
        value = pulumi.Config().get_object(name)
    except pulumi.ConfigTypeError:
        value = None
    return value if isinstance(value, Mapping) else {}

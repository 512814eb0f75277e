"""Every key of K3s's config.yaml is classified: supported, given by another setting, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import k3s_options, reading
from components.config.problems import SettingsError
from components.config.raw import RawConfiguration

pytestmark = pytest.mark.unit

# Names of flags as they are in K3s's source: pkg/cli/cmds/{server,agent,log,root,config}.go of 2026-07-28. A key more in a later
# release is to be classified: add it here and there.
SERVER_FLAGS = """
config debug v vmodule log alsologtostderr bind-address https-listen-port supervisor-port apiserver-port apiserver-bind-address
advertise-address advertise-port tls-san tls-san-security data-dir cluster-cidr service-cidr service-node-port-range cluster-dns
cluster-domain flannel-backend flannel-ipv6-masq flannel-external-ip egress-selector-mode servicelb-namespace write-kubeconfig
write-kubeconfig-mode write-kubeconfig-group write-kubeconfig-name helm-job-image token token-file agent-token agent-token-file
server cluster-init cluster-reset cluster-reset-restore-path kube-apiserver-arg etcd-arg kube-controller-manager-arg
kube-scheduler-arg helm-controller-arg kube-cloud-controller-manager-arg kine-tls datastore-endpoint datastore-cafile
datastore-certfile datastore-keyfile etcd-expose-metrics etcd-disable-snapshots etcd-snapshot-name etcd-snapshot-schedule-cron
etcd-snapshot-reconcile-interval etcd-snapshot-retention etcd-snapshot-dir etcd-snapshot-compress etcd-s3 etcd-s3-endpoint
etcd-s3-endpoint-ca etcd-s3-skip-ssl-verify etcd-s3-access-key etcd-s3-secret-key etcd-s3-session-token etcd-s3-bucket
etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-retention etcd-s3-proxy etcd-s3-config-secret etcd-s3-insecure
etcd-s3-timeout default-local-storage-path disable disable-scheduler disable-cloud-controller disable-kube-proxy
disable-network-policy disable-helm-controller disable-apiserver disable-controller-manager disable-etcd embedded-registry
supervisor-metrics node-name with-node-id node-label node-taint image-credential-provider-bin-dir image-credential-provider-config
docker container-runtime-endpoint default-runtime image-service-endpoint disable-default-registry-endpoint nonroot-devices
pause-image snapshotter private-registry system-default-registry airgap-extra-registry node-ip node-external-ip node-internal-dns
node-external-dns resolv-conf flannel-iface flannel-conf flannel-cni-conf vpn-auth vpn-auth-file kubelet-arg kube-proxy-arg
protect-kernel-defaults secrets-encryption enable-pprof rootless secrets-encryption-provider prefer-bundled-bin selinux
lb-server-port disable-agent kube-controller-arg kube-cloud-controller-arg
"""
AGENT_FLAGS = """
config debug v vmodule log alsologtostderr token token-file server data-dir node-name with-node-id node-label node-taint
image-credential-provider-bin-dir image-credential-provider-config selinux lb-server-port protect-kernel-defaults
container-runtime-endpoint default-runtime image-service-endpoint pause-image snapshotter private-registry
disable-default-registry-endpoint nonroot-devices airgap-extra-registry node-ip bind-address node-external-ip node-internal-dns
node-external-dns resolv-conf flannel-iface flannel-conf flannel-cni-conf kubelet-arg kube-proxy-arg enable-pprof rootless
prefer-bundled-bin docker vpn-auth vpn-auth-file disable-apiserver-lb
"""
# v1.27 had it and no later one.
OLD_FLAGS = ["multi-cluster-cidr"]


def refusal_texts(key: str, value: Any = "x", *, servers_only: bool = True) -> list[str]:
    return [text for _, text in k3s_options.refusals({key: value}, servers_only=servers_only)]


def mistakes(**raw: Any) -> list[str]:
    try:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw))
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_every_flag_of_k3s_is_known_and_no_other() -> None:
    assert set(SERVER_FLAGS.split()) | set(OLD_FLAGS) == k3s_options.SERVER
    assert set(AGENT_FLAGS.split()) == k3s_options.AGENT


def test_each_is_of_one_class() -> None:
    ours, refused, supported = set(k3s_options.OURS), set(k3s_options.REFUSED), set(k3s_options.SUPPORTED)
    assert ours | refused | supported == k3s_options.KNOWN
    assert len(ours) + len(refused) + len(supported) == len(k3s_options.KNOWN)


@pytest.mark.parametrize("key", sorted(k3s_options.KNOWN - {"flannel-backend"}))
def test_each_is_taken_or_refused_with_a_remedy(key: str) -> None:
    for field, servers_only in (("serverConfig", True), ("config", False)):
        messages = mistakes(k3s={field: {key: "0600" if key == "write-kubeconfig-mode" else "x"}})
        if key in k3s_options.SUPPORTED and not (servers_only and key not in k3s_options.SERVER):
            assert messages == []
        else:
            assert len(messages) == 1
            assert messages[0].startswith(f"k3s.{field}.{key}: ")
            assert "remove it" in messages[0] or "k3s.config" in messages[0]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"write-kubeconfig-mode": 420}, 'write three octal digits as a text, such as "0600"'),
        ({"kubelet-arg": {"max-pods": 200}}, "write a list of name=value"),
        ({"disable": [{"traefik": True}]}, "write a list of name=value"),
        ({"debug": None}, "has no value; write one, or remove it"),
        ({"flannel-backend": "none"}, "none leaves the nodes without a CNI configuration, and Multus waits"),
        ({"flannel-backend": "ipsec"}, "names no backend that K3s has for these nodes; use vxlan, host-gw, wireguard-native"),
        ({"flannel-backend": ["none"]}, "names no backend"),
        ({"cluster-reset": True}, "it is for one start by hand"),
        ({"https-listen-port": 7443}, "the kubeconfig reaches the API, at the port 6443"),
        ({"bind-address": "192.168.122.180"}, "K3s would listen on one address alone"),
        ({"advertise-port": 7443}, "at the port 6443"),
        ({"data-dir": "/data"}, "plugins, images and Multus are put where K3s keeps its data by default"),
        ({"node-external-ip": "1.2.3.4"}, "it would give all nodes one and the same value"),
        ({"node-external-ip+": ["1.2.3.4"]}, "it would give all nodes one and the same value"),
        ({"t": "secret"}, "is written by the program itself, from other settings (a token that the program makes)"),
        ({"cluster-cidr": "10.0.0.0/16"}, "(k3s.podCidr)"),
        ({"kubelet-args": ["x"]}, "is no option of K3s's config.yaml; correct or remove it; kubelet-arg is near"),
        ({"qqqqqqqq": 1}, "is no option of K3s's config.yaml; correct or remove it (docs.k3s.io/cli/server)"),
        ({"kubelet-arg": ["node-labels=a=b"]}, "gives node-labels, which comes from other settings (servers.labels"),
        ({"kubelet-arg": "--node-ip=1.2.3.4"}, "gives node-ip, which comes from other settings"),
        ({"kube-controller-manager-arg": ["cluster-cidr=10.0.0.0/8"]}, "gives cluster-cidr"),
    ],
)
def test_what_fails_late_is_refused_at_its_key(config: dict[str, Any], text: str) -> None:
    for field in ("config", "serverConfig"):
        (message,) = mistakes(k3s={field: config})
        assert message.startswith(f"k3s.{field}.{next(iter(config))}: ")
        assert text in message
        assert "secret" not in message


@pytest.mark.parametrize(
    "config",
    [
        {"disable": ["traefik", "servicelb"]},
        {"flannel-backend": "host-gw"},
        {"flannel-backend": "wireguard-native"},
        {"write-kubeconfig-mode": "0644"},
        {"secrets-encryption": True},
        {"kubelet-arg": ["max-pods=200"], "kubelet-arg+": ["v=4"]},
        {"kube-apiserver-arg": ["audit-log-path=/var/log/audit"]},
    ],
)
def test_what_k3s_can_do_here_is_taken(config: dict[str, Any]) -> None:
    assert mistakes(k3s={"serverConfig": config}) == []


def test_all_of_them_are_reported_at_once() -> None:
    messages = mistakes(
        k3s={"config": {"token": "x", "docker": True}, "serverConfig": {"flannel-backend": "none", "data-dri": "/d"}}
    )
    assert [message.partition(":")[0] for message in messages] == [
        "k3s.config.docker", "k3s.config.token", "k3s.serverConfig.data-dri", "k3s.serverConfig.flannel-backend",
    ]  # fmt: skip


def test_an_option_of_servers_stops_no_agent_from_starting() -> None:
    raw: dict[str, Any] = {"k3s": {"config": {"disable": ["traefik"]}}}
    networks = {"lan": {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 2}}
    assert mistakes(**raw) == []
    (message,) = mistakes(**raw, agents={"count": 1}, podNetworks=networks)
    assert message.startswith("k3s.config.disable: is an option of servers alone, and an agent of K3s does not start with it")


def test_an_option_of_agents_is_not_for_servers() -> None:
    assert refusal_texts("disable-apiserver-lb") == ["is an option of K3s's agents, which no server reads; set it in k3s.config"]
    assert refusal_texts("disable-apiserver-lb", servers_only=False) == []

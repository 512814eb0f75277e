"""What the resources are given: known in previews, secret where it is secret, and right."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pulumi
import pytest
import yaml
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.config import hardening
from components.config import plan as plans
from components.config.reading import parse
from components.node import command

from .conftest import Run
from .engine import (
    AGENT_TOKEN,
    CLIENT_KEY,
    POD_ADDRESS,
    POD_MAC,
    SERVICE_TOKEN,
    STACK_FILES,
    TOKEN,
    UNKNOWN,
    Deployment,
    Secret,
    config_of,
    leaves,
    opened,
    pod_on,
    run,
)
from .test_graph import nodes_of, pods_of

pytestmark = pytest.mark.program

UPS = pytest.mark.parametrize("name", STACK_FILES)
EVERY = pytest.mark.parametrize(("name", "mode"), [(name, mode) for name in STACK_FILES for mode in ("up", "first", "again")])
MADE_SECRETS = (TOKEN, AGENT_TOKEN, "PRIVATE-KEY-OF-", CLIENT_KEY, SERVICE_TOKEN)


def environment(command: str) -> dict[str, str]:
    """The variables that a command gives its script."""
    words = shlex.split(command)
    assert words[:3] == ["sudo", "-n", "env"]
    return dict(word.split("=", 1) for word in words[3 : words.index("timeout")])


# --- previews


@UPS
def test_a_second_preview_knows_everything(deploy: Run, name: str) -> None:
    deployment = deploy(name, mode="again")
    for resource in deployment.resources.values():
        assert [path for path, value in leaves(resource.inputs) if value is UNKNOWN] == [], resource.name
    assert [path for path, value in leaves(deployment.outputs) if value is UNKNOWN] == []


@UPS
def test_a_second_preview_has_the_inputs_of_the_update(deploy: Run, name: str) -> None:
    up, again = deploy(name), deploy(name, mode="again")
    for urn, resource in up.resources.items():
        assert again.resources[urn].inputs == resource.inputs, resource.name


@EVERY
def test_identity_is_known_in_every_preview(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    plan = plans.make("k3s-macvlan", name, parse(name, config_of(name)))
    for node in plan.nodes:
        domain, host = deployment[f"{node.name}-domain"], deployment[f"{node.name}-reservation"]
        assert (domain.input("mac"), domain.input("uuid"), domain.input("name")) == (node.mac, node.uuid, node.domain)
        assert (host.input("mac"), host.input("ip")) == (node.mac, str(node.address))
        for step in deployment.of("Command"):
            # Before the keys are made the SDK knows nothing of a connection, not even its host.
            if step.name.startswith(f"{node.name}-") and not step.name.endswith("-leave") and mode != "first":
                assert step.input("connection")["host"] == str(node.address), step.name
    if mode != "first":
        assert deployment["k3s-kubeconfig"].input("connection")["host"] == str(plan.nodes[0].address)


@UPS
def test_a_first_preview_leaves_open_only_what_is_made(deploy: Run, name: str) -> None:
    """Keys, the token, the pod, which image a disk is over since the prepared one may not be had, and what follows from them; no
    other path, no name, number or script."""
    may_be = {
        "backing_path", "backing_format",
        "connection", "host_key", "private_key", "stdin", "triggers.1", "generation", "clusterIdentifier", "user_data", "meta_data",
        "kubeconfig", "url", "pod", "metadata.annotations.kubernetes.io/service-account.name", "roleRef.name", "subjects.0.name",
        "spec.template.spec.serviceAccountName", "spec.template.spec.volumes.2.configMap.name",
        "spec.template.spec.volumes.3.secret.secretName",
    }  # fmt: skip
    for resource in deploy(name, mode="first").custom:
        unknown = {path for path, value in leaves(resource.inputs) if value is UNKNOWN}
        # What agents need of the servers has the tokens in it.
        assert unknown <= may_be | ({"machine"} if resource.name == "k3s-servers" else set()), resource.name


@UPS
def test_a_preview_of_a_recreated_pod_passes(deploy: Run, name: str) -> None:
    """The provider then answers with the inputs, in which no network-status can be."""
    deployment = deploy(name, mode="replaced")
    for pod in pods_of(name):
        assert deployment[f"{pod}-macvlan-conf-proof"].input("url") is UNKNOWN


# --- secrets


@EVERY
def test_no_secret_of_ours_is_in_clear(deploy: Run, name: str, mode: str) -> None:
    _assert_hidden(deploy(name, mode=mode), MADE_SECRETS)


def _assert_hidden(deployment: Deployment, secrets: tuple[str, ...]) -> None:
    for resource in deployment.resources.values():
        clear = [(path, str(value)) for path, value in leaves(resource.inputs, secrets=False)]
        clear += [("name", resource.name), ("urn", resource.urn)]
        # These reach argv on the node and error texts, secret or not.
        clear += [(key, str(resource.input(key))) for key in ("create", "update", "delete") if key in resource.inputs]
        for path, text in clear:
            for secret in secrets:
                assert secret not in text, f"{resource.name}: {secret} in {path}"
    texts = [str(value) for _, value in leaves(deployment.outputs, secrets=False)] + [text for _, text in deployment.log]
    for text in texts:
        for secret in secrets:
            assert secret not in text


def _own_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()


SEEDED: dict[str, Any] = {
    "registry password": {"k3s": {"registries": {"configs": {"docker.io": {"auth": {"username": "me", "password": "SEED"}}}}}},
    "registry token": {"k3s": {"registries": {"configs": {"docker.io": {"auth": {"identity_token": "SEED"}}}}}},
    "K3s option": {"k3s": {"config": {"etcd-s3-secret-key": "SEED"}}},
    "K3s server option": {"k3s": {"serverConfig": {"datastore-endpoint": "postgres://k:SEED@db/k"}}},
    "cloud-init": {"cloudInit": {"write_files": [{"path": "/etc/x", "content": "SEED"}]}},
}


@pytest.mark.parametrize("where", SEEDED)
@pytest.mark.parametrize("mode", ["up", "first"])
def test_a_secret_from_the_settings_is_in_clear_nowhere(where: str, mode: Any) -> None:
    text = json.dumps(SEEDED[where]).replace("SEED", "SEEDED-5ecre7")
    deployment = run(config_of("dev", json.loads(text)), mode=mode)
    _assert_hidden(deployment, ("SEEDED-5ecre7",))


@pytest.mark.parametrize(
    "proxy", ["http://me:SEEDED-5ecre7@proxy:3128", "me:SEEDED-5ecre7@proxy:3128", "http://me:a/SEEDED-5ecre7@p"]
)
def test_a_proxy_with_credentials_is_refused_and_hidden(proxy: str) -> None:
    """The install script's environment is in the node's process list, and in the prepared image, so it must hold none."""
    environment = {"HTTPS_PROXY": proxy}
    with pytest.raises(pulumi.RunError) as caught:
        run(config_of("dev", {"k3s": {"installScript": {"environment": environment}}}))
    assert "HTTPS_PROXY would show credentials" in str(caught.value)
    assert "SEEDED-5ecre7" not in str(caught.value)


def test_a_key_of_the_users_own_is_used_and_hidden() -> None:
    private = _own_key()
    deployment = run(config_of("dev", {"ssh": {"privateKey": private}}))
    assert "client-key" not in {resource.name for resource in deployment.resources.values()}
    assert deployment["server-1-booted"].input("connection")["privateKey"] == private
    _assert_hidden(deployment, (private, *private.splitlines()[1:-1]))
    assert deployment.outputs["sshPrivateKey"] == Secret(private)


@pytest.mark.parametrize("mode", ["up", "again"])
@UPS
def test_what_must_be_secret_is(deploy: Run, name: str, mode: str) -> None:
    """In a first preview the SDK hands over unknown values without the mark."""
    deployment = deploy(name, mode=mode)
    wanted = {
        "client-key": {"private_key"},
        "server-1-host-key": {"private_key"},
        "server-1-certificates": {"private_key"},
        "k3s-token": {"value"},
        "server-1-seed": {"user_data"},
        "multus-token": {"data"},
        "k3s-kubeconfig": {"stdout"},
    }
    if parse(name, config_of(name)).k3s.separate_agent_token:
        wanted["k3s-agent-token"] = {"value"}
    for resource, names in wanted.items():
        assert names <= deployment[resource].secret_outputs, resource
    assert isinstance(deployment["k3s-kubernetes"].inputs["kubeconfig"], Secret)
    assert isinstance(deployment["server-1-seed"].inputs["user_data"], Secret)
    assert isinstance(deployment["server-1-k3s-install"].inputs["stdin"], Secret)
    assert isinstance(deployment["server-1-certificates"].inputs["private_key"], Secret)
    assert deployment["k3s-kubeconfig"].input("logging") == "stderr"
    for step in deployment.of("Command"):
        assert isinstance(step.inputs["connection"], Secret), step.name
        assert step.input("addPreviousOutputInEnv") is False, step.name
    for output in ("kubeconfig", "sshPrivateKey"):
        assert isinstance(deployment.outputs[output], Secret), output


def test_an_agent_holds_the_agents_token_alone(deploy: Run) -> None:
    deployment = deploy("ha")
    servers, agents = (
        [opened(deployment[f"{node}-k3s-install"].inputs["stdin"]) for node in nodes_of("ha")[0] if node.startswith(role)]
        for role in ("server", "agent")
    )
    assert servers
    assert agents
    assert all(TOKEN in text and AGENT_TOKEN in text for text in servers)
    assert all(TOKEN not in text and AGENT_TOKEN in text for text in agents)


# --- exports


@UPS
def test_the_stack_outputs_the_page_its_pod_and_its_nodes(deploy: Run, name: str) -> None:
    outputs = deploy(name).outputs
    pages = []
    for pod, node in pods_of(name).items():
        address, mac = (POD_ADDRESS, POD_MAC) if node is None else pod_on(node)
        page = {
            "pod": pod,
            "network": "macvlan-conf",
            "url": f"http://{address}/",
            "address": address,
            "mac": mac,
            "status": 200,
            "title": "Welcome to nginx!",
            "unseen": "",
        }
        pages.append(page if node is None else {**page, "node": node})
    assert outputs["pages"] == pages
    assert outputs["proof"] == pages[0]
    assert {key: outputs[key] for key in ("url", "address", "mac")} == {key: pages[0][key] for key in ("url", "address", "mac")}
    assert [node["name"] for node in outputs["nodes"]] == nodes_of(name)[0]
    assert outputs["nodes"][0]["name"] == "server-1"
    assert outputs["nodes"][0]["address"] == "192.168.122.180"
    assert outputs["sshCommand"] == "ssh -p 22 ubuntu@192.168.122.180"
    kubeconfig = yaml.safe_load(opened(outputs["kubeconfig"]))
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://192.168.122.180:6443"
    assert kubeconfig["current-context"] == f"k3s-macvlan-{name}"


def test_without_proof_there_is_none(deploy: Run) -> None:
    deployment = deploy("dev", {"proof": {"enabled": False}})
    assert deployment.of("HttpProof") == []
    assert "status" not in (deployment.outputs.get("proof") or {})
    assert deployment.outputs["url"] == f"http://{POD_ADDRESS}/"


def test_port_and_path_are_in_the_address(deploy: Run) -> None:
    deployment = deploy("dev", {"workload": {"port": 8080}, "proof": {"path": "/a"}})
    assert deployment["nginx-macvlan-macvlan-conf-proof"].input("url") == f"http://{POD_ADDRESS}:8080/a"


# --- the scenario to the letter


def test_cn_installs_k3s_as_the_article_does(deploy: Run) -> None:
    install = deploy("cn")["server-1-k3s-install"]
    given = environment(install.input("create"))
    assert given["INSTALL_URL"] == "https://rancher-mirror.oss-cn-beijing.aliyuncs.com/k3s/k3s-install.sh"
    assert (given["K3S_VERSION"], given["ROLE"]) == ("v1.27.8+k3s2", "server")
    assert json.loads(given["INSTALL_ENV"]) == {"INSTALL_K3S_MIRROR": "cn"}
    files = json.loads(install.document())
    config = yaml.safe_load(files["/etc/rancher/k3s/config.yaml"]["content"])
    assert config["system-default-registry"] == "docker.nju.edu.cn"
    assert config["cluster-init"] is True
    registries = yaml.safe_load(files["/etc/rancher/k3s/registries.yaml"]["content"])
    assert registries == {
        "mirrors": {
            "docker.io": {"endpoint": ["https://docker.nju.edu.cn"]},
            "ghcr.io": {"endpoint": ["https://ghcr.nju.edu.cn"]},
        }
    }
    assert {entry["mode"] for path, entry in files.items() if path.startswith("/etc/rancher/")} == {"0600"}
    assert [path for path in files if not path.startswith("/etc/rancher/")] == [
        "/etc/systemd/system/k3s.service.d/10-cni-cache.conf"
    ]


def test_cn_has_the_articles_network_and_dev_no_route(deploy: Run) -> None:
    cn = json.loads(deploy("cn")["macvlan-conf-definition"].input("spec")["config"])
    assert cn == {
        "cniVersion": "0.3.1",
        "name": "macvlan-conf",
        "type": "macvlan",
        "master": "enp1s0",
        "mode": "bridge",
        "ipam": {
            "type": "host-local",
            "subnet": "192.168.122.0/24",
            "rangeStart": "192.168.122.200",
            "rangeEnd": "192.168.122.210",
            "routes": [{"dst": "0.0.0.0/0"}],
            "gateway": "192.168.122.1",
        },
    }
    dev = json.loads(deploy("dev")["macvlan-conf-definition"].input("spec")["config"])
    interface, tuning = dev["plugins"]
    assert interface["ipam"]["routes"] == []
    assert "gateway" not in interface["ipam"]
    assert tuning == {"type": "tuning", "sysctl": {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}}


@UPS
def test_multus_has_the_scenarios_patches_and_a_token_that_lasts(deploy: Run, name: str) -> None:
    deployment = deploy(name)
    daemon_set = deployment["multus-daemonset"]
    assert daemon_set.input("metadata")["name"] == "kube-multus-ds"
    pod = daemon_set.input("spec")["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["cni"]["hostPath"]["path"] == "/var/lib/rancher/k3s/agent/etc/cni/net.d"
    version = parse(name, config_of(name)).k3s.version
    assert volumes["cnibin"]["hostPath"]["path"] == plans.cni_bin_directory(version)
    (container,) = pod["containers"]
    flag = "--multus-kubeconfig-file-host=/var/lib/rancher/k3s/agent/etc/cni/net.d/multus.d/multus.kubeconfig"
    assert flag in container["args"]
    assert container["resources"]["limits"]["memory"] == "256Mi"
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["automountServiceAccountToken"] is False
    assert volumes["token"]["secret"]["secretName"] == deployment["multus-token"].input("metadata")["name"]
    assert deployment["multus-token"].input("type") == "kubernetes.io/service-account-token"
    annotations = deployment["multus-token"].input("metadata")["annotations"]
    assert annotations == {
        "kubernetes.io/service-account.name": "multus",
        "pulumi.com/waitFor": "jsonpath={.data.token}",
    }
    for image in (container["image"], pod["initContainers"][0]["image"]):
        assert image == parse(name, config_of(name)).multus.image


@UPS
def test_the_pod_waits_for_its_second_interface(deploy: Run, name: str) -> None:
    for pod in map(deploy(name).__getitem__, pods_of(name)):
        annotations = pod.input("metadata")["annotations"]
        assert annotations["k8s.v1.cni.cncf.io/networks"] == "macvlan-conf"
        assert json.loads(annotations["pulumi.com/waitFor"]) == [
            "condition=Ready",
            "jsonpath={.metadata.annotations['k8s.v1.cni.cncf.io/network-status']}",
        ]
        assert pod.replace_on_changes == ("metadata.annotations",)


@UPS
def test_the_machines_are_what_the_stack_file_says(deploy: Run, name: str) -> None:
    settings = parse(name, config_of(name))
    deployment = deploy(name)
    domain = deployment["server-1-domain"]
    assert domain.input("virt_type") == settings.machine.virt_type
    assert domain.input("memory_mib") == settings.servers.memory
    assert domain.input("network") == "default"
    assert deployment["server-1-disk"].input("capacity") == settings.servers.disk * 2**30
    seed = deployment["server-1-seed"]
    user_data = yaml.safe_load(seed.input("user_data"))
    assert user_data["hostname"] == yaml.safe_load(seed.input("meta_data"))["local-hostname"] == domain.input("name")
    nic = yaml.safe_load(seed.input("network_config"))["ethernets"]["enp1s0"]
    assert nic["match"] == {"macaddress": domain.input("mac")}
    pods = settings.pod_networks["macvlan-conf"].range
    assert pods is not None
    assert deployment["local-dhcp"].input("ranges") == [f"192.168.122.180-{pods.last}"]


# --- bad settings


def test_the_ssh_server_is_given_its_port_and_dialled_there(deploy: Run) -> None:
    """Nothing else of the first boot changes, and with port 22 nothing is set."""
    plain = yaml.safe_load(deploy("dev")["server-1-seed"].input("user_data"))
    assert "bootcmd" not in plain
    deployment = deploy("dev", {"ssh": {"port": 2222}, "cloudInit": {"bootcmd": [["theirs"]]}})
    other = yaml.safe_load(deployment["server-1-seed"].input("user_data"))
    ours, theirs = other.pop("bootcmd")
    assert other == plain and theirs == ["theirs"]
    assert ours[3:6] == ["sh", "env", "PORT=2222"] and ours[-2:] == [command.text("sshd-port.sh"), "sshd-port.sh"]
    assert deployment["server-1-k3s-install"].input("connection")["port"] == 2222


def test_the_machine_is_checked_for_what_k3s_needs(deploy: Run) -> None:
    variables = environment(deploy("ha")["agent-1-k3s-install"].input("create"))
    assert {"br_netfilter", "overlay", "vxlan"} <= set(variables["MODULES"].split()) and variables["CGROUP_V1"] in {"true", "false"}
    assert deploy("ha")["server-1-answers"].input("create") == command.LET_IN


def test_the_installation_knows_what_k3s_s_options_name_on_its_node(deploy: Run) -> None:
    k3s = {
        "config": {"flannel-iface": "enp2s0"},
        "serverConfig": {
            "kube-apiserver-arg": ["authentication-config=/etc/a b.yaml", f"audit-policy-file={hardening.AUDIT_POLICY}"]
        },
        "hardened": True,
    }
    deployment = deploy("ha", {"k3s": k3s})
    interface = "interface\tk3s.config.flannel-iface\tenp2s0"
    assert environment(deployment["agent-1-k3s-install"].input("create"))["NODE_OBJECTS"] == interface
    # Not the file that the program itself writes.
    assert environment(deployment["server-1-k3s-install"].input("create"))["NODE_OBJECTS"] == (
        f"{interface}\tfile\tk3s.serverConfig.kube-apiserver-arg (authentication-config)\t/etc/a b.yaml"
    )
    assert "NODE_OBJECTS" not in environment(deploy("ha")["server-1-k3s-install"].input("create"))


def test_bad_settings_end_the_run_before_anything_is_registered() -> None:
    change = {
        "k3s": {"version": "latest"},
        "podNetworks": {"macvlan-conf": {"range": "192.168.122.210-192.168.122.200", "mode": "l7"}},
        "network": {"gateway": "fe80::1"},
        "workload": {"image": "nginx"},
        "nonsense": 1,
    }
    with pytest.raises(pulumi.RunError) as caught:
        run(config_of("dev", change))
    text = str(caught.value)
    network = ("podNetworks.macvlan-conf.range", "podNetworks.macvlan-conf.mode")
    for setting in ("k3s.version", *network, "network.gateway", "workload.image", "nonsense"):
        assert setting in text
    assert "6 mistakes" in text
    assert caught.value.deployment.resources == {}  # type: ignore[attr-defined]


def test_a_key_under_a_misspelled_name_ends_the_run_with_the_other_mistakes() -> None:
    change = {
        "k3s-maclan:podNetworks": {"macvlan-conf": {"range": "192.168.122.220-192.168.122.230"}},
        "other:x": "1",
        # What only the default of podNetworks contradicts.
        "network": {"nodes": "192.168.122.190-192.168.122.203"},
        "workload": {"image": "nginx"},
    }
    with pytest.raises(pulumi.RunError) as caught:
        run(config_of("dev", change))
    text = str(caught.value)
    assert "2 mistakes" in text and "workload.image" in text
    assert "k3s-maclan:podNetworks: is under the name k3s-maclan, which nothing reads; write k3s-macvlan:podNetworks" in text
    assert caught.value.deployment.resources == {}  # type: ignore[attr-defined]


def test_conflicts_end_the_run_before_anything_is_registered() -> None:
    change = {
        "podNetworks": {"macvlan-conf": {"range": "192.168.122.190-192.168.122.210"}},
        "network": {"gateway": "192.168.122.185"},
        "servers": {"hypervisor": "far"},
    }
    with pytest.raises(pulumi.RunError) as caught:
        run(config_of("dev", change))
    text = str(caught.value)
    for setting in ("podNetworks.macvlan-conf.range", "network.nodes", "servers.hypervisor"):
        assert setting in text
    assert caught.value.deployment.resources == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"cloudInit": {"users": []}}, "cloudInit"),
        ({"cloudInit": {"ssh_keys": {}}}, "cloudInit"),
        ({"ssh": {"privateKey": "no key"}}, "ssh.privateKey"),
        ({"ssh": {"privateKey": ""}}, "ssh.privateKey"),
    ],
)
@pytest.mark.parametrize("mode", ["up", "first"])
def test_what_only_the_machine_would_refuse_is_a_mistake_too(change: dict[str, Any], setting: str, mode: Any) -> None:
    with pytest.raises(pulumi.RunError, match=setting) as caught:
        run(config_of("dev", change), mode=mode)
    assert caught.value.deployment.resources == {}  # type: ignore[attr-defined]

"""What a prepared image is made from, what names it, and what is not in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from components.config import reading
from components.config.plan import GIB, make
from components.config.raw import RawConfiguration
from components.machine import image_recipe
from components.machine.image_recipe import ImageRecipe
from components.node import command

pytestmark = pytest.mark.unit


def recipe(stack: str = "dev", **raw: Any) -> ImageRecipe | None:
    settings = reading.parse(stack, raw)
    return image_recipe.recipe(settings, make("p", stack, settings), None)


def made(stack: str = "dev", **raw: Any) -> ImageRecipe:
    found = recipe(stack, **raw)
    assert found is not None
    return found


def variables(found: ImageRecipe) -> dict[str, str]:
    """The environment of image-prepare.sh."""
    words = yaml.safe_load(found.user_data)["runcmd"][1]
    assert words[0] == "env"
    return dict(word.partition("=")[::2] for word in words[1 : words.index("timeout")])


OTHERS: dict[str, dict[str, Any]] = {
    "release": {"k3s": {"version": "v1.35.1+k3s1"}},
    "install script": {"k3s": {"installScript": {"url": "https://mirror.example/install.sh"}}},
    "its checksum": {"k3s": {"installScript": {"sha256": "1" * 64}}},
    "its environment": {"k3s": {"installScript": {"environment": {"HTTP_PROXY": "http://proxy.example"}}}},
    "releases": {"k3s": {"releases": "https://mirror.example/k3s/releases"}},
    "base image": {"image": {"checksum": "sha256:" + "1" * 64}},
    "firmware": {"machine": {"firmware": "efi"}},
    "plugins": {"plugins": {"names": ["bond"]}},
    "plugins' archive": {"plugins": {"url": "https://mirror.example/p.tgz"}},
    "plugins' checksum": {"plugins": {"checksum": "sha256:" + "1" * 64}},
    "plugins' directory": {"k3s": {"cniBinDirectory": "/opt/cni/bin"}},
    "network's plugins": {"podNetworks": {"macvlan-conf": {"mode": "l2", "type": "ipvlan"}}},
    "Multus": {"multus": {"image": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.2.3"}},
    "pod": {"workload": {"image": "docker.io/library/nginx:1.27"}},
    "mirrors": {"k3s": {"registries": {"mirrors": {"docker.io": {"endpoint": ["https://mirror.example"]}}}}},
    "registry of K3s": {"k3s": {"systemDefaultRegistry": "registry.example"}},
    "snapshotter": {"k3s": {"serverConfig": {"snapshotter": "native"}}},
    "kernel's modules": {"k3s": {"serverConfig": {"flannel-backend": "wireguard-native"}}},
    "smallest disk": {"servers": {"disk": 8}},
    "disk of K3s": {"servers": {"disks": {"rancher": {"size": 10}}}, "k3s": {"dataDisk": "rancher"}},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_what_the_image_is_made_from_names_it(change: dict[str, Any]) -> None:
    assert made(**change).digest != made().digest


def test_no_two_changes_make_the_same_image() -> None:
    digests = [made(**change).digest for change in OTHERS.values()]
    assert len(set(digests)) == len(digests)


SAME: dict[str, dict[str, Any]] = {
    "more nodes": {"agents": {"count": 2}, "podNetworks": {"macvlan-conf": {"addressesPerNode": 3}}},
    "sizes": {"servers": {"memory": 8192, "cpus": 4, "disk": 40}},
    "labels": {"servers": {"labels": {"a": "b"}}},
    "cloudInit": {"cloudInit": {"packages": ["htop"], "write_files": [{"path": "/etc/secret", "content": "hunter2"}]}},
    "keys": {"ssh": {"authorizedKeys": ["ssh-ed25519 AAAA me"], "port": 2222, "user": "me"}},
    "addresses": {"network": {"nodes": "192.168.122.180-192.168.122.190"}},
    "networks' addresses": {"podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.220"}}},
    "K3s's options": {"k3s": {"config": {"kubelet-arg": ["max-pods=50"]}}},
    "limits": {"timeouts": {"k3s": 901, "boot": 902, "plugins": 903, "cloudInit": 904}},
    "hypervisor": {"hypervisors": {"local": {"uri": "qemu+ssh://me@far/system", "poolDirectory": "/srv/vms"}}},
    "where the base image comes from": {"image": {"source": "/srv/same.qcow2"}},
    "whether it must be": {"image": {"prepare": "always"}},
    "a disk elsewhere": {"servers": {"disks": {"data": {"size": 10, "mount": "/srv/data"}}}},
    "machine": {"machine": {"virtType": "qemu", "diskCache": "none"}},
    "page": {"proof": {"title": "Other"}},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_the_image_is_not_made_from_does_not(change: dict[str, Any]) -> None:
    assert made(**change).digest == made().digest


def test_stacks_share_it() -> None:
    one, other = made("dev"), made("production")
    assert one == other
    assert one.volume == f"prepared-{one.digest}.qcow2" and len(one.digest) == 20


def test_a_script_that_is_another_makes_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = made().digest
    text = command.text
    monkeypatch.setattr(command, "text", lambda name: text(name) + "\n:" * (name == "artifacts.sh"))
    assert made().digest != before


# --- when


@pytest.mark.parametrize(
    ("prepare", "kind", "there", "required"),
    [
        ("auto", "libvirt", True, False),
        ("always", "libvirt", True, True),
        ("never", "libvirt", False, False),
        ("auto", "bridge", False, False),
        ("always", "bridge", True, True),
        ("never", "bridge", False, False),
    ],
)
def test_when_it_is_made(prepare: str, kind: str, there: bool, required: bool) -> None:
    bridge = {
        "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": ["10.30.0.1"],
        "nodes": "10.30.0.20-10.30.0.39",
    }  # fmt: skip
    lan: dict[str, Any] = (
        {"network": bridge, "podNetworks": {"macvlan-conf": {"range": "10.30.0.200-10.30.0.229"}}} if kind == "bridge" else {}
    )
    found = recipe(image={"prepare": prepare}, **lan)
    assert (found is not None) == there
    assert found is None or found.required == required


def test_its_machine_is_as_large_as_the_largest_node_and_its_disk_as_the_smallest() -> None:
    small = {"overrides": {"server-1": {"memory": 2048, "cpus": 1, "disk": 6}}}
    found = made(servers=small, agents={"count": 1, "memory": 6144, "cpus": 3})
    assert (found.memory, found.cpus, found.capacity) == (6144, 3, 6 * GIB)
    assert made().capacity == image_recipe.CAPACITY


def looked_at(**raw: Any) -> dict[str, str]:
    settings = reading.parse("dev", raw)
    plan = make("p", "dev", settings)
    return image_recipe.machines(settings, plan, plan.pools[0])


def test_the_image_is_looked_at_again_for_what_it_follows_from() -> None:
    """A node that is rebuilt for another reason than its first boot needs one that fits its disk and its mounts."""
    before = looked_at(agents={"count": 1})
    smaller = looked_at(agents={"count": 1, "disk": 8})
    assert (smaller["server-1"] == before["server-1"]) and smaller["agent-1"] != before["agent-1"]
    hidden = {"disks": {"own": {"size": 10, "mount": "/var/lib/rancher/k3s/agent/containerd"}}}
    assert looked_at(agents={"count": 1, **hidden})["agent-1"] != before["agent-1"]
    assert looked_at(agents={"count": 1, "disk": 30, "memory": 8192}) == before, "no other image"


def test_each_hypervisor_has_the_memory_for_its_machine() -> None:
    hosts = {"local": {}, "far": {"uri": "qemu+ssh://far/system"}}
    lan = {"kind": "bridge", "name": "br0", "cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dns": ["10.0.0.1"],
           "nodes": "10.0.0.5-10.0.0.9"}  # fmt: skip
    found = made(
        hypervisors=hosts, network=lan, podNetworks={"macvlan-conf": {"range": "10.0.0.20-10.0.0.29", "addressesPerNode": 5}},
        image={"prepare": "always"}, servers={"memory": 8192}, agents={"count": 1, "memory": 3072, "hypervisor": "far"},
    )  # fmt: skip
    assert found.memory == 3072


def test_a_limit_ends_the_script_before_the_machine_and_that_before_the_run() -> None:
    found = made(timeouts={"k3s": 500, "plugins": 100, "boot": 300, "cloudInit": 200})
    guard, script, end = yaml.safe_load(found.user_data)["runcmd"]
    assert guard[1:] == ["--on-active=1660", "systemctl", "poweroff"]
    assert script[script.index("timeout") :] == [
        "timeout",
        "--kill-after=10",
        "1600",
        "bash",
        "/run/k3s-macvlan-image/image-prepare.sh",
    ]
    assert end[-1].startswith("systemctl poweroff"), "cloud-init must not continue after its state was removed"
    assert found.limit == 300 + 200 + 1600 and variables(found)["LIMIT_SECONDS"] == "500"


# --- what is in it

SECRET = "hunter2"
SECRETS: dict[str, dict[str, Any]] = {
    "registry": {
        "k3s": {
            "registries": {
                "mirrors": {
                    "docker.io": {"endpoint": ["https://private.example/hub", "https://open.example"]},
                    "quay.io": {"endpoint": [f"https://me:{SECRET}@quay.example"]},
                },
                "configs": {
                    "private.example": {"auth": {"username": "me", "password": SECRET}, "tls": {"ca_file": f"/etc/{SECRET}"}}
                },
            }
        }
    },
    "cloud-init": {"cloudInit": {"write_files": [{"path": "/etc/x", "content": SECRET}], "runcmd": [["echo", SECRET]]}},
    "keys": {"ssh": {"authorizedKeys": [f"ssh-ed25519 AAAA {SECRET}"], "user": SECRET}},
    "K3s's options": {"k3s": {"config": {"kubelet-arg": [f"x={SECRET}"]}, "serverConfig": {"etcd-s3-secret-key": SECRET}}},
    "pods": {"workload": {"name": SECRET}, "proof": {"title": SECRET}},
    "base image": {"image": {"source": f"https://me:{SECRET}@mirror.example/i.qcow2"}},
    "hypervisor": {"hypervisors": {"local": {"uri": f"qemu+ssh://{SECRET}@far/system"}}},
}


@pytest.mark.parametrize("change", SECRETS.values(), ids=SECRETS)
def test_no_secret_of_the_settings_is_in_the_user_data(change: dict[str, Any]) -> None:
    assert SECRET in json.dumps(change)
    assert SECRET not in repr(made(**change))


URLS: dict[str, dict[str, Any]] = {
    "k3s.installScript.url": {"k3s": {"installScript": {"url": f"https://me:{SECRET}@mirror.example/install.sh"}}},
    "plugins.url": {"plugins": {"url": f"https://me:{SECRET}@mirror.example/p.tgz"}},
    "plugins.checksum": {"plugins": {"checksum": f"https://me:{SECRET}@mirror.example/sums"}},
}


@pytest.mark.parametrize(("setting", "change"), URLS.items(), ids=URLS)
def test_with_credentials_in_a_url_no_image_is_made(setting: str, change: dict[str, Any]) -> None:
    assert recipe(**change) is None
    raw = RawConfiguration({**change, "image": {"prepare": "always"}})
    with pytest.raises(Exception, match="mistake") as refused:
        reading.load("p", "dev", raw)
    assert f"{setting}: has credentials in its URL, which would be in the files of an image" in str(refused.value)
    assert SECRET not in str(refused.value)
    reading.load("p", "dev", RawConfiguration(change))


def test_nobody_can_log_in_to_its_machine() -> None:
    document = yaml.safe_load(made(ssh={"authorizedKeys": ["ssh-ed25519 AAAA me"]}).user_data)
    assert (document["users"], document["ssh_pwauth"], document["disable_root"]) == ([], False, True)
    assert set(document) == {"hostname", "users", "ssh_pwauth", "disable_root", "write_files", "runcmd"}
    assert [entry["path"].rpartition("/")[2] for entry in document["write_files"]] == [
        "artifacts.sh",
        "image-prepare.sh",
        "plugins-install.sh",
    ]


MIRROR = {"docker.io": {"endpoint": ["https://mirror.example"]}}
ACCESS = {"auth": {"username": "me", "password": "x"}}


@pytest.mark.parametrize(
    ("mirrors", "configs", "there"),
    [
        ({}, {}, True),
        (MIRROR, {}, True),
        (MIRROR, {"other.example": ACCESS}, True),
        ({}, {"docker.io": ACCESS}, False),
        (MIRROR, {"mirror.example": ACCESS}, False),
        (MIRROR, {"mirror.example": {"tls": {"insecure_skip_verify": True}}}, False),
        ({"*": {"endpoint": ["https://all.example:5000/v2"]}}, {"all.example:5000": ACCESS}, False),
        ({"docker.io": {"endpoint": ["https://me:x@mirror.example"]}}, {}, False),
    ],
)
def test_images_of_registries_with_credentials_or_tls_are_left_out(
    mirrors: dict[str, Any], configs: dict[str, Any], there: bool
) -> None:
    found = variables(made(workload={"image": "nginx:1.25"}, k3s={"registries": {"mirrors": mirrors, "configs": configs}}))
    assert ("docker.io/library/nginx:1.25" in found["IMAGES"].split()) == there


def test_images_are_those_of_all_nodes() -> None:
    found = variables(
        made(
            servers={"count": 3},
            agents={"count": 1},
            k3s={"virtualAddress": "192.168.122.150"},
            workload={"image": "docker.io/library/nginx:1.27"},
            podNetworks={"macvlan-conf": {"addressesPerNode": 3}},
        )
    )
    names = [name.partition(":")[0] for name in found["IMAGES"].split()]
    assert names == sorted({"docker.io/library/nginx", "ghcr.io/k8snetworkplumbingwg/multus-cni", "ghcr.io/kube-vip/kube-vip"})


@pytest.mark.parametrize(
    ("change", "archive", "snapshotter", "data_disk"),
    [
        ({}, True, "overlayfs", "false"),
        ({"k3s": {"systemDefaultRegistry": "registry.example"}}, False, "overlayfs", "false"),
        ({"k3s": {"config": {"snapshotter": "stargz"}}}, True, "", "false"),
        ({"k3s": {"serverConfig": {"snapshotter": "overlayfs"}}}, True, "overlayfs", "false"),
        ({"servers": {"disks": {"rancher": {"size": 10}}}, "k3s": {"dataDisk": "rancher"}}, True, "overlayfs", "true"),
        ({"servers": {"disks": {"pv": {"size": 10, "mount": "/var/lib/rancher/k3s/storage"}}}}, True, "overlayfs", "true"),
        ({"servers": {"disks": {"pv": {"size": 10, "mount": "/srv/pv"}}}}, True, "overlayfs", "false"),
        ({"servers": {"disks": {"pv": {"size": 10}}}}, True, "overlayfs", "false"),
    ],
)
def test_what_k3s_s_settings_leave_out(change: dict[str, Any], archive: bool, snapshotter: str, data_disk: str) -> None:
    found = variables(made(**change))
    assert bool(found["K3S_IMAGES_URL"]) == bool(found["K3S_IMAGES_SUMS_URL"]) == archive
    assert (found["SNAPSHOTTER"], found["DATA_DISK"]) == (snapshotter, data_disk)


def test_it_is_installed_with_the_parameters_of_nodes() -> None:
    """Else k3s-install.sh would install once more: it compares their digest."""
    environment = {"INSTALL_K3S_MIRROR": "cn", "HTTP_PROXY": "http://proxy.example"}
    found = variables(made(k3s={"installScript": {"environment": environment}}))
    assert json.loads(found["INSTALL_ENV"]) == environment and list(json.loads(found["INSTALL_ENV"])) == sorted(environment)
    assert variables(made())["INSTALL_ENV"] == "{}" and variables(made())["RELEASES"] == ""


# --- hosts.toml


def hosts(mirrors: Mapping[str, Any], configs: Mapping[str, Any] | None = None) -> dict[str, str]:
    settings = reading.parse("dev", {"k3s": {"registries": {"mirrors": mirrors, "configs": configs or {}}}})
    return image_recipe.hosts(settings.k3s.registries)


def test_mirrors_are_written_as_containerd_reads_them() -> None:
    written = hosts(
        {
            "docker.io": {"endpoint": ["https://one.example", "http://two.example:5000/"], "rewrite": {"^(.*)$": 'hub/"$1'}},
            "*": {"endpoint": ["https://all.example/v2"]},
            "quay.io": {"endpoint": ["https://own.example/v2/quay/"]},
        }
    )
    assert written["docker.io"] == (
        "[host]\n"
        '[host."https://one.example/v2"]\ncapabilities = ["pull", "resolve"]\n'
        '[host."https://one.example/v2".rewrite]\n"^(.*)$" = "hub/\\"$1"\n'
        '[host."http://two.example:5000/v2"]\ncapabilities = ["pull", "resolve"]\n'
        '[host."http://two.example:5000/v2".rewrite]\n"^(.*)$" = "hub/\\"$1"\n'
    )
    assert written["_default"] == '[host]\n[host."https://all.example/v2"]\ncapabilities = ["pull", "resolve"]\n'
    assert written["quay.io"] == (
        '[host]\n[host."https://own.example/v2/quay"]\ncapabilities = ["pull", "resolve"]\noverride_path = true\n'
    )
    assert set(written) == {"docker.io", "_default", "quay.io"}


def test_what_is_written_is_toml() -> None:
    tomllib = pytest.importorskip("tomllib")
    endpoints = ["https://one.example", "https://two.example/own"]
    text = hosts({"docker.io": {"endpoint": endpoints, "rewrite": {"^library/(.*)": "m\\1"}}})["docker.io"]
    assert tomllib.loads(text) == {
        "host": {
            "https://one.example/v2": {"capabilities": ["pull", "resolve"], "rewrite": {"^library/(.*)": "m\\1"}},
            "https://two.example/own": {
                "capabilities": ["pull", "resolve"],
                "override_path": True,
                "rewrite": {"^library/(.*)": "m\\1"},
            },
        }
    }


def test_mirrors_with_credentials_are_left_out() -> None:
    endpoints = ["https://private.example", "https://me:x@also.example", "https://open.example"]
    text = hosts({"docker.io": {"endpoint": endpoints}}, {"private.example": ACCESS})["docker.io"]
    assert text == '[host]\n[host."https://open.example/v2"]\ncapabilities = ["pull", "resolve"]\n'

"""What a stack file may hold reaches shells, XML, YAML and JSON as data: the whole program, and its commands really run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from components.libvirt import domain_spec
from components.node import command

from .engine import Deployment, config_of, run

pytestmark = pytest.mark.program

EVIL = "'\"; touch pwned; $(touch pwned) `touch pwned` </name>&x; {{x}} %s \\ # : - *a"
EVIL_LINES = f"{EVIL}\n- b: {EVIL}\n--- \n\ttab\r\u2028ä€😀\x07"
CHANGE: dict[str, Any] = {
    "hypervisors": {"local": {"uri": "qemu+ssh://me@host:22/system?no_tty=1&known_hosts=/a%20b"}},
    "image": {"source": f"/srv/{EVIL}.qcow2"},
    "ssh": {"authorizedKeys": [f"ssh-ed25519 AAAA {EVIL}"]},
    "cloudInit": {"runcmd": [EVIL_LINES], EVIL: {EVIL_LINES: [EVIL, None, 1.5, True]}},
    "k3s": {
        "installScript": {"url": "https://h/'$(touch$IFS-pwned)';`x`&y=|z>w#<v", "environment": {"HTTP_PROXY": EVIL}},
        "registries": {
            "mirrors": {"docker.io": {"endpoint": ["https://h/$(x)'"], "rewrite": {EVIL_LINES: EVIL_LINES}}},
            "configs": {EVIL: {"auth": {"username": EVIL_LINES, "password": EVIL_LINES}, "tls": {"ca_file": EVIL}}},
        },
        "config": {"kubelet-arg": [EVIL_LINES, EVIL], "log": EVIL_LINES},
        "serverConfig": {"disable": EVIL_LINES},
    },
    "plugins": {"url": "https://h/'$(touch$IFS-pwned)';`x`", "checksum": "https://h/\"';$(x)"},
    "proof": {"title": EVIL, "path": "/?a=%27&b=~"},
}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(config_of("dev", CHANGE))


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sudo that prints what it is given instead of running it."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "sudo").write_text("#!/bin/bash\nprintf '%s\\0' \"$@\"\n")
    (folder / "sudo").chmod(0o755)
    return folder


def test_every_command_is_one_sudo_with_its_words(deployment: Deployment, stubs: Path) -> None:
    count = 0
    for step in deployment.of("Command"):
        for key in ("create", "delete"):
            line = step.input(key)
            if not line or line == command.LET_IN:
                continue
            subprocess.run(["bash", "-n", "-c", line], check=True, capture_output=True)
            for shell in ("bash", "sh"):
                done = subprocess.run(
                    [shell, "-c", line],
                    env={"PATH": f"{stubs}:{os.environ['PATH']}"},
                    cwd=stubs,
                    capture_output=True,
                    check=True,
                    timeout=20,
                )
                assert done.stderr == b"", step.name
                assert ["sudo", *done.stdout.decode().split("\0")[:-1]] == shlex.split(line), step.name
            count += 1
    assert count > 8
    assert [path.name for path in stubs.iterdir()] == ["sudo"]


def test_parameters_of_the_scripts_are_the_settings(deployment: Deployment) -> None:
    words = shlex.split(deployment["server-1-k3s-install"].input("create"))
    given = dict(word.split("=", 1) for word in words[3 : words.index("timeout")])
    assert given["INSTALL_URL"] == CHANGE["k3s"]["installScript"]["url"]
    words = shlex.split(deployment["server-1-k3s-plugins-install"].input("create"))
    given = dict(word.split("=", 1) for word in words[3 : words.index("timeout")])
    assert given["ARCHIVE_URL"] == CHANGE["plugins"]["url"]
    assert given["ARCHIVE_SUMS_URL"] == CHANGE["plugins"]["checksum"]


def test_the_nodes_files_hold_the_settings(deployment: Deployment) -> None:
    files = json.loads(deployment["server-1-k3s-install"].document())
    config = yaml.safe_load(files["/etc/rancher/k3s/config.yaml"]["content"])
    for key, value in {**CHANGE["k3s"]["config"], **CHANGE["k3s"]["serverConfig"]}.items():
        assert config[key] == value
    assert yaml.safe_load(files["/etc/rancher/k3s/registries.yaml"]["content"]) == CHANGE["k3s"]["registries"]


def test_the_seed_holds_the_settings_and_its_own_keys(deployment: Deployment) -> None:
    user_data = yaml.safe_load(deployment["server-1-seed"].input("user_data"))
    for key, value in CHANGE["cloudInit"].items():
        assert user_data[key] == value
    assert user_data["users"][0]["ssh_authorized_keys"][1] == CHANGE["ssh"]["authorizedKeys"][0]
    assert set(user_data) == set(CHANGE["cloudInit"]) | {
        "hostname", "fqdn", "prefer_fqdn_over_hostname", "manage_etc_hosts", "users", "ssh_pwauth", "disable_root",
        "ssh_deletekeys", "ssh_keys",
    }  # fmt: skip


def test_the_domains_document_says_what_the_inputs_say(deployment: Deployment) -> None:
    inputs = {name: deployment["server-1-domain"].input(name) for name in deployment["server-1-domain"].inputs}
    inputs |= {"memory_mib": int(inputs["memory_mib"]), "cpus": int(inputs["cpus"])}
    # What the engine's inputs could never hold, for the document alone.
    inputs |= {"disk_path": f"/a/{EVIL}", "console_log": f"/b/{EVIL}", "node": EVIL}
    document = domain_spec.domain(domain_spec.from_inputs(inputs, virt_type="qemu"))
    ET.fromstring(document)
    facts = domain_spec.read_domain(document)
    assert (facts.name, facts.macs, facts.console_log) == (inputs["name"], (inputs["mac"],), inputs["console_log"])
    assert facts.disks[0] == inputs["disk_path"]


def test_the_proof_expects_the_title_as_it_is(deployment: Deployment) -> None:
    assert deployment["nginx-macvlan-macvlan-conf-proof"].input("title") == EVIL
    assert deployment["nginx-macvlan-macvlan-conf-proof"].input("url").endswith("/?a=%27&b=~")

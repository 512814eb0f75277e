"""A stack as it is known on this machine: its settings from its file, its outputs from Pulumi.

Secrets are read where a verb needs them and never shown: their fields are left out of every repr.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from cli import engine, selection, stack_yaml
from cli.errors import LabError
from cli.folders import ROOT, stack_file
from components.config import plan as plans
from components.config import raw, reading
from components.config import settings as models
from components.config.former import without_former
from components.config.problems import Problem, SettingsError

_SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105 - the key that marks a secret value in Pulumi's JSON


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as the outputs describe it."""

    name: str
    role: str
    """server or agent."""
    address: str
    mac: str
    domain: str
    """Name of its libvirt domain."""
    hypervisor: str
    """Name of its hypervisor in the settings."""
    host_key: str = ""
    """The public key that its SSH server must have, in OpenSSH's form; empty where there is none yet."""
    disks: tuple[Mapping[str, Any], ...] = ()
    """Its data disks as the outputs have them: name, serial, gib, mount, fileSystem, keep."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What is known of a stack. Empty fields: not known, because `up` has not come so far; `notes` says so."""

    name: str
    url: str = ""
    """URL of the first pod's page."""
    address: str = ""
    """Address of the first pod on the network."""
    mac: str = ""
    """MAC address of the first pod on the network."""
    pages: tuple[Mapping[str, Any], ...] = ()
    """The output `pages`: of each pod and network their names, node, address, URL, and what `up` was served or why it
    requested nothing."""
    nodes: tuple[Node, ...] = ()
    ssh_user: str = "ubuntu"
    ssh_port: int = 22
    private_key: str = field(default="", repr=False)
    """Private key for SSH, in OpenSSH's form; empty where the user has one of their own."""
    kubeconfig: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()
    """What is not known, and why, one sentence each."""

    def node(self, name: str) -> Node:
        """The node of this name (server-1), domain name or address."""
        for node in self.nodes:
            if name in (node.name, node.domain, node.address):
                return node
        names = ", ".join(node.name for node in self.nodes) or "none: `./lab up` makes them"
        raise LabError(f"there is no node {name}; the nodes of stack {self.name}: {names}")

    @property
    def servers(self) -> tuple[Node, ...]:
        """At least one; LabError otherwise."""
        servers = tuple(node for node in self.nodes if node.role == "server")
        if not servers:
            raise LabError(f"stack {self.name} has no server yet: ./lab -s {self.name} up")
        return servers

    @property
    def first_server(self) -> Node:
        return self.servers[0]


# --- settings ---


def project(root: Path = ROOT) -> str:
    """The project's name, from Pulumi.yaml."""
    return str(stack_yaml.load((root / "Pulumi.yaml").read_text(encoding="utf-8"))["name"])


def load_settings(stack: str, root: Path = ROOT) -> tuple[models.Settings, plans.Plan]:
    """Settings and plan from the stack's file, by the program's own loader; without artifacts in place of downloads.

    Raises SettingsError with every mistake that shows without the stack's secrets, LabError if there is no file or no YAML in it.
    """
    loaded = reading.load(project(root), stack.rsplit("/", 1)[-1], _raw_configuration(stack, root))
    return loaded.settings, loaded.plan


def unread(stack: str, root: Path = ROOT) -> list[Problem]:
    """The mistakes of the stack's file that `up` itself does not report, because Pulumi reads past them."""
    return raw.unread_keys(_document(stack, root), project(root))


def secrets_of(stack: str, root: Path = ROOT) -> frozenset[str]:
    """The settings of the stack's file that are secrets."""
    return _raw_configuration(stack, root).unknown


def read_settings(stack: str, root: Path = ROOT) -> tuple[models.Settings, plans.Plan]:
    """The same for verbs that only read a stack: conflicts between settings do not stop them."""
    configuration = _raw_configuration(stack, root)
    values, former = without_former(configuration.values, project(root), replaced=lambda: "podNetworks" in configuration.values)
    if former:
        raise SettingsError(stack, former)
    config = reading.parse(stack, values, unknown=configuration.unknown)
    return config, plans.make(project(root), stack.rsplit("/", 1)[-1], config)


def _raw_configuration(stack: str, root: Path) -> raw.RawConfiguration:
    return raw.from_document(_document(stack, root), project(root))


def _document(stack: str, root: Path) -> dict[str, Any]:
    path = stack_file(stack, root)
    try:
        document = stack_yaml.load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise LabError(f"there is no {path.name}: ./lab -s STACK takes the name of a stack file that is here") from None
    except UnicodeDecodeError as error:
        raise LabError(f"{path.name} is not in UTF-8 (byte {error.start}); save it in that encoding") from None
    except stack_yaml.DuplicateKeys as error:
        text = "is set twice, at line {} and at line {}; keep one of them"
        raise SettingsError(stack, [Problem(key, "", text.format(*lines)) for key, *lines in error.duplicates]) from None
    except yaml.YAMLError as error:
        raise LabError(f"{path.name} is no YAML document: {stack_yaml.message_of(error)}; correct it there") from None
    if not isinstance(document, dict) or not isinstance(document.get("config") or {}, dict):
        raise LabError(f"{path.name} is no stack file: write its settings below config:, each as project:name: value")
    return document


def on_bridge(config: models.Settings) -> bool:
    """Whether machines are connected to a bridge of the host and not to a network of libvirt's."""
    return config.network.kind == "bridge"


# --- outputs ---


def parse_outputs(stack: str, outputs: Mapping[str, Any]) -> Stack:
    """The stack from `pulumi stack output --json --show-secrets`; what is not there stays empty."""
    command = re.fullmatch(r"ssh -p (\d+) ([^@\s]+)@\S+", str(outputs.get("sshCommand", "")))
    nodes = tuple(
        Node(
            name=str(item.get("name", "")),
            role=str(item.get("role", "")),
            address=str(item.get("address", "")),
            mac=str(item.get("mac", "")),
            domain=str(item.get("domain", "")),
            hypervisor=str(item.get("hypervisor", "")),
            host_key=str(item.get("hostKey") or ""),
            disks=tuple(item.get("disks") or ()),
        )
        for item in outputs.get("nodes") or ()
    )
    return Stack(
        name=stack,
        url=str(outputs.get("url") or ""),
        address=str(outputs.get("address") or ""),
        mac=str(outputs.get("mac") or ""),
        pages=tuple(outputs.get("pages") or ([outputs["proof"]] if outputs.get("proof") else ())),
        nodes=nodes,
        ssh_user=command.group(2) if command else "ubuntu",
        ssh_port=int(command.group(1)) if command else 22,
        private_key=str(outputs.get("sshPrivateKey") or ""),
        kubeconfig=str(outputs.get("kubeconfig") or ""),
    )


def from_state(stack: Stack, state: Mapping[str, Any], config: models.Settings, plan: plans.Plan) -> Stack:
    """The stack completed from its state and plan: an `up` that failed half-way has made keys and machines, but no outputs."""
    outputs_of = {str(resource["urn"]).rsplit("::", 1)[-1]: resource.get("outputs") or {} for resource in resources(state)}

    def value(name: str, key: str) -> str:
        return plain(outputs_of.get(name, {}).get(key))

    nodes = tuple(
        Node(
            name=node.name,
            role=node.role,
            address=str(node.address),
            mac=node.mac,
            domain=node.domain,
            hypervisor=node.pool.hypervisor,
            host_key=value(f"{node.name}-host-key", "public_key"),
        )
        for node in plan.nodes
        if f"{node.name}-domain" in outputs_of or f"{node.name}-host-key" in outputs_of
    )
    note = (
        "the last `up` did not finish, so what is shown comes from the stack's state and file"
        if nodes
        else "there is nothing: the stack was never brought up, or is destroyed"
    )
    return replace(
        stack,
        nodes=nodes,
        ssh_user=config.ssh.user,
        ssh_port=config.ssh.port,
        private_key=value("client-key", "private_key") or _own_key(resources(state)),
        kubeconfig=_reached(value("k3s-kubeconfig", "stdout"), plan),
        notes=(*stack.notes, note),
    )


def _own_key(made: Iterable[Mapping[str, Any]]) -> str:
    """The private key of `ssh.privateKey`, which is in what the stack's commands connect with; "" before the first of them."""
    connections = (_clear((resource.get("inputs") or {}).get("connection")) for resource in made)
    keys = (plain(connection.get("privateKey")) for connection in connections if isinstance(connection, Mapping))
    return next(filter(None, keys), "")


def _reached(kubeconfig: str, plan: plans.Plan) -> str:
    """The kubeconfig as it is on the first server, with the API's address as it is seen from here."""
    return re.sub(r"(?m)^(\s*server: https://)127\.0\.0\.1(:\d+)\s*$", rf"\g<1>{plan.api_address}\g<2>", kubeconfig)


def resources(state: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The resources of what `pulumi stack export` prints."""
    return (state.get("deployment") or {}).get("resources") or ()


def plain(value: Any) -> str:
    """A text of the state, also where it is a secret; empty where it is none."""
    clear = _clear(value)
    return clear if isinstance(clear, str) else ""


def _clear(value: Any) -> Any:
    """A value of the state, also where it is a secret; None of one that is not shown."""
    if isinstance(value, Mapping) and _SECRET in value:
        text = value.get("plaintext")
        return _clear(json.loads(text)) if isinstance(text, str) else None
    return value


def pulumi_json(*arguments: str) -> Any:
    """What a pulumi command prints as JSON; its output holds secrets, so no error repeats it."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        [engine.path(), *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"pulumi {arguments[0]} {arguments[1]} failed: {done.stderr.strip() or 'it says nothing'}")
    try:
        return json.loads(done.stdout or "{}")
    except ValueError:
        raise LabError(f"pulumi {arguments[0]} {arguments[1]} printed no JSON") from None


def read_selected(name: str) -> Stack:
    """`read`, in the backend that `lab` uses. LabError if there is no such stack."""
    selection.for_reading(name)
    return read(name)


def read(name: str, run: Callable[..., Any] = pulumi_json) -> Stack:
    """The stack from its outputs; where its last `up` has not come to them, from its state and file."""
    stack = parse_outputs(name, run("stack", "output", "-s", name, "--json", "--show-secrets"))
    if stack.nodes:
        return stack
    try:
        config, plan = read_settings(name)
    except SettingsError as error:
        return replace(stack, notes=(str(error),))
    return from_state(stack, run("stack", "export", "-s", name, "--show-secrets"), config, plan)

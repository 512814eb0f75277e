"""A stack as it is known on this machine: its settings from its file, its outputs from Pulumi.

Secrets are read where a verb needs them and never shown: their fields are left out of every repr.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from cli import engine, selection, stack_yaml
from cli.errors import LabError
from cli.folders import ROOT, stack_file
from components.config import plan as plans
from components.config import reading
from components.config import settings as models
from components.config.problems import Problem, SettingsError

_SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105 - the key that marks a secret value in Pulumi's JSON
HIDDEN = "[secret]"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as the outputs tell it. host_key: the public key its SSH server must show."""

    name: str
    role: str
    address: str
    mac: str
    domain: str
    hypervisor: str
    host_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What is known of a stack. Empty fields: not known, because `up` has not come so far; `notes` says so."""

    name: str
    url: str = ""
    address: str = ""
    mac: str = ""
    pages: tuple[Mapping[str, Any], ...] = ()
    nodes: tuple[Node, ...] = ()
    ssh_user: str = "ubuntu"
    ssh_port: int = 22
    private_key: str = field(default="", repr=False)
    kubeconfig: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        """The node of this name (server-1), domain name or address."""
        for node in self.nodes:
            if name in (node.name, node.domain, node.address):
                return node
        known = ", ".join(node.name for node in self.nodes) or "none: `./lab up` makes them"
        raise LabError(f"there is no node {name}; the nodes of stack {self.name}: {known}")

    @property
    def first_server(self) -> Node:
        servers = [node for node in self.nodes if node.role == "server"]
        if not servers:
            raise LabError(f"stack {self.name} has no server yet: ./lab -s {self.name} up")
        return servers[0]


# --- settings ---


def project(root: Path = ROOT) -> str:
    """The project's name, from Pulumi.yaml."""
    return str(stack_yaml.load((root / "Pulumi.yaml").read_text(encoding="utf-8"))["name"])


def raw_settings(document: Mapping[str, Any], project_name: str) -> dict[str, Any]:
    """The project's keys of a stack file; encrypted values, which only Pulumi can read, as a placeholder or left out."""
    keys = _keys(document, project_name)
    return {key: _without_secrets(value) for key, value in keys.items() if not _encrypted(value)}


def secret_paths(document: Mapping[str, Any], project_name: str) -> frozenset[str]:
    """The settings of a stack file whose values are encrypted."""
    return frozenset(path for key, value in _keys(document, project_name).items() for path in _encrypted_paths(value, key))


def _keys(document: Mapping[str, Any], project_name: str) -> dict[str, Any]:
    names = ((split_key(name, project_name), value) for name, value in (document.get("config") or {}).items())
    return {key: _value(value) for (namespace, key), value in names if namespace == project_name}


def split_key(key: Any, project_name: str) -> tuple[str, str]:
    """Namespace and name of a key below config:. Without a namespace it is the project's; namespace:config:name is an old form.
    Two empty texts for what Pulumi refuses.
    """
    match str(key).split(":"):
        case [name]:
            return project_name, name
        case [namespace, name] | [namespace, "config", name]:
            return namespace, name
    return "", ""


def _value(value: Any) -> Any:
    """A value as the program gets it, to which the engine hands it on as text."""
    if value is None:
        return ""
    return reading.from_text(value) if isinstance(value, str) else value


_TOP_LEVEL = ("config", "secretsprovider", "encryptedkey", "encryptionsalt", "environment")
"""Keys of a stack file (pulumi: sdk/go/common/workspace/project.go, ProjectStack)."""


def unread_keys(document: Mapping[str, Any], project_name: str) -> list[Problem]:
    """Keys that Pulumi reads past without a word: at the top level of the file, and a setting's second spelling."""
    problems = []
    for key in document:
        if key not in _TOP_LEVEL:
            namespace, name = split_key(key, project_name)
            meant = frozenset({name}) if namespace == project_name and name else frozenset({str(key)})
            conflict = "stands outside of config:, where Pulumi reads no setting; put it below config:, or remove it"
            problems.append(Problem(str(key), "", conflict, meant))
    spellings: dict[tuple[str, str], list[str]] = {}
    for key in document.get("config") or {}:
        spellings.setdefault(split_key(key, project_name), []).append(str(key))
    for setting, (first, *others) in spellings.items():
        if setting != ("", ""):
            conflict = f"is the same setting as {first}, and Pulumi takes one of them; keep one"
            problems += [Problem(each, "", conflict, frozenset({setting[1]})) for each in others]
    return problems


def _wrong_keys(document: Mapping[str, Any], project_name: str) -> list[Problem]:
    """What is wrong with the file's keys, those of the settings themselves left to the program's own loader."""
    keys = {str(key): split_key(key, project_name) for key in document.get("config") or {}}
    conflict = f"is no key that Pulumi reads; write it as {project_name}:NAME"
    odd = [Problem(key, "", conflict) for key, name in keys.items() if name == ("", "")]
    written = [":".join(name) for name in keys.values()]
    return [*unread_keys(document, project_name), *odd, *reading.misnamed(project_name, written)]


def _encrypted(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"secure"}


def _encrypted_paths(value: Any, path: str) -> Iterator[str]:
    if _encrypted(value):
        yield path
        return
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inner:
        yield from _encrypted_paths(item, f"{path}.{step}")


def _without_secrets(value: Any) -> Any:
    if _encrypted(value):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value


def load_settings(stack: str, root: Path = ROOT) -> tuple[models.Settings, plans.Plan]:
    """Settings and plan from the stack's file, by the program's own loader.

    Raises SettingsError with every mistake that is seen without the stack's secrets, LabError if there is no file or no YAML in it.
    """
    name, document = project(root), _document(stack, root)
    raw, secrets = raw_settings(document, name), secret_paths(document, name)
    found = _wrong_keys(document, name)
    return reading.load(name, stack.rsplit("/", 1)[-1], raw, unknown=secrets, found=found)


def unread(stack: str, root: Path = ROOT) -> list[Problem]:
    """The mistakes of the stack's file that `up` itself does not tell, because Pulumi reads past them."""
    return unread_keys(_document(stack, root), project(root))


def secrets_of(stack: str, root: Path = ROOT) -> frozenset[str]:
    """The settings of the stack's file that are secrets."""
    return secret_paths(_document(stack, root), project(root))


def read_settings(stack: str, root: Path = ROOT) -> tuple[models.Settings, plans.Plan]:
    """The same for what only looks at a stack that is there: conflicts between settings do not stop it."""
    name, document = project(root), _document(stack, root)
    config = reading.parse(stack, raw_settings(document, name), unknown=secret_paths(document, name))
    return config, plans.make(name, stack.rsplit("/", 1)[-1], config)


def _document(stack: str, root: Path) -> dict[str, Any]:
    path = stack_file(stack, root)
    try:
        found = stack_yaml.load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise LabError(f"there is no {path.name}: ./lab -s STACK takes the name of a stack file that is here") from None
    except UnicodeDecodeError as error:
        raise LabError(f"{path.name} is not in UTF-8 (byte {error.start}); save it in that encoding") from None
    except stack_yaml.DuplicateKeys as error:
        told = "is set twice, at line {} and at line {}; keep one of them"
        raise SettingsError(stack, [Problem(key, "", told.format(*lines)) for key, *lines in error.found]) from None
    except yaml.YAMLError as error:
        raise LabError(f"{path.name} is no YAML document: {stack_yaml.said(error)}; correct it there") from None
    if not isinstance(found, dict) or not isinstance(found.get("config") or {}, dict):
        raise LabError(f"{path.name} is no stack file: write its settings below config:, each as project:name: value")
    return found


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
    found = {
        str(resource["urn"]).rsplit("::", 1)[-1]: resource.get("outputs") or {}
        for resource in (state.get("deployment") or {}).get("resources") or ()
    }

    def value(name: str, key: str) -> str:
        return _plain(found.get(name, {}).get(key))

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
        if f"{node.name}-domain" in found or f"{node.name}-host-key" in found
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
        private_key=value("client-key", "private_key"),
        kubeconfig=_reached(value("k3s-kubeconfig", "stdout"), config, plan),
        notes=(*stack.notes, note),
    )


def _reached(kubeconfig: str, config: models.Settings, plan: plans.Plan) -> str:
    """The kubeconfig as it is on the first server, with the API's address as it is seen from here."""
    address = config.k3s.api_address or str(plan.nodes[0].address)
    return re.sub(r"(?m)^(\s*server: https://)127\.0\.0\.1(:\d+)\s*$", rf"\g<1>{address}\g<2>", kubeconfig)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping) and _SECRET in value:
        text = value.get("plaintext")
        return _plain(json.loads(text)) if isinstance(text, str) else ""
    return value if isinstance(value, str) else ""


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
    """The stack's outputs; where its last `up` has not come to them, what its state and file tell."""
    stack = parse_outputs(name, run("stack", "output", "-s", name, "--json", "--show-secrets"))
    if stack.nodes:
        return stack
    try:
        config, plan = read_settings(name)
    except SettingsError as error:
        return replace(stack, notes=(str(error),))
    return from_state(stack, run("stack", "export", "-s", name, "--show-secrets"), config, plan)

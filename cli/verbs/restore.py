"""`lab restore`: a backup's data in place of the cluster's: on the running stack, on recreated machines, on an empty hypervisor.

The machines are brought up first, by `up`, wherever they or K3s on them are missing. Then the cluster's data are exchanged on the
nodes, and then Pulumi reads what the restored cluster has, by runs of `up`. Each step may be repeated, and so the whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple

from cli import backend as backends
from cli import backup_file, consent, data_key, engine, hints, locks, node_scripts, process, restore_checks, selection
from cli import stack as stacks
from cli.backup_file import Header, Reader
from cli.errors import LabError
from cli.folders import caller
from cli.node_scripts import Run
from cli.report import say
from cli.restore_checks import Running
from cli.stack import Node, Stack
from cli.verbs import backup, ssh, up
from components.config.plan import Plan
from components.config.settings import Settings

PROBE_SECONDS = 40.0
"""For all nodes to answer on SSH."""

_INSTALLED = "test -d /etc/rancher/k3s || exit 1; if /usr/local/bin/k3s --version | grep -qF ' {version} '; then echo ready; fi"
"""The status says whether K3s is installed on a node, and `ready` that it is this release: another is for `up` to replace first."""

_SKIP = "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE"


def main(options: argparse.Namespace) -> int:
    """0 when the restored cluster serves its pages."""
    source = Source(caller() / options.file, options.stack, options.passphrase_file)
    header = source.header()
    if options.settings:
        backends.use(options.stack)
        with source.opened() as reader:
            sys.stdout.write(_described(header) + reader.content.settings)
        return 0
    config, plan = stacks.load_settings(options.stack)
    backend = backends.use(options.stack)
    other = options.other_cluster
    source.refuse(restore_checks.of_header(header, plan.owner, config.k3s.version, other_cluster=other))
    with source.opened() as reader:
        for _part in reader.snapshot():
            pass
    source.refuse(restore_checks.of_content(reader.content, _wanted(config, plan)))
    stack = _existing(backend, options.stack)
    running = _running(stack)
    source.refuse(restore_checks.of_running(header, running, other_cluster=other))
    nodes = _observe(stack, config.k3s.version) if stack else Nodes(frozenset(), frozenset())
    if stack:
        source.refuse(_of_majority(stack, nodes.answering))
    _ask(header, running, stack, options)
    hints.about_libvirt(options.stack)
    engine.install_plugins()
    locks.release_and_report(backend, options.stack)
    try:
        _restore(source, config, plan, stack, nodes)
    except (LabError, KeyboardInterrupt, SystemExit):
        say(f"the restore is not complete. Each of its steps may be repeated: ./lab -s {options.stack} restore {options.file}")
        raise
    say(f"the cluster is again what it was at {header.date}")
    return 0


# --- before anything is touched ---


@dataclass(frozen=True)
class Source:
    """The backup."""

    path: Path
    stack: str
    """The stack that it is restored into."""
    passphrase_file: str | None
    """As the caller named it."""

    def header(self) -> Header:
        with self._file() as file:
            return backup_file.read_header(file, self.path.name)

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Its content, decrypted. The backend has been set. LabError where it is damaged, or cannot be decrypted."""
        with self._file() as file:
            header = backup_file.read_header(file, self.path.name)
            passphrase_file = str(caller() / self.passphrase_file) if self.passphrase_file else None
            key = data_key.unwrap(stacks.project(), self.stack, header.key, passphrase_file)
            yield Reader(file, self.path.name, header, key)

    def refuse(self, reasons: Iterator[str]) -> None:
        """LabError with all of them, if there are any."""
        listed = [f"\n  - {reason}" for reason in reasons]
        if listed:
            raise LabError(f"{self.path.name} is not restored, and nothing was changed:{''.join(listed)}")

    @contextmanager
    def _file(self) -> Iterator[IO[bytes]]:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise LabError(f"cannot read {self.path}: {error.strerror or error}") from None
        with file:
            yield file


def _wanted(config: Settings, plan: Plan) -> dict[str, object]:
    """config.yaml of the stack's first server, but for its tokens."""
    from components.cluster import k3s_files  # noqa: PLC0415 - imports Pulumi, which takes a second

    return k3s_files.config(plan.nodes[0], "", plan.api_names, config.k3s, "")


def _existing(backend: backends.Backend, name: str) -> Stack | None:
    """The stack as it is in the state; None where there is none, or nothing in it."""
    if backend.local and not backend.has(name):
        return None
    selection.for_reading(name)
    try:
        stack = stacks.read(name)
    except LabError as error:
        if backend.local or "no stack named" not in str(error):
            raise
        return None
    return stack if stack.nodes else None


def _running(stack: Stack | None) -> Running:
    """The cluster of the stack, as far as it answers."""
    if stack is None:
        return Running()
    identity = backup.identity(stack.name)
    if not stack.kubeconfig:
        return Running(identity=identity)
    from components.cluster import kubernetes_api  # noqa: PLC0415 - imports Pulumi, which takes a second

    try:
        namespace = kubernetes_api.client(stack.kubeconfig)("/api/v1/namespaces/kube-system")["metadata"]
    except (OSError, ValueError, KeyError):
        return Running(identity=identity)
    return Running(cluster=namespace["uid"], founded=namespace["creationTimestamp"], identity=identity)


def _ask(header: Header, running: Running, stack: Stack | None, options: argparse.Namespace) -> None:
    """LabError unless the user agrees; not asked with -y, or where nobody is at the terminal."""
    say(_described(header).strip("# \n"))
    if stack is None:
        say(f"stack {options.stack} is brought up first; then its new cluster gets that one's data")
    else:
        say(
            f"all that the cluster of stack {options.stack} has become since {header.date} is lost: every object of its API. All "
            "pods start again. Data disks and volumes stay as they are. What it is now is kept by ./lab backup before"
        )
        if not running.cluster:
            say("its API does not answer now, so whether it is the same cluster is not known")
    if not consent.given("restore it?", yes=options.yes):
        raise LabError("nothing was changed")


def _described(header: Header) -> str:
    return f"# backup of {header.owner} of {header.date}, K3s {header.release}, cluster {header.cluster}\n"


# --- the restore ---


def _restore(source: Source, config: Settings, plan: Plan, stack: Stack | None, nodes: Nodes) -> None:
    name, version = source.stack, config.k3s.version
    if stack is None or len(nodes.ready) < len(stack.nodes):
        up.refuse_unfit_hosts(name)
        if stack is not None and _lost_majority(stack, nodes.answering):
            say("no majority of the servers is left: the data are exchanged on the nodes that answer, before others are recreated")
            answering = tuple(node for node in stack.nodes if node.name in nodes.answering)
            _exchange(source, replace(stack, nodes=answering), config, plan)
        say("bringing the machines up first")
        if stack is not None:
            _see_what_is_lost(name)
        _up(name)
        stack = stacks.read_selected(name)
        if len(_observe(stack, version).ready) < len(stack.nodes):
            raise LabError(
                f"a node of stack {name} does not answer on SSH, or has no K3s {version}, though `up` has ended well: ./lab -s "
                f"{name} status; bring it back, or take it out of the settings"
            )
    # Also where it was done on a part of them: a server that was only off has started with the data of before.
    _exchange(source, stack, config, plan)
    say("reading the kubeconfig of the restored cluster")
    _up(name, "--skip-preview", "--replace", "**::k3s-kubeconfig")
    say("bringing the stack up to date with the restored cluster")
    _up(name, "--refresh", "--replace", "**-multus-gate")
    # Until here a repetition deletes nothing of what was there before.
    node_scripts.run_with(stack, _rejoin(stack.first_server, "complete", config, plan))


class Nodes(NamedTuple):
    """Names of nodes."""

    answering: frozenset[str]
    """They answer, and have a K3s: an upgrade that was cut off leaves another release, with its data and its vote."""
    ready: frozenset[str]
    """And that of the settings."""


def _observe(stack: Stack, version: str) -> Nodes:
    """The nodes as they are now. version: of the settings."""
    answers = ssh.gather(stack, stack.nodes, [ssh.quoted(["sh", "-c", _INSTALLED.format(version=version)])], PROBE_SECONDS)
    for name, answer in answers.items():
        if answer.error:
            say(f"{name} does not answer, or K3s is not installed there: {answer.error}")
        elif answer.text.strip() != "ready":
            say(f"{name} has another release of K3s than {version}, which `up` installs first")
    return Nodes(
        answering=frozenset(name for name, answer in answers.items() if not answer.error),
        ready=frozenset(name for name, answer in answers.items() if not answer.error and answer.text.strip() == "ready"),
    )


def _lost_majority(stack: Stack, answering: frozenset[str]) -> bool:
    """Whether etcd has no majority on the servers that answer. A single server has none to lose: its cluster is its data."""
    servers = [node.name for node in stack.nodes if node.role == "server"]
    return len(servers) > 1 and 2 * len(answering.intersection(servers)) <= len(servers)


def _of_majority(stack: Stack, answering: frozenset[str]) -> Iterator[str]:
    """Why nothing can be exchanged: a recreated first server joins the others, and these have no cluster that it could join."""
    if _lost_majority(stack, answering) and stack.first_server.name not in answering:
        lost = [node.name for node in stack.nodes if node.role == "server" and node.name not in answering]
        yield (
            f"{', '.join(lost)} do not answer, the first server among them, and no majority of the servers is left. Start those "
            f"that are only off (./lab -s {stack.name} status). If they are lost: ./lab -s {stack.name} destroy, which deletes "
            "data disks without keep too, then the same restore"
        )


def _see_what_is_lost(name: str) -> None:
    """As `./lab refresh`: what only the API of a lost machine knows keeps its state. LabError if it fails."""
    stack = selection.create(backends.use(name), name)
    os.environ[_SKIP] = "true"
    failed = process.run(["pulumi", "refresh", *stack, "--yes", "--clear-pending-creates"])
    del os.environ[_SKIP]
    if failed:
        raise LabError("`pulumi refresh` ended with an error, which is above: mend its cause, then repeat the restore")


def _up(name: str, *words: str) -> None:
    """`pulumi up`, without a question: that of the restore has been answered. LabError if it fails."""
    stack = selection.create(backends.use(name), name)
    if process.run(["pulumi", "up", *stack, "--yes", *words]):
        raise LabError("`pulumi up` ended with an error, which is above: mend its cause, then repeat the restore")


def _exchange(source: Source, stack: Stack, config: Settings, plan: Plan) -> None:
    """The restored data on the first server; all other nodes join it again."""
    limit = config.timeouts.k3s
    first = stack.first_server
    others = [node for node in stack.nodes if node is not first]
    if others:
        say(f"stopping K3s on {_names(others)}")
        node_scripts.run_all(stack, [_rejoin(node, "stop", config, plan) for node in others])
    say(f"exchanging the cluster's data on {first.name}")
    with source.opened() as reader:
        content = reader.content
        encrypted = "true" if content.encrypted else "false"
        environment = {
            "SIZE": str(content.size),
            "SHA256": content.sha256,
            "ENCRYPTED": encrypted,
            "NODES": " ".join(node.name for node in stack.nodes),
            "CONF_DIR": plan.cni.conf,
            "LIMIT_SECONDS": str(limit),
            "SERVICE_LIMIT": str(limit),
        }
        run = Run(
            node=first,
            name="k3s-restore.sh",
            limit=5 * limit + 800,
            environment=environment,
            more_stdin=f"{content.token}\n{content.agent_token}\n".encode(),
        )
        node_scripts.run_with(stack, run, reader.snapshot())
    if not others:
        return
    tokens = _tokens(stack)
    # etcd takes one new member at a time.
    for node in others:
        if node.role == "server":
            say(f"{node.name} joins the restored cluster")
            node_scripts.run_with(stack, _rejoin(node, "join", config, plan, tokens, ENCRYPTED=encrypted))
    agents = [node for node in others if node.role == "agent"]
    if agents:
        say(f"{_names(agents)}: joining the restored cluster")
        node_scripts.run_all(stack, [_rejoin(node, "join", config, plan, tokens) for node in agents])


def _rejoin(node: Node, step: str, config: Settings, plan: Plan, tokens: bytes = b"", **more: str) -> Run:
    limit = config.timeouts.k3s
    environment = {"STEP": step, "ROLE": node.role, "CONF_DIR": plan.cni.conf, "SERVICE_LIMIT": str(limit), **more}
    return Run(node=node, name="k3s-rejoin.sh", limit=2 * limit + 400, environment=environment, more_stdin=tokens)


def _tokens(stack: Stack) -> bytes:
    """The restored cluster's token and its agents', or an empty one, a line each: those of its first server. LabError where that
    does not name them."""
    first = stack.first_server
    servers, _newline, agents = node_scripts.printed(stack, Run(node=first, name="k3s-data-token.sh", limit=60)).partition("\n")
    if not servers:
        raise LabError(f"{first.name} has no token of the restored cluster: repeat the restore")
    return f"{servers}\n{agents}\n".encode()


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(node.name for node in nodes)

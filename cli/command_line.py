"""The command line of `lab`: one parser and one help text for all verbs.

Standard library only, as `needs`: both are imported before the virtual environment is there.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from cli.errors import LabError
from cli.version import ShowVersion

TIERS = ("lint", "unit", "program", "provider", "e2e")
"""Tiers of `./lab test` unless it names some."""

LONG_TIERS = ("e2e-nodes",)
"""Tiers that run only when they are named."""

ROTATIONS = ("certificates", "token", "ssh-keys")
"""What `./lab rotate` rotates, each by the module of its name in `cli/rotations`, with _ for -."""

JOURNAL_UNITS = ("k3s", "k3s-agent", "cloud-final")
"""systemd units whose journal `./lab logs` shows."""

_STACK = re.compile(r"([A-Za-z0-9._-]+/){0,2}[A-Za-z0-9._-]+")

_USAGE = """
  ./lab [-s STACK] [-y] up | preview | destroy | refresh  [PULUMI ARGUMENTS]
  ./lab [-s STACK] status | doctor [--json]   the stack on one screen; what stands in its way on this machine
  ./lab [-s STACK] [-y] rotate certificates | token | ssh-keys   new ones, one node after another
  ./lab [-s STACK] attach NAME [NAME...]      the annotation of a pod that is in the book of addresses
  ./lab [-s STACK] fetch [DIRECTORY]          all that the stack downloads, for machines without the internet
  ./lab [-s STACK] image [--list] [--remove] [--export FILE]   the prepared image that nodes' disks are over
  ./lab [-s STACK] [-y] drain | uncordon | reboot NODE          a node out of service and back, one server at a time
  ./lab [-s STACK] [-y] backup [FILE] | restore FILE           the cluster's data as an encrypted file, and back
  ./lab [-s STACK] ssh NODE [COMMAND] | kubectl ARGUMENTS | logs NODE | diagram [FILE]
  ./lab pulumi ARGUMENTS                      any other pulumi command, on the same state
  ./lab test [lint] [unit] [program] [provider] [e2e]          all of them unless said
  ./lab test e2e-nodes                        long: faults, several servers, a LAN, no internet
  ./lab --version                             the version, and the commit of a checkout
"""

_DESCRIPTION = """\
Puts in place what a stack needs on this machine (Debian or Ubuntu), then calls plain pulumi; or runs the tests.
./lab VERB -h explains one verb."""

_EPILOG = """\
STACK is dev unless said. up, destroy, refresh, restore, rotate, drain and reboot ask before they act, unless -y is given or
nobody is at the terminal.
State and its passphrase are in .lab/ unless you have a login of your own: PULUMI_BACKEND_URL, PULUMI_ACCESS_TOKEN or
`pulumi login`. In .lab/ the stack's file is used as a copy, since Pulumi writes its encryption salt into it.

`up` first runs doctor's checks of the hypervisors (LAB_DOCTOR=off: it does not), and stops before anything is made.

Where something cannot be downloaded:
  LAB_PULUMI_URL      a folder with Pulumi's release archive and its checksums file, in place of the release page
  PULUMI_ARCHIVE      the archive as a file here; its checksums file next to it, or LAB_PULUMI_SHA256
  LAB_PULUMI_SHA256   the archive's SHA-256, in place of the checksums file
  PIP_INDEX_URL, or PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER       Python packages from elsewhere
  LAB_PYTHON          the Python (3.11 or newer) to make .venv with
Tests:
  LAB_E2E_STACK       run e2e with this stack on this machine's own libvirt and the internet
  LAB_TESTNET         the closed test network's script (docs/test-network.md; none: do without)"""


class _VerbParser(argparse.ArgumentParser):
    """The parser of one verb."""

    passes_words_on = False
    """Whether all words are another program's, and become `words`, unless the first is -h."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.passes_words_on:
            return super().parse_known_args(args, namespace)
        if args[:1] == ["-h"]:
            self.print_help()
            self.exit()
        options = namespace or argparse.Namespace()
        options.words = list(args)
        return options, []


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options stack, yes, verb and those of the verb: `words`, in order, where they are another program's. Of `pulumi` also
    named_stack: the stack that was said, or empty.

    Ends the process with the usage and status 2 for a wrong command line, and with status 0 for -h. Raises LabError.
    """
    options = parser().parse_args(arguments)
    if options.verb == "pulumi":
        options.named_stack = options.stack or ""
    options.stack = options.stack or "dev"
    if not _STACK.fullmatch(options.stack):
        raise LabError(f"'{options.stack}' is no name of a stack")
    return options


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    root_parser = argparse.ArgumentParser(
        prog="./lab",
        usage=_USAGE,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root_parser.add_argument("-s", dest="stack", metavar="STACK", help="the stack, of the file Pulumi.STACK.yaml (dev)")
    root_parser.add_argument("-y", dest="yes", action="store_true", help="what asks before it acts does not")
    root_parser.add_argument("--version", action=ShowVersion, help="the version, and the commit of a checkout")
    verbs = root_parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, title="verbs", prog="./lab [-s STACK]", parser_class=_VerbParser
    )

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    def pass_words_on(name: str, words: str, text: str, more: str) -> None:
        description = f"{text[0].upper()}{text[1:]}. {more}"
        verbs.add_parser(name, usage=f"./lab [-s STACK] {name} {words}", help=text, description=description).passes_words_on = True

    for name, text in (
        ("up", "bring the stack up, or up to date with its file"),
        ("preview", "show what `up` would change; needs no libvirt"),
        ("destroy", "delete all of the stack, and name what is left"),
        ("refresh", "compare the state with what is really there"),
    ):
        pass_words_on(name, "[PULUMI ARGUMENTS]", text, f"Arguments are those of `pulumi {name}`: ./lab {name} --help.")
    rotate = add("rotate", "new certificates, tokens or a login key, while the nodes run; an `up` with that in it")
    rotate.add_argument("what", choices=ROTATIONS, help=", ".join(ROTATIONS))
    status = add("status", "nodes, networks, pods on them and the proof of a stack")
    status.add_argument("--json", action="store_true", help="as JSON")
    doctor = add("doctor", "what stands in the way of a stack on this machine; status 1 if there is an error")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument("--offline", action="store_true", help="do not query the download sites")
    attach = add("attach", "the annotation by which a pod gets what is booked for it in podNetworks.NETWORK.addresses")
    attach.add_argument("names", nargs="+", metavar="NAME", help="names of the book; several are of one pod, on several networks")
    attach.add_argument(
        "--network",
        dest="networks",
        action="append",
        default=[],
        metavar="NETWORK",
        help="this network alone, net1 first where it is said several times; by default all on which a NAME is booked",
    )
    fetch = add("fetch", "everything that the stack downloads, into a directory")
    fetch.add_argument("directory", nargs="?", metavar="DIRECTORY", help="by default artifacts.directory of the stack file")
    _image(add("image", "make the prepared image of the stack's nodes, which `up` does as well when it makes machines"))
    backup = add("backup", "the cluster's data, its token and the stack's settings as one encrypted file")
    backup.add_argument("file", nargs="?", metavar="FILE", help="file or directory; by default STACK-DATE.k3s-backup here")
    restore = add("restore", "a backup's data in place of the cluster's; brings machines up first that are not there")
    restore.add_argument("file", metavar="FILE", help="what ./lab backup has written")
    restore.add_argument("--other-cluster", action="store_true", help="also of another stack, or in place of another cluster")
    restore.add_argument("--passphrase-file", metavar="FILE", help="the passphrase of the time of the backup, if it is another now")
    restore.add_argument("--settings", action="store_true", help="print the stack's settings of that time, and do nothing else")
    pass_words_on("ssh", "NODE [COMMAND...]", "a shell on a node, or one command there", "NODE is its name, domain or address.")
    pass_words_on("kubectl", "ARGUMENTS", "kubectl with the cluster's kubeconfig", "Its own help: ./lab kubectl --help.")
    for name, text, force in (
        (
            "drain",
            "take the pods off a node and let no others onto it, within timeouts.drain",
            "delete pods that nothing makes again, and count the node as drained when the limit is reached",
        ),
        ("uncordon", "let pods onto a node again, and bring back those of the stack's own that are missing", ""),
        (
            "reboot",
            "drain a node, restart it from within, check it as `up` does, let pods onto it again",
            "restart it although pods have not ended when the limit is reached",
        ),
    ):
        maintained = add(name, text)
        maintained.add_argument("node", metavar="NODE", help="its name, domain or address")
        if force:
            maintained.add_argument("--force", action="store_true", help=force)
    logs = add("logs", "the console log and the journal of a node")
    logs.add_argument("node", metavar="NODE")
    logs.add_argument("-n", "--lines", type=int, default=60, help="of each (60)")
    logs.add_argument("--console", action="store_true", help="the console log only: needs no answer from the node")
    logs.add_argument("--journal", action="store_true", help=f"the journal only: units {', '.join(JOURNAL_UNITS)}")
    diagram = add("diagram", "the stack's networks as SVG")
    diagram.add_argument("file", nargs="?", default="-", metavar="FILE", help="where it is written; by default to stdout")
    diagram.add_argument("--example", action="store_true", help="the picture of README.md, from the documented values")
    pulumi_options = "The stack is an option of that command: ./lab pulumi stack export -s dev. Its own help: ./lab pulumi --help."
    pass_words_on("pulumi", "ARGUMENTS", "any other pulumi command, on the same state", pulumi_options)
    test = add("test", "run the tests; what this machine cannot run is SKIPPED and says why")
    tiers = f"{', '.join(TIERS)} (all of these unless said), {', '.join(LONG_TIERS)}"
    test.add_argument("tiers", nargs="*", type=_tier, metavar="TIER", help=tiers)
    return root_parser


def _image(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="the images on the stack's hypervisors, and how many disks are over each")
    what.add_argument("--remove", action="store_true", help="delete the images that no disk is over")
    what.add_argument("--export", metavar="FILE", help="the stack's image as one file, with its checksum, to be an image.source")


def _tier(name: str) -> str:
    if name not in (*TIERS, *LONG_TIERS):
        raise argparse.ArgumentTypeError(f"no tier {name}; there are: {' '.join((*TIERS, *LONG_TIERS))}")
    return name

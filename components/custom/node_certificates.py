"""K3s's certificates on a node as a resource: it stores when the first of them ends, and has K3s make new ones in time.

They are valid for a year, and K3s renews at a restart what ends soon: within 90 days in releases before May 2025, within 120 since
(k3s-io/k3s 0b48e363b). A node that is not restarted for so long would lose them. A dynamic provider, because diff() sees what was
read by the last run, in a preview as well. Module path and class name are in every state file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components.custom import node_script
from components.custom.node_script import NodeScriptError, NodeUnreachableError
from components.custom.provider import PlainProvider, Props, differs, properties
from components.custom.reporting import PlainError, remark, say
from components.node.ssh_client import Login

WINDOW = timedelta(days=120)
SCRIPT = "k3s-certificates.sh"
_CONNECTION = ("host", "user", "port", "private_key", "host_key")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class RenewalError(PlainError):
    """K3s has not made new certificates; the text names the node, the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class NodeCertificatesArgs:
    """Inputs of `NodeCertificates`."""

    node: Input[str]
    """The node's name."""
    role: Input[str]
    """server or agent."""
    machine: Input[str]
    """`OverlayDisk.serial` of its disk. Another disk has other certificates."""
    host: Input[str]
    """Its address."""
    user: Input[str]
    """Who logs in, and may use sudo."""
    port: Input[int]
    """Of its SSH server."""
    private_key: Input[str]
    """Of the user, in OpenSSH's form."""
    host_key: Input[str]
    """The node's public key; no other is trusted."""
    limit: Input[int]
    """Seconds for the node's installation, and again from a restart of K3s until it works."""
    rotate: Input[bool] | None = None
    """Whether this run makes new certificates, whatever is left of them."""


def now() -> datetime:
    """This machine's time."""
    return datetime.now(UTC)


def window(ends: datetime, begins: datetime) -> timedelta:
    """How long before the end a certificate is renewed. One of a shorter life (CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS) would
    otherwise be renewed by each run."""
    return min(WINDOW, (ends - begins) / 3)


def days_left(state: Props, at: datetime) -> int | None:
    """Days until the first of the certificates ends, where that is due for renewal; None where it is not, or not known."""
    if not state.get("ends") or not state.get("begins"):
        return None
    ends, begins = moment(state["ends"]), moment(state["begins"])
    return (ends - at).days if ends - at <= window(ends, begins) else None


def moment(text: str) -> datetime:
    """The time of 2027-11-26T10:00:00Z."""
    return datetime.fromisoformat(text)


def parse(report: str) -> dict[str, str]:
    """What the script has printed, as outputs."""
    lines = {words[0]: words[1:] for words in map(str.split, report.splitlines()) if len(words) > 1}
    ends, begins, file = (lines.get("certificate") or ["", "", ""])[:3]
    return {"ends": ends, "begins": begins, "file": file, "authority_ends": (lines.get("authority") or [""])[0]}


class NodeCertificatesProvider(PlainProvider):
    outputs = ("ends", "begins", "file", "authority_ends", "renewed")

    def check(self, _olds: Props, news: Props) -> CheckResult:
        # Known in the preview in which the resource is created, and not in one in which it changes.
        return CheckResult(news if _olds else {**news, "renewed": ""}, [])

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """It says in words what a change of no input is: that K3s is restarted, and why."""
        if differs(_olds.get("machine"), _news.get("machine")):
            return DiffResult(changes=True, replaces=["machine"], delete_before_replace=True)
        node, left = _news.get("node"), days_left(_olds, now())
        if _news.get("rotate"):
            remark(f"{node}: K3s makes new certificates and is restarted, as it was asked for")
        elif left is not None:
            remark(
                f"{node}: K3s makes new certificates and is restarted: {_olds['file']} ends on {_olds['ends'][:10]}, "
                + (f"in {left} days" if left >= 0 else "which is over")
            )
        other = any(differs(_olds.get(name), _news.get(name)) for name in _CONNECTION)
        return DiffResult(changes=bool(_news.get("rotate")) or left is not None or other, replaces=[])

    def create(self, props: Props) -> CreateResult:
        """Raises RenewalError where K3s has none: its installation has failed, and the next run begins here again."""
        inputs = _inputs(props)
        try:
            dates = _read(inputs)
        except NodeScriptError as error:
            raise RenewalError(
                f"K3s on {inputs['node']} has no certificates: {error}. The error of its installation is next to this one, or in "
                f"./lab logs {inputs['node']}; then run `up` again"
            ) from None
        return CreateResult(f"{inputs['node']}/{inputs['machine']}", {**inputs, **dates, "renewed": ""})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs, rotate, at = _inputs(_news), bool(_news.get("rotate")), now()
        if not rotate and days_left(_olds, at) is None:
            return UpdateResult({**inputs, **_stored(_olds)})
        environment = {"RENEW": "now" if rotate else "due", "UNTIL": _until(_olds, at)}
        try:
            dates = parse(_run(inputs, environment))
        except NodeScriptError as error:
            again = "./lab rotate certificates again" if rotate else "run `up` again, which continues from here"
            raise RenewalError(
                f"the certificates of K3s on {inputs['node']} were not renewed: {error}. Its K3s and journal: ./lab logs "
                f"{inputs['node']}; then {again}"
            ) from None
        return UpdateResult({**inputs, **_merged(_olds, dates)})

    def read(self, id_: str, props: Props) -> ReadResult:
        """What K3s or somebody else has renewed is seen here, and needs no restart any more."""
        inputs = _inputs(props)
        try:
            dates = _read(inputs, limit=0)
        except NodeScriptError as error:
            say(f"when the certificates of K3s on {inputs['node']} end is not known: {error}")
            dates = parse("")
        state = {**inputs, **(_merged(props, dates) if dates["ends"] else _stored(props))}
        return ReadResult(id_, state, inputs)


def _inputs(props: Props) -> Props:
    """The inputs, without the engine's own entries and the request of one run."""
    left_out = (*NodeCertificatesProvider.outputs, "rotate")
    return {name: value for name, value in props.items() if name not in left_out and not name.startswith("__")}


def _stored(state: Props) -> Props:
    return {name: state.get(name) or "" for name in NodeCertificatesProvider.outputs}


def _merged(state: Props, dates: dict[str, str]) -> Props:
    """The outputs after dates were read: `renewed` is another text whenever they are others than before."""
    other = bool(dates["ends"]) and (state.get("ends") or "") != dates["ends"]
    return {**dates, "renewed": dates["ends"] if other else state.get("renewed") or ""}


def _until(state: Props, at: datetime) -> str:
    """A certificate that ends before this is due."""
    if not state.get("ends"):
        return at.strftime(_TIME)
    return (at + window(moment(state["ends"]), moment(state["begins"]))).strftime(_TIME)


def _read(inputs: Props, *, limit: int | None = None) -> dict[str, str]:
    """The outputs that are read; empty texts where the node does not answer, which is no error of the certificates. Raises
    NodeScriptError where it answers and has none."""
    try:
        return parse(_run(inputs, {"RENEW": "", "UNTIL": ""}, limit=limit))
    except NodeUnreachableError as error:
        reason = str(error).splitlines()[-1]
        say(f"when the certificates of K3s on {inputs['node']} end is not known: {reason}. `refresh` reads it again")
        return parse("")


def _run(inputs: Props, environment: dict[str, str], *, limit: int | None = None) -> str:
    """limit: seconds to wait for certificates, and for the node's installation to end."""
    service = int(inputs["limit"])
    wait = 2 * service if limit is None else limit
    login = Login(
        host=str(inputs["host"]),
        user=str(inputs["user"]),
        port=int(inputs["port"]),
        private_key=str(inputs["private_key"]),
        host_key=str(inputs["host_key"]),
        alias=str(inputs["node"]),
    )
    variables = {**environment, "ROLE": str(inputs["role"]), "LIMIT_SECONDS": str(wait), "SERVICE_LIMIT": str(service)}
    return node_script.run(login, SCRIPT, variables, wait + service + 60)


class NodeCertificates(Resource, module="certificates", name="NodeCertificates"):
    """K3s's certificates on one node. Reads when they end, and renews them within `WINDOW` of that; the certificate authorities are
    left as they are. Deletes nothing."""

    ends: Output[str]
    """When the first of them ends, as 2027-11-26T10:00:00Z; empty where it could not be read."""
    renewed: Output[str]
    """Another text whenever they are others than at first."""

    def __init__(self, resource_name: str, args: NodeCertificatesArgs, opts: ResourceOptions | None = None) -> None:
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["private_key"]))
        super().__init__(NodeCertificatesProvider(), resource_name, properties(args, NodeCertificatesProvider.outputs), opts)

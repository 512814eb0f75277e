"""k3s-restore.sh, k3s-rejoin.sh and k3s_restored.py."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.node.scripts import k3s_restored, k3s_token

from .fake_node import CONF_DIR, SCRIPTS, TOKEN, Node, stripped

pytestmark = pytest.mark.unit

DATA = "var/lib/rancher/k3s"
FORMER = "token-of-the-backup"
AGENTS = "agents-t0ken"
SNAPSHOT = bytes(range(256)) * 3000
# K3s's reset: writes down the configuration that it reads, and does what the snapshot's restoration does.
RESET = r"""#!/bin/bash
echo "$*" >> "$STUB/reset.log"
cat "$ROOT"/etc/rancher/k3s/config.yaml.d/*.yaml > "$STUB/read.yaml"
ls "$ROOT/var/lib/rancher/k3s/server" > "$STUB/server.then"
path=$(tr ' ' '\n' <<< "$*" | sed -n 's/^--cluster-reset-restore-path=//p')
cp "$path" "$STUB/restored"
[[ ! -e $STUB/fails ]] || { echo 'level=fatal msg="bootstrap data already found and encrypted with different token"'; exit 1; }
server=$ROOT/var/lib/rancher/k3s/server
mv "$server/db/etcd" "$server/db/etcd-old-2"; mkdir -p "$server/db/etcd/member" "$server/tls"
echo restored > "$server/db/etcd/member/x"
echo 'level=error msg="Shutdown request received: Managed etcd cluster membership has been reset, restart without --cluster-reset"'
exit 1
"""
# k3s_token.py has tests of its own: what it is given is written down. All else is the real Python's.
PYTHON = """#!/bin/bash
if [[ $2 == *"giving the cluster the new token"* ]]; then cat > "$STUB/wanted.json"; cp "$FORMER" "$STUB/former.yaml"; exit; fi
exec %s "$@"
"""
SYSTEMCTL = r"""#!/bin/bash
echo "$*" >> "$STUB/systemctl.log"
case $1 in
  show) echo active ;;
  start) ls "$ROOT"/etc/rancher/k3s/config.yaml.d >> "$STUB/started.with" 2> /dev/null; echo -- >> "$STUB/started.with" ;;
esac
"""
# With what the kubelet does once it has joined.
AGENT_SYSTEMCTL = SYSTEMCTL + 'if [[ $1 == start ]]; then echo x > "$ROOT/var/lib/rancher/k3s/agent/kubelet.kubeconfig"; fi\n'
# The API: lists are files; whatever is written to it is written down, with what comes by stdin.
CURL = r"""#!/bin/bash
url= method=GET
for word; do
  [[ $last != --url ]] || url=$word
  [[ $last != --request ]] || method=$word
  [[ $last != --config ]] || cat >> "$STUB/curl.stdin"
  last=$word
done
echo "$method ${url#https://*:*/}" >> "$STUB/curl.log"
echo "$*" >> "$STUB/curl.arguments"
case $method-$url in
  *readyz | *healthz) echo -n ok ;;
  GET-*/nodes) cat "$STUB/nodes.json"; echo; echo -n 200 ;;
  GET-*/secrets) cat "$STUB/secrets.json"; echo; echo -n 200 ;;
  GET-*/pods\?*) cat "$STUB/pods.json"; echo; echo -n 200 ;;
  DELETE-*) echo '{}'; echo -n 200 ;;
esac
"""


def named(*names: str, **annotations: str) -> dict[str, Any]:
    metadata = [{"name": name, "namespace": "default", "annotations": annotations} for name in names]
    return {"items": [{"metadata": entry} for entry in metadata]}


@pytest.fixture
def server(node: Node) -> Node:
    node.file("usr/local/bin/k3s", RESET, 0o755)
    node.command("systemctl", SYSTEMCTL)
    node.command("curl", CURL)
    node.command("python3", PYTHON % Path(sys.executable).resolve())
    node.file("etc/rancher/k3s/config.yaml", f"agent-token: {AGENTS}\ncluster-init: true\ntoken: '{TOKEN}'\n", 0o600)
    node.file("etc/rancher/k3s/k3s.yaml", "    server: https://127.0.0.1:6443\n")
    for path in (
        "server/tls/server-ca.crt", "server/tls-1764000000/server-ca.crt", "server/cred/passwd", "server/token",
        "server/db/reset-flag",
        "server/db/etcd/member/x", "server/db/etcd-old-1/x", "server/db/snapshots/etcd-snapshot-1", "agent/client-kubelet.crt",
        "agent/client-kubelet.key", "agent/kubelet.kubeconfig", "agent/etc/k3s-agent-load-balancer.json", "agent/images/a.tar",
        "storage/pvc/data",
    ):  # fmt: skip
        node.file(f"{DATA}/{path}", "former")
    node.file(f"{CONF_DIR}/multus.d/multus.kubeconfig", "former")
    node.file(f"{CONF_DIR}/00-multus.conf", "stays")
    (node.stub / "nodes.json").write_text(json.dumps(named("server-1", "agent-1", "agent-9")))
    (node.stub / "secrets.json").write_text(json.dumps(named("server-1.node-password.k3s", "mine", "agent-9.node-password.k3s")))
    (node.stub / "pods.json").write_text(json.dumps(named("nginx-macvlan", **{k3s_restored.REVISION: "0"})))
    return node


@pytest.fixture
def api() -> Iterator[None]:
    """Something at the port of the API, which the script finds open before it queries."""
    import socket  # noqa: PLC0415

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", 6443))
        except OSError:
            pytest.skip("the port 6443 is in use on this machine")
        listening.listen()
        yield


def restore(
    node: Node, token: str = TOKEN, snapshot: bytes = SNAPSHOT, *, agents: str = AGENTS, sent: bytes | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    given = {
        "SIZE": str(len(snapshot)),
        "SHA256": hashlib.sha256(snapshot).hexdigest(),
        "ENCRYPTED": "false",
        "NODES": "server-1 agent-1",
        "CONF_DIR": CONF_DIR,
        "LIMIT_SECONDS": "20",
        "SERVICE_LIMIT": "20",
        "POD_SECONDS": "2",
    }
    done = subprocess.run(
        ["bash", "-c", stripped(SCRIPTS / "k3s-restore.sh")],
        env=node.environment(given | env),
        input=f"{token}\n{agents}\n".encode() + (snapshot if sent is None else sent),
        capture_output=True,
        timeout=90,
        check=False,
    )
    return subprocess.CompletedProcess([], done.returncode, done.stdout.decode(), done.stderr.decode())


def rejoin(
    node: Node, step: str, role: str, encrypted: str = "false", tokens: tuple[str, ...] = (TOKEN, AGENTS)
) -> subprocess.CompletedProcess[str]:
    given = {"STEP": step, "ROLE": role, "ENCRYPTED": encrypted, "CONF_DIR": CONF_DIR}
    return node.run("k3s-rejoin", stdin="".join(f"{token}\n" for token in tokens), **given, SERVICE_LIMIT="20", POD_SECONDS="2")


def files(node: Node) -> set[str]:
    root = node.root / DATA
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def log(node: Node, name: str) -> list[str]:
    path = node.stub / name
    return path.read_text().splitlines() if path.exists() else []


def test_the_data_are_exchanged_with_the_same_token(server: Node, api: None) -> None:
    done = restore(server)
    assert done.returncode == 0, done.stderr
    assert (server.stub / "restored").read_bytes() == SNAPSHOT
    assert log(server, "reset.log")[0].startswith("server --cluster-reset --cluster-reset-restore-path=")
    assert (server.stub / "read.yaml").read_text() == f'token: "{TOKEN}"\nagent-token: "{AGENTS}"\nserver: ""\netcd-s3: false\n'
    # K3s begins without certificates, as on a new machine, and the drop-in is removed before it serves.
    assert not {"tls", "cred", "tls-1764000000"} & set(log(server, "server.then"))
    assert log(server, "started.with") == ["--"]
    assert not list((server.root / "etc/rancher/k3s/config.yaml.d").iterdir())
    there = files(server)
    assert {"server/db/snapshots/etcd-snapshot-1", "agent/images/a.tar", "storage/pvc/data"} <= there
    assert not [path for path in there if "restore" in path or path.startswith(("agent/client", "agent/kubelet", "agent/etc/k3s"))]
    assert "server/db/etcd-old-2/member/x" in there and "server/db/etcd-old-1/x" not in there
    assert not (server.root / f"{CONF_DIR[1:]}/multus.d/multus.kubeconfig").exists()
    assert (server.root / f"{CONF_DIR[1:]}/00-multus.conf").exists()
    assert not (server.stub / "wanted.json").exists(), "the token is not changed"


ON = "secrets-encryption: true\n"


@pytest.mark.parametrize(
    ("was", "encrypted", "becomes"),
    [(ON, "false", ""), ("", "true", ON), (ON, "true", ON), ("", "false", ""), ("secrets-encryption: 'yes'\n", "false", "")],
    ids=["switched on since", "switched off since", "on", "off", "switched on since in other words"],
)
@pytest.mark.parametrize("by", ["restore", "rejoin"])
def test_secrets_are_encrypted_as_in_the_snapshot(server: Node, api: None, by: str, was: str, encrypted: str, becomes: str) -> None:
    """The settings may have changed since this node's file was written."""
    name, rest = "etc/rancher/k3s/config.yaml", f"agent-token: {AGENTS}\ntoken: '{TOKEN}'\n"
    server.file(name, f"{was}{rest}", 0o600)
    done = restore(server, ENCRYPTED=encrypted) if by == "restore" else rejoin(server, "join", "server", encrypted)
    assert done.returncode == 0, done.stderr
    file = server.root / name
    assert sorted(file.read_text().splitlines()) == sorted(f"{becomes}{rest}".splitlines())
    assert file.stat().st_mode & 0o777 == 0o600
    assert not file.with_name("config.yaml.new").exists()


def test_what_is_not_there_any_more_is_removed(server: Node, api: None) -> None:
    assert restore(server).returncode == 0
    assert [line for line in log(server, "curl.log") if line.startswith("DELETE")] == [
        "DELETE api/v1/namespaces/kube-system/secrets/server-1.node-password.k3s",
        "DELETE api/v1/namespaces/kube-system/secrets/agent-9.node-password.k3s",
        "DELETE api/v1/nodes/agent-9",
        "DELETE api/v1/namespaces/default/pods/nginx-macvlan?gracePeriodSeconds=0",
    ]


@pytest.mark.parametrize(("token", "agents"), [(FORMER, "former-agents"), (FORMER, ""), (TOKEN, "former-agents"), (TOKEN, "")])
def test_other_tokens_are_changed_to_the_stack_s(server: Node, api: None, token: str, agents: str) -> None:
    """K3s shares its list of passwords, of which the agents' token is one, and does not start where its own is newer."""
    done = restore(server, token, agents=agents)
    assert done.returncode == 0, done.stderr
    former = f'token: "{token}"\nagent-token: "{agents}"\nserver: ""\netcd-s3: false\n'
    assert (server.stub / "read.yaml").read_text() == former == (server.stub / "former.yaml").read_text()
    wanted = json.loads((server.stub / "wanted.json").read_text())["/etc/rancher/k3s/config.yaml"]["content"]
    assert (k3s_token.value(wanted, "token"), k3s_token.value(wanted, "agent-token")) == (TOKEN, AGENTS)
    # Once with the former tokens, then with config.yaml alone.
    assert log(server, "started.with") == ["zz-k3s-macvlan-restore.yaml", "--", "--"]
    for name in ("curl.arguments", "reset.log", "systemctl.log"):
        assert not [line for line in log(server, name) if FORMER in line or TOKEN in line], name
    assert not [word for word in (FORMER, TOKEN, AGENTS, "former-agents") if word in done.stdout + done.stderr]


def test_an_agents_token_that_the_stack_has_no_more_is_taken_away(server: Node, api: None) -> None:
    server.file("etc/rancher/k3s/config.yaml", f"token: {TOKEN}\n", 0o600)
    assert restore(server, FORMER).returncode == 0
    wanted = json.loads((server.stub / "wanted.json").read_text())["/etc/rancher/k3s/config.yaml"]["content"]
    assert (k3s_token.value(wanted, "token"), k3s_token.value(wanted, "agent-token")) == (TOKEN, "")
    (server.stub / "started.with").unlink()
    assert restore(server, agents="").returncode == 0
    assert log(server, "started.with") == ["--"], "none of both is another"


@pytest.mark.parametrize("sent", [SNAPSHOT[:-1], SNAPSHOT[:-1] + b"x", b""], ids=["short", "altered", "none"])
def test_a_damaged_snapshot_changes_nothing(server: Node, sent: bytes) -> None:
    before = files(server)
    done = restore(server, sent=sent)
    assert done.returncode == 1 and "arrived damaged or not whole" in done.stderr
    assert files(server) == before
    assert not log(server, "systemctl.log")


def test_a_restoration_that_fails_shows_why_and_can_be_repeated(server: Node, api: None) -> None:
    (server.stub / "fails").touch()
    done = restore(server)
    assert done.returncode == 1
    assert "K3s did not restore the snapshot within 20 s" in done.stderr and "encrypted with different token" in done.stderr
    assert not list((server.root / "etc/rancher/k3s/config.yaml.d").iterdir())
    (server.stub / "fails").unlink()
    assert restore(server).returncode == 0


def test_a_token_that_cannot_be_quoted_is_refused(server: Node) -> None:
    done = restore(server, "a'b")
    assert done.returncode == 1 and "a token is empty, or has quotes" in done.stderr
    assert not log(server, "systemctl.log")


def test_a_machine_without_k3s_is_not_restored(server: Node) -> None:
    (server.root / "usr/local/bin/k3s").unlink()
    assert "K3s is not installed on this server" in restore(server).stderr
    assert "K3s is not installed on this node" in rejoin(server, "stop", "agent").stderr


# --- pods


@contextlib.contextmanager
def pod(node: Node, *, stubborn: bool = False, group: str = "kubepods.slice/kubepods-besteffort.slice/a") -> Iterator[Path]:
    """A process in a pod's cgroup; stubborn: it does not end by itself."""
    program = "trap '' TERM; while :; do sleep 0.1; done" if stubborn else "exec sleep 60"
    # Not this test's child: as one, it would stay as a zombie.
    started = subprocess.run(
        ["bash", "-c", f"setsid bash -c {json.dumps(program)} > /dev/null 2>&1 & echo $!"],
        capture_output=True,
        text=True,
        check=True,
    )
    number = started.stdout.strip()
    node.file(f"sys/fs/cgroup/{group}/cgroup.procs", f"{number}\n")
    try:
        yield Path("/proc", number)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), 9)


@pytest.mark.parametrize("stubborn", [False, True], ids=["ends", "is killed"])
@pytest.mark.parametrize("group", ["kubepods.slice/kubepods-pod1.slice/a", "memory/kubepods/besteffort/pod1/a"])
def test_pods_end_with_k3s(server: Node, group: str, stubborn: bool) -> None:
    with pod(server, stubborn=stubborn, group=group) as process:
        done = rejoin(server, "stop", "server")
        assert done.returncode == 0 and done.stdout == "stopped=k3s\n", done.stderr
        assert "ending 1 processes of pods" in done.stderr
        assert not process.exists() or "State:\tZ" in (process / "status").read_text()
    assert log(server, "systemctl.log") == ["stop k3s"]


def test_what_is_in_no_pod_keeps_running(server: Node) -> None:
    with pod(server, group="system.slice/sshd.service") as process:
        assert rejoin(server, "stop", "server").returncode == 0
        assert process.exists()


# --- the other nodes


def test_a_server_gives_up_its_data_and_keeps_its_snapshots(server: Node, api: None) -> None:
    done = rejoin(server, "join", "server")
    assert done.returncode == 0 and done.stdout == "joined=k3s\n", done.stderr
    there = files(server)
    assert not [path for path in there if path.startswith(("server/tls/", "server/cred/", "server/db/etcd/", "server/token"))]
    assert {"server/db/snapshots/etcd-snapshot-1", "agent/images/a.tar", "storage/pvc/data"} <= there
    assert "start --no-block k3s" in log(server, "systemctl.log")


def test_an_agent_gives_up_its_certificates_alone(server: Node) -> None:
    server.command("systemctl", AGENT_SYSTEMCTL)
    done = rejoin(server, "join", "agent")
    assert done.returncode == 0 and done.stdout == "joined=k3s-agent\n", done.stderr
    there = files(server)
    assert "server/db/etcd/member/x" in there and "agent/client-kubelet.crt" not in there
    assert "start --no-block k3s-agent" in log(server, "systemctl.log")


@pytest.mark.parametrize(
    ("role", "was", "becomes"),
    [
        ("server", f"token: {FORMER}\nagent-token: of-before\n", {"token": TOKEN, "agent-token": AGENTS}),
        ("server", f"token: {FORMER}\n", {"token": TOKEN, "agent-token": AGENTS}),
        ("agent", f"token: '{FORMER}'\n", {"token": AGENTS}),
    ],
    ids=["server", "server without an agents' token", "agent"],
)
def test_a_node_that_a_rotation_has_not_reached_joins_with_the_restored_tokens(
    server: Node, api: None, role: str, was: str, becomes: dict[str, str]
) -> None:
    name, rest = "etc/rancher/k3s/config.yaml", "server: https://192.168.122.10:6443\nnode-label:\n- token=x\n"
    server.file(name, was + rest, 0o600)
    joining(server, role)
    file = server.root / name
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(rest) | becomes
    assert file.stat().st_mode & 0o777 == 0o600 and not file.with_name("config.yaml.new").exists()


@pytest.mark.parametrize(("role", "agents"), [("server", AGENTS), ("agent", AGENTS), ("server", ""), ("agent", "")])
def test_a_file_with_the_restored_tokens_stays_as_it_is(server: Node, api: None, role: str, agents: str) -> None:
    """`up` would write its own words again, and restart K3s for it."""
    text = f"# mine\ntoken: '{(agents or TOKEN) if role == 'agent' else TOKEN}'\n"
    if role == "server" and agents:
        text = f"agent-token: {agents}\n{text}"
    file = server.file("etc/rancher/k3s/config.yaml", text, 0o600)
    joining(server, role, agents)
    assert file.read_text() == text


def test_agents_without_a_token_of_their_own_have_the_servers(server: Node, api: None) -> None:
    file = server.file("etc/rancher/k3s/config.yaml", f"agent-token: {AGENTS}\ntoken: {FORMER}\n", 0o600)
    joining(server, "server", "")
    assert yaml.safe_load(file.read_text()) == {"token": TOKEN}


def joining(node: Node, role: str, agents: str = AGENTS) -> None:
    if role == "agent":
        node.command("systemctl", AGENT_SYSTEMCTL)
    done = rejoin(node, "join", role, tokens=(TOKEN, agents))
    assert done.returncode == 0, done.stderr
    assert not [word for word in (TOKEN, AGENTS, FORMER) if word in done.stdout + done.stderr]


def test_a_join_without_a_token_changes_nothing(server: Node) -> None:
    before = files(server)
    for tokens, text in (
        ((), "no token arrived"),
        (("",), "no token arrived"),
        (("", ""), "a token is empty"),
        (("a'b", ""), "quotes"),
    ):
        done = rejoin(server, "join", "server", tokens=tokens)
        assert done.returncode == 1 and text in done.stderr
    assert files(server) == before and not log(server, "systemctl.log")


def test_what_was_there_before_stays_until_the_restore_is_complete(server: Node, api: None) -> None:
    """A restore that is repeated, as where a node did not join, must not delete the only copy of the former cluster."""
    kept = "server/db/etcd-old-2/member/x"
    assert restore(server).returncode == 0
    (server.root / DATA / "server/db/etcd-old-2").rename(server.root / DATA / "server/db/etcd-old-1")
    assert restore(server).returncode == 0
    assert kept.replace("old-2", "old-1") in files(server), "of the first, incomplete one"
    done = rejoin(server, "complete", "server")
    assert done.returncode == 0 and done.stdout == "complete=k3s\n", done.stderr
    assert kept in files(server)
    (server.root / DATA / "server/db/etcd-old-2").rename(server.root / DATA / "server/db/etcd-old-3")
    assert restore(server).returncode == 0
    assert {path for path in files(server) if "etcd-old" in path} == {kept}


@pytest.mark.parametrize(("step", "role"), [("go", "server"), ("stop", "master")])
def test_a_step_and_a_role_are_known_or_refused(server: Node, step: str, role: str) -> None:
    assert "must be" in rejoin(server, step, role).stderr


# --- what is deleted


def test_what_is_deleted() -> None:
    nodes, secrets = named("server-1", "gone")["items"], named("gone.node-password.k3s", "token")["items"]
    pods = [*named("mine", **{k3s_restored.REVISION: "x"})["items"], *named("another's", other="x")["items"]]
    assert k3s_restored.unwanted(nodes, secrets, pods, {"server-1", "agent-1"}) == [
        "/api/v1/namespaces/kube-system/secrets/gone.node-password.k3s",
        "/api/v1/nodes/gone",
        "/api/v1/namespaces/default/pods/mine",
    ]


def test_an_api_that_does_not_answer_is_said_within_the_limit(server: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{server.bin}:{os.environ['PATH']}")
    server.command("curl", "#!/bin/sh\necho 'curl: (7) Failed to connect' >&2; exit 7\n")
    with pytest.raises(k3s_restored.ApiError, match="Failed to connect"):
        k3s_restored.clean(str(server.root), set())
    server.command("curl", """#!/bin/sh\necho '{"message": "etcdserver: leader changed"}'; printf '\\n500'\n""")
    with pytest.raises(k3s_restored.ApiError, match="500 etcdserver: leader changed"):
        k3s_restored.clean(str(server.root), set())

"""k3s_token.py: what a server's cluster is requested to do before config.yaml has another token; its supervisor is a stand-in."""

import base64
import csv
import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.node.scripts import k3s_token

from .fake_node import K3s

pytestmark = pytest.mark.unit

CONFIG = "/etc/rancher/k3s/config.yaml"
SERVER = "var/lib/rancher/k3s/server"
OLD, NEW = "0" * 64, "1" * 64
REQUESTS = [f"GET {k3s_token.STATUS}", "PUT /v1-k3s/token"]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A CA that serves 127.0.0.1 itself, and its key with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "k3s-server-ca@1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.crt", folder / "ca.pem"
    public.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(public.read_bytes() + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return public, private


class Supervisor(ThreadingHTTPServer):
    """K3s's own answers (pkg/server/handlers/token.go, pkg/server/auth): it takes the token that it was started with, and writes
    the new one into its list."""

    def __init__(self, passwd: Path, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.passwd, self.token, self.broken = passwd, token, ""
        self.bootstrap, self.ends_early = token, False
        """The token of what servers share; whether a request ends before that is migrated, with the list written."""
        self.requests: list[str] = []
        self.listed: list[str] = []
        """Addresses of the cluster's servers, for the administrator's certificate."""
        self.shared: list[str] = []
        """The list at each rotation, as other servers get it."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Supervisor

    def do_GET(self) -> None:
        if self.path == k3s_token.SERVERS:
            self.list_servers()
        else:
            self.answer()

    def list_servers(self) -> None:
        endpoints = [{"addresses": [address]} for address in self.server.listed]
        text = json.dumps({"ports": [{"port": 6443}], "endpoints": endpoints or None}).encode()
        self.send_response(200 if self.connection.getpeercert() else 401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PUT(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(document)

    def answer(self, document: dict[str, str] | None = None) -> None:
        given = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        self.server.requests.append(f"{self.command} {self.path}")
        status = 200 if given == f"server:{self.server.token}" else 403
        if status == 200 and document is not None:
            status = 500 if self.server.broken else 200
            if status == 200:
                with self.server.passwd.open() as file:
                    rows = {row[1]: row for row in csv.reader(file)}
                former = rows["server"][0]
                rows["server"][0] = document["newToken"]
                if rows["node"][0] == former:
                    rows["node"][0] = document["newToken"]
                self.server.passwd.write_text("".join(",".join(row) + "\n" for row in rows.values()))
                if self.server.ends_early or self.server.bootstrap not in (former, document["newToken"]):
                    status, self.server.ends_early = 500, False
                else:
                    self.server.bootstrap = document["newToken"]
                    self.server.shared.append(self.server.passwd.read_text())
        text = (self.server.broken or "encrypted with different token").encode() if status == 500 else b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


class Cluster:
    """A server with a cluster whose token is OLD."""

    def __init__(self, k3s: K3s, tmp_path: Path) -> None:
        self.k3s, self.node = k3s, k3s.node
        public, private = certificate(tmp_path)
        self.passwd = self.node.file(f"{SERVER}/cred/passwd", f"{OLD},node,node,k3s:agent\n{OLD},server,server,k3s:server\n")
        self.node.file(f"{SERVER}/tls/server-ca.crt", public.read_text())
        for suffix in ("crt", "key"):
            self.node.file(f"{SERVER}/tls/client-admin.{suffix}", private.read_text())
        (self.node.root / SERVER / "db/etcd").mkdir(parents=True)
        self.supervisor = Supervisor(self.passwd, OLD)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(private)
        context.load_verify_locations(public)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.supervisor.socket = context.wrap_socket(self.supervisor.socket, server_side=True)
        threading.Thread(target=self.supervisor.serve_forever, daemon=True).start()
        self.node.file("etc/rancher/k3s/k3s.yaml", f"    server: {self.supervisor.url}\n")
        self.set(OLD)
        self.node.file(CONFIG, self.config)

    @property
    def config(self) -> str:
        return self.k3s.files[CONFIG]["content"]

    def set(self, token: str, *more: str) -> None:
        """What the next installation has in config.yaml."""
        lines = ("cluster-init: true", *more, f"token: '{token}'")
        self.k3s.files[CONFIG]["content"] = "".join(f"{line}\n" for line in sorted(lines))

    def users(self) -> dict[str, str]:
        return {user: row[0] for user, row in k3s_token.passwords(self.passwd.read_text()).items()}

    def written(self) -> str:
        return (self.node.root / CONFIG.lstrip("/")).read_text()


@pytest.fixture
def cluster(k3s: K3s, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(k3s, tmp_path)
    yield made
    made.supervisor.shutdown()
    made.supervisor.server_close()


def test_the_cluster_has_the_token_before_the_file_has(cluster: Cluster) -> None:
    cluster.set(NEW)
    done = cluster.k3s.run()
    assert done.returncode == 0, done.stderr
    assert cluster.supervisor.requests == REQUESTS
    assert cluster.users() == {"node": NEW, "server": NEW}
    assert cluster.written() == cluster.config and cluster.node.restarts() == 1
    assert NEW not in done.stdout + done.stderr and OLD not in done.stdout + done.stderr
    assert cluster.k3s.run().returncode == 0 and cluster.supervisor.requests == REQUESTS, (
        "nothing is requested where nothing changes"
    )


def test_a_cluster_that_refuses_keeps_token_and_file(cluster: Cluster) -> None:
    cluster.set(NEW)
    cluster.supervisor.broken = "etcdserver: no leader"
    done = cluster.k3s.run()
    assert done.returncode == 1
    assert "has not taken the new token, and keeps the old one: it answers 500 etcdserver: no leader" in done.stderr
    assert OLD in cluster.written() and cluster.node.restarts() == 0


def test_a_run_that_was_cut_off_before_the_file_is_repeated(cluster: Cluster) -> None:
    """K3s runs on with the former token in its memory, and has written the new one."""
    cluster.set(NEW)
    cluster.passwd.write_text(cluster.passwd.read_text().replace(OLD, NEW))
    assert cluster.k3s.run().returncode == 0
    assert cluster.users()["server"] == NEW and cluster.written() == cluster.config


@pytest.mark.parametrize("agents", [(), ("agent-token: 'of-the-agents'",)], ids=["one token", "the agents' own"])
@pytest.mark.parametrize("migrated", [False, True])
def test_a_request_that_k3s_has_done_in_half_is_completed(cluster: Cluster, migrated: bool, agents: tuple[str, ...]) -> None:
    """By its source it writes its list first. migrated: what servers share, too."""
    cluster.set(NEW, *agents)
    rows = f"{'of-the-agents' if agents else NEW},node,node,k3s:agent\n{NEW},server,server,k3s:server\n"
    cluster.passwd.write_text(rows)
    if migrated:
        cluster.supervisor.bootstrap = NEW
    done = cluster.k3s.run()
    assert done.returncode == 0, done.stderr
    assert cluster.supervisor.bootstrap == NEW and cluster.written() == cluster.config
    assert cluster.users() == {"node": "of-the-agents" if agents else NEW, "server": NEW}


def test_a_request_that_k3s_does_in_half_is_made_again_at_once(cluster: Cluster) -> None:
    """As when etcd has no leader for a moment."""
    cluster.set(NEW)
    cluster.supervisor.ends_early = True
    done = cluster.k3s.run()
    assert done.returncode == 0, done.stderr
    assert cluster.supervisor.bootstrap == NEW and cluster.users() == {"node": NEW, "server": NEW}


def test_with_yet_another_token_too(cluster: Cluster) -> None:
    cluster.set("2" * 64)
    cluster.passwd.write_text(cluster.passwd.read_text().replace(OLD, NEW))
    assert cluster.k3s.run().returncode == 0
    assert cluster.users() == {"node": "2" * 64, "server": "2" * 64}


def test_after_a_power_cut_between_request_and_file_k3s_starts_with_the_new_one(cluster: Cluster) -> None:
    """It does not start with the old one, so it cannot be queried."""
    cluster.set(NEW)
    cluster.passwd.write_text(cluster.passwd.read_text().replace(OLD, NEW))
    config = k3s_token.read(str(cluster.node.root) + CONFIG)
    cluster.supervisor.shutdown()
    cluster.supervisor.server_close()
    assert k3s_token.rotate(str(cluster.node.root), cluster.config, config, 0) == "had it"


def test_k3s_that_does_not_run_keeps_its_token(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed while it waits leaves it so too: K3s does not start with a list newer than what servers share."""
    cluster.set(NEW, "agent-token: of-the-agents")
    cluster.supervisor.shutdown()
    cluster.supervisor.server_close()
    monkeypatch.delattr(k3s_token, "replace")
    with pytest.raises(SystemExit):
        k3s_token.rotate(str(cluster.node.root), cluster.config, cluster.written(), 0)
    assert "K3s on this server does not answer" in capsys.readouterr().err
    assert cluster.users() == {"node": OLD, "server": OLD}


def test_a_new_token_of_the_agents_alone_needs_k3s_to_run(cluster: Cluster) -> None:
    """The servers' token in the list is the wanted one, which is no sign of a run that was cut off."""
    cluster.supervisor.shutdown()
    cluster.supervisor.server_close()
    before = cluster.passwd.read_text()
    with pytest.raises(SystemExit):
        k3s_token.rotate(str(cluster.node.root), f"token: {OLD}\nagent-token: agents\n", f"token: {OLD}\n", 0)
    assert cluster.passwd.read_text() == before


def test_a_token_of_the_agents_is_shared_by_the_same_request(cluster: Cluster) -> None:
    old_agents, agents = "a" * 64, "b" * 64
    cluster.passwd.write_text(cluster.passwd.read_text().replace(f"{OLD},node", f"{old_agents},node"))
    cluster.set(OLD, f"agent-token: {old_agents}")
    cluster.node.file(CONFIG, cluster.config)
    cluster.set(NEW, f"agent-token: {agents}")
    assert cluster.k3s.run().returncode == 0
    assert cluster.users() == {"node": agents, "server": NEW}
    assert cluster.supervisor.shared == [cluster.passwd.read_text()], "K3s ends where its list is newer than the shared one"
    assert cluster.passwd.stat().st_mode & 0o777 == 0o600


def test_a_refusal_leaves_the_agents_token_too(cluster: Cluster) -> None:
    before = cluster.passwd.read_text()
    cluster.supervisor.broken = "no"
    cluster.set(NEW, f"agent-token: {'b' * 64}")
    assert cluster.k3s.run().returncode == 1
    assert cluster.passwd.read_text() == before


def test_a_server_after_the_first_takes_what_the_first_has(cluster: Cluster) -> None:
    """Its own K3s is not queried, and its list is K3s's to replace."""
    root, before = str(cluster.node.root), cluster.passwd.read_text()
    config = f"server: {cluster.supervisor.url}\ntoken: {NEW}\n"
    cluster.supervisor.token = NEW
    assert k3s_token.rotate(root, config, f"token: {OLD}\n", 0) == "joins"
    assert cluster.supervisor.requests == ["GET /v1-k3s/encrypt/status"] and cluster.passwd.read_text() == before
    cluster.supervisor.token = OLD
    assert k3s_token.rotate(root, config, f"token: {OLD}\n", 0) == "rotated", "the first was recreated, and joined this way"


def test_with_the_same_servers_token_a_join_proves_nothing(cluster: Cluster) -> None:
    """The agents' token alone is another: it must come into the list that servers share, or K3s refuses its next start."""
    root = str(cluster.node.root)
    config = f"token: {OLD}\nagent-token: other-agents\nserver: {cluster.supervisor.url}\n"
    assert k3s_token.rotate(root, config, f"token: {OLD}\nagent-token: agents\n", 0) == "rotated"
    assert "other-agents,node," in cluster.passwd.read_text()


def test_any_other_server_that_has_the_new_token_proves_the_join(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a virtual address may be one that has the former token still."""
    monkeypatch.setattr(k3s_token.Server, "takes", lambda server, _token: server.url == "https://192.168.122.180:6443")
    root = str(cluster.node.root)
    cluster.supervisor.listed = ["192.168.122.181", "192.168.122.180"]
    config = f"token: {NEW}\nserver: https://192.168.122.179:6443\n"
    assert k3s_token.rotate(root, config, f"token: {OLD}\n", 0) == "joins"


@pytest.mark.parametrize("form", ["- {}", "  - '{}'"])
def test_a_server_that_has_ended_meanwhile_looks_at_the_addresses_of_its_file(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """It does not start with the former token, and has no list; a virtual address may be on a server that has that token still."""
    monkeypatch.setattr(k3s_token.Server, "takes", lambda server, _token: server.url == "https://192.168.122.180:6443")
    cluster.supervisor.shutdown()
    cluster.supervisor.server_close()
    cluster.node.file("etc/rancher/k3s/k3s.yaml", "    server: https://127.0.0.1:6443\n")
    before = cluster.passwd.read_text()
    names = "".join(f"{form.format(name)}\n" for name in ("192.168.122.180", "192.168.122.181", "192.168.122.179", "k3s.example"))
    config = f"server: https://192.168.122.179:6443\ntls-san:\n{names}token: {NEW}\n"
    assert k3s_token.named(config, "6443")[-1] == "https://192.168.122.179:6443"
    assert k3s_token.rotate(str(cluster.node.root), config, f"token: {OLD}\n", 0) == "joins"
    assert cluster.passwd.read_text() == before


def test_without_a_list_of_servers_the_one_of_the_file_is_queried(cluster: Cluster) -> None:
    """A request of anybody else, and the API of a server that starts, get none."""
    root = str(cluster.node.root)
    cluster.supervisor.token = NEW
    config = f"token: {NEW}\nserver: {cluster.supervisor.url}\n"
    for state in ("no servers", "no certificate"):
        if state == "no certificate":
            (cluster.node.root / SERVER / "tls/client-admin.crt").unlink()
        assert k3s_token.others(root) == []
        assert k3s_token.rotate(root, config, f"token: {OLD}\n", 0) == "joins"


@pytest.mark.parametrize("missing", ["cred/passwd", "config"])
def test_a_server_without_a_cluster_is_not_queried(cluster: Cluster, missing: str) -> None:
    cluster.set(NEW)
    if missing == "config":
        (cluster.node.root / CONFIG.lstrip("/")).unlink()
    else:
        (cluster.node.root / SERVER / missing).unlink()
    assert cluster.k3s.run().returncode == 0
    assert cluster.supervisor.requests == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("token: abc", "abc"),
        ("token: '0123'", "0123"),
        ('token: "a b"', "a b"),
        ("token: it's", "it's"),
        ("agent-token: abc", ""),
        ("  token: abc", ""),
        ("token: ''", ""),
    ],
)
def test_a_value_of_config_yaml(line: str, text: str) -> None:
    assert k3s_token.value(f"cluster-init: true\n{line}\ntls-san: [a]\n", "token") == text

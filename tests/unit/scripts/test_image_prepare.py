"""image-prepare.sh, and what nodes take from the image that it leaves."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.node.scripts import image_parameters

from .fake_node import AGENT, BIN_DIR, CURL, INSTALLER, PLUGIN, SCRIPTS, VERSION, K3s, Node, archive, stripped

pytestmark = pytest.mark.unit

DIGEST = "0123456789abcdef0123"
K3S_PROGRAM = r"""#!/bin/bash
echo "$*" >> "$STUB/k3s.log"
case $1 in
  --version) echo "k3s version RELEASE (0)" ;;
  ctr)
    [[ ! -e $STUB/no-programs ]] || exit 1
    programs=$ROOT/var/lib/rancher/k3s/data/current/bin
    mkdir -p "$programs" "$ROOT/var/lib/rancher/k3s/data/cni"
    cp "$STUB/containerd" "$STUB/ctr" "$programs/"
    ;;
esac
"""
CONTAINERD = r"""#!/bin/bash
echo $$ > "$STUB/pid"
umask > "$STUB/umask"
env > "$STUB/environment"
cp "$2" "$STUB/config.toml"
trap 'echo TERM >> "$STUB/containerd.log"; exit 0' TERM
[[ ! -e $STUB/containerd-fails ]] || { echo "level=fatal failed to load"; exit 1; }
touch "$STUB/socket"
while :; do sleep 0.1; done
"""
CTR = r"""#!/bin/bash
shift 4
echo "$*" >> "$STUB/ctr.log"
case "$1 $2" in
  "version ") [[ -e $STUB/socket ]] ;;
  "images list") [[ ! -e $STUB/images ]] || cat "$STUB/images" ;;
  "images import")
    if grep -q broken "$5"; then echo "ctr: unrecognized image format" >&2; exit 1; fi
    echo "docker.io/rancher/mirrored-pause:3.6" >> "$STUB/images"
    ;;
  "images pull")
    cp "$6/docker.io/hosts.toml" "$STUB/hosts.toml" 2> /dev/null
    env > "$STUB/environment-of-pull"
    [[ $7 != *busy* || -e $STUB/asked ]] || { touch "$STUB/asked"; echo "ctr: 429" >&2; exit 1; }
    [[ $7 != *absent* ]] || { echo "ctr: $7: not found" >&2; exit 1; }
    echo "$7" >> "$STUB/images"
    ;;
esac
"""
DOWNLOADS = CURL.replace(
    'file://*) cp "${url#file://}" "$output" ;;', 'file://*) cat "${url#file://}" > "${output/#-//dev/stdout}" ;;'
)
NGINX, MULTUS = "docker.io/library/nginx:1.25", "ghcr.io/k8snetworkplumbingwg/multus-cni:v4"
EXTRA = {"K3S_RESOLV_CONF": "/etc/resolv.conf", "OTHER_VALUE": "a b"}
HOSTS = {"docker.io": '[host]\n[host."https://mirror.example/v2"]\ncapabilities = ["pull", "resolve"]\n'}


def installer(version: str = VERSION) -> str:
    """As K3s's own: the program, one role's unit with its environment, and its way back."""
    program = K3S_PROGRAM.replace("RELEASE", version)
    lines = INSTALLER.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("printf"))
    lines[begin] = f"cat > \"$FAKE_ROOT/usr/local/bin/k3s\" << 'PROGRAM'\n{program}PROGRAM"
    return "\n".join([*lines, 'echo "# $name" > "$FAKE_ROOT/usr/local/bin/$name-uninstall.sh"', ""])


class Image:
    """The machine whose disk becomes the image."""

    def __init__(self, node: Node, tmp_path: Path) -> None:
        self.node, self.console = node, tmp_path / "console"
        self.console.touch()
        for program in ("cloud-init", "fstrim"):
            node.command(program, f'#!/bin/bash\necho "{program} $*" >> "$STUB/programs.log"\n')
        for name, text in (("containerd", CONTAINERD), ("ctr", CTR)):
            path = node.stub / name
            path.write_text(text)
            path.chmod(0o755)
        self.installer = tmp_path / "install.sh"
        self.installer.write_text(installer())
        self.extra = {"FAKE_ROOT": str(node.root), **EXTRA}
        (node.root / "run").mkdir()
        self.here = tmp_path / "here"
        self.here.mkdir()
        for name in ("plugins-install.sh", "artifacts.sh"):
            (self.here / name).write_text(stripped(SCRIPTS / name))
        self.plugins, self.plugins_sum = archive(tmp_path / "cni-plugins.tgz")
        self.airgap = tmp_path / "k3s-airgap-images-amd64.tar.zst"
        self.airgap.write_text("layers")
        self.sums = tmp_path / "sha256sum-amd64.txt"
        self.sums.write_text(f"{hashlib.sha256(b'layers').hexdigest()}  {self.airgap.name}\n")

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "DIGEST": DIGEST,
            "CONSOLE": str(self.console),
            "HERE": str(self.here),
            "K3S_VERSION": VERSION,
            "INSTALL_URL": f"file://{self.installer}",
            "INSTALL_SHA256": hashlib.sha256(self.installer.read_bytes()).hexdigest(),
            "INSTALL_ENV": json.dumps(self.extra),
            "ARCHIVE_URL": self.plugins,
            "ARCHIVE_SHA256": self.plugins_sum,
            "PLUGINS": "macvlan",
            "BIN_DIR": BIN_DIR,
            "K3S_IMAGES_URL": f"file://{self.airgap}",
            "K3S_IMAGES_SUMS_URL": f"file://{self.sums}",
            "IMAGES": f"{NGINX} {MULTUS}",
            "HOSTS": json.dumps(HOSTS),
            "SNAPSHOTTER": "overlayfs",
            "DATA_DISK": "false",
            "LIMIT_SECONDS": "20",
        }
        # In place of the one of the node that the image becomes, which writes to files alone.
        self.node.command("curl", DOWNLOADS)
        return self.node.run("image-prepare", **given | env)

    def said(self) -> list[str]:
        """The machine's own words on its console."""
        return [line.removeprefix("k3s-macvlan image: ") for line in self.console.read_text().splitlines()]

    def log(self, name: str) -> list[str]:
        path = self.node.stub / name
        return path.read_text().splitlines() if path.exists() else []

    def becomes_a_node(self, k3s: K3s) -> None:
        """Its disk below the one of a node, whose install script is recorded."""
        self.installer.write_text(installer() + 'echo again >> "$FAKE_ROOT/installs"\n')
        k3s.installer, k3s.extra = self.installer, self.extra


@pytest.fixture
def image(node: Node, tmp_path: Path) -> Iterator[Image]:
    yield Image(node, tmp_path)
    # A failed run leaves its containerd, which ends with the machine.
    pid = node.stub / "pid"
    if pid.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.fixture
def prepared(image: Image) -> Image:
    done = image.run()
    assert done.returncode == 0, done.stderr
    return image


# --- both roles


def test_both_roles_are_set_aside_and_neither_is_in_its_place(prepared: Image) -> None:
    root, aside = prepared.node.root, prepared.node.root / "var/lib/k3s-macvlan/prepared"
    for role, unit in (("server", "k3s"), ("agent", "k3s-agent")):
        assert (aside / f"{role}/etc/systemd/system/{unit}.service").read_text() == f"exec {role} skip_start=true\n"
        assert (aside / f"{role}/usr/local/bin/{unit}-uninstall.sh").read_text() == f"# {unit}\n"
        environment = (aside / f"{role}/etc/systemd/system/{unit}.service.env").read_text().splitlines()
        assert sorted(environment) == [f"{name}={value}" for name, value in sorted(EXTRA.items())], (
            "the install script writes every K3S_* variable into the unit's environment"
        )
    assert not list((root / "etc/systemd/system").iterdir())
    assert [path.name for path in (root / "usr/local/bin").iterdir()] == ["k3s"]
    assert not (root / "var/lib/k3s-macvlan/installed").exists()
    assert (aside / "digest").read_text() == f"{DIGEST}\n"
    assert prepared.said()[-1] == f"complete {DIGEST}"
    assert not [line for line in prepared.log("systemctl.log") if line.split()[0] in ("enable", "start", "restart")]


@pytest.mark.parametrize("role", ["server", "agent"])
@pytest.mark.parametrize("releases", ["", "http://mirror/releases"])
def test_a_node_takes_what_was_set_aside(image: Image, k3s: K3s, role: str, releases: str) -> None:
    image.installer.write_text(installer() + "# GITHUB_URL\n")
    assert image.run(RELEASES=releases).returncode == 0
    image.becomes_a_node(k3s)
    image.installer.write_text(image.installer.read_text() + "# GITHUB_URL\n")
    before = k3s.installs()
    done = k3s.run(ROLE=role, RELEASES=releases)
    assert (done.returncode, done.stdout) == (0, f"version={VERSION} restarted=true\n"), done.stderr
    assert k3s.installs() == before == 2, "the install script ran once for each role, on the machine that made the image"
    unit = "k3s" if role == "server" else "k3s-agent"
    assert (image.node.root / f"etc/systemd/system/{unit}.service").read_text() == f"exec {role} skip_start=true\n"
    assert (image.node.root / f"usr/local/bin/{unit}-uninstall.sh").exists()
    assert "K3S_RESOLV_CONF" in (image.node.root / f"etc/systemd/system/{unit}.service.env").read_text()
    other = "k3s-agent" if role == "server" else "k3s"
    assert not (image.node.root / f"etc/systemd/system/{other}.service").exists()
    again = k3s.run(ROLE=role, RELEASES=releases)
    assert again.stdout == f"version={VERSION} restarted=false\n" and k3s.installs() == before


@pytest.mark.parametrize("other", ["version", "environment", "releases", "binary", "nothing"])
def test_a_node_installs_where_the_image_has_another(prepared: Image, k3s: K3s, other: str) -> None:
    prepared.becomes_a_node(k3s)
    env: dict[str, str] = {}
    if other == "version":
        env = {"K3S_VERSION": "v1.28.15+k3s1"}
        k3s.installer.write_text(installer("v1.28.15+k3s1"))
    elif other == "environment":
        k3s.extra = {**k3s.extra, "K3S_DEBUG": "true"}
    elif other == "releases":
        env = {"RELEASES": "http://mirror/releases"}
        k3s.installer.write_text(k3s.installer.read_text() + "# GITHUB_URL\n")
    elif other == "binary":
        path = prepared.node.root / "usr/local/bin/k3s"
        path.write_text(path.read_text() + "# changed\n")
    before = k3s.installs()
    done = k3s.run(**env)
    assert done.returncode == 0, done.stderr
    assert (k3s.installs() > before) == (other != "nothing")


def test_a_binary_of_the_same_size_and_another_time_is_another(prepared: Image, k3s: K3s) -> None:
    prepared.becomes_a_node(k3s)
    os.utime(prepared.node.root / "usr/local/bin/k3s", (1, 1))
    before = k3s.installs()
    assert k3s.run().returncode == 0 and k3s.installs() > before


def test_a_node_of_an_image_that_is_upgraded_and_set_back_installs(prepared: Image, k3s: K3s) -> None:
    """The binary is another then, whatever the record says."""
    prepared.becomes_a_node(k3s)
    before = k3s.installs()
    assert k3s.run().returncode == 0 and k3s.installs() == before
    k3s.installer.write_text(installer("v1.28.15+k3s1"))
    assert k3s.run(K3S_VERSION="v1.28.15+k3s1").returncode == 0
    k3s.installer.write_text(installer())
    (k3s.node.root / "var/lib/k3s-macvlan/started").unlink()  # what ran is not set back
    done = k3s.run()
    assert done.returncode == 0 and k3s.installs() == before + 2


# --- programs, plugins, images


def test_plugins_and_images_are_there_and_containerd_is_not(prepared: Image) -> None:
    root = prepared.node.root
    assert (root / BIN_DIR.lstrip("/") / "macvlan").read_text() == PLUGIN
    assert (root / f"{AGENT}/prepared-images").read_text().splitlines() == [
        "docker.io/rancher/mirrored-pause:3.6",
        NGINX,
        MULTUS,
    ]
    commands = prepared.log("ctr.log")
    assert [command.split()[1] for command in commands if command.startswith("images")] == [
        "import",
        "list",
        "pull",
        "pull",
        "list",
    ]
    assert all("--snapshotter overlayfs" in command for command in commands if "import" in command or "pull" in command)
    assert (prepared.node.stub / "hosts.toml").read_text() == HOSTS["docker.io"]
    assert prepared.log("containerd.log") == ["TERM"], "it is ended, and waited for"
    assert not list((root / "run").iterdir()) and not (root / "var/log/k3s-macvlan-containerd.log").exists()
    config = (prepared.node.stub / "config.toml").read_text()
    assert f'root = "{root}/{AGENT}/containerd"' in config and 'disabled_plugins = ["io.containerd.grpc.v1.cri"]' in config


def test_containerd_has_the_umask_of_a_service(prepared: Image) -> None:
    """By another one, directories of images that no layer names would be closed to those who are not root."""
    assert prepared.log("umask") == ["0022"]
    assert (prepared.node.root / AGENT).stat().st_mode & 0o777 == 0o755


def test_images_are_pulled_with_the_environment_of_k3s_s_service(prepared: Image) -> None:
    """Which says what proxy there is."""
    expected = {f"{name}={value}" for name, value in EXTRA.items()}
    for log in ("environment", "environment-of-pull"):
        assert expected <= set(prepared.log(log)), log


def test_a_registry_that_is_busy_is_queried_again(image: Image) -> None:
    busy = "docker.io/library/busy:1"
    assert image.run(IMAGES=busy).returncode == 0
    assert busy in (image.node.root / f"{AGENT}/prepared-images").read_text().splitlines()
    assert not [line for line in image.said() if "left to the nodes" in line]


def test_images_of_the_artifact_disk_are_unpacked(image: Image) -> None:
    image.node.file(f"{AGENT}/images/k3s-macvlan-nginx.tar", "layers")
    image.node.file(f"{AGENT}/images/k3s-macvlan-bad.tar", "broken")
    done = image.run(K3S_IMAGES_URL="", K3S_IMAGES_SUMS_URL="", IMAGES="")
    assert done.returncode == 0, done.stderr
    imports = [command.split()[-1] for command in image.log("ctr.log") if "import" in command]
    assert [Path(path).name for path in imports] == ["k3s-macvlan-bad.tar", "k3s-macvlan-nginx.tar"]
    assert "k3s-macvlan-bad.tar is left to the nodes: ctr: unrecognized image format" in image.said()


def test_artifacts_are_copied_from_their_disk(image: Image) -> None:
    (image.here / "artifacts.sh").write_text('echo "$DIGEST $LIMIT_SECONDS" > "$STUB/artifacts"\n')
    assert image.run(ARTIFACTS="abcdef12").returncode == 0
    assert image.log("artifacts") == ["abcdef12 20"]
    assert image.said()[-1] == f"complete {DIGEST}", "the image's digest stays another than the disk's"


def test_what_cannot_be_had_is_named_and_left_to_the_nodes(image: Image) -> None:
    image.airgap.unlink()
    absent = "docker.io/library/absent:1"
    done = image.run(IMAGES=f"{absent} {NGINX}")
    assert done.returncode == 0, done.stderr
    assert any(
        line.startswith("K3s's own images are left to the nodes: k3s-airgap-images-amd64.tar.zst is not there")
        for line in image.said()
    )
    assert f"{absent} is left to the nodes: ctr: {absent}: not found" in image.said()
    assert (image.node.root / f"{AGENT}/prepared-images").read_text() == f"{NGINX}\n"


def test_an_archive_is_downloaded_by_a_way_that_a_retry_does_not_spoil(prepared: Image) -> None:
    """To stdout curl would write the beginning once more."""
    lines = [line for line in prepared.log("curl.log") if prepared.airgap.name in line]
    assert len(lines) == 1 and "--retry 4" in lines[0] and "--output -" not in lines[0]
    assert not list(prepared.node.root.rglob("*images.tar.zst"))


def test_without_a_snapshotter_no_image_is_unpacked(image: Image) -> None:
    assert image.run(SNAPSHOTTER="").returncode == 0
    assert not image.log("ctr.log") and not (image.node.root / f"{AGENT}/prepared-images").exists()


def test_nothing_is_left_where_nodes_mount_a_disk(image: Image, k3s: K3s) -> None:
    """data-disk.sh would refuse to hide it."""
    image.node.file(f"{AGENT}/images/k3s-macvlan-nginx.tar", "layers")
    assert image.run(DATA_DISK="true").returncode == 0
    assert not (image.node.root / "var/lib/rancher").exists() and not image.log("ctr.log")
    image.becomes_a_node(k3s)
    before = k3s.installs()
    assert k3s.run().returncode == 0 and k3s.installs() == before, "the binary and the unit are not on that disk"


def test_a_release_that_makes_the_directory_of_plugins_later_gets_none(image: Image) -> None:
    assert image.run(BIN_DIR="/var/lib/rancher/k3s/data/other").returncode == 0
    assert not (image.node.root / "var/lib/rancher/k3s/data/other").exists()


# --- what is this machine's own

OWN = (
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "etc/hostname",
    "etc/netplan/50-cloud-init.yaml",
    "etc/network/interfaces.d/50-cloud-init",
    "etc/systemd/network/10-cloud-init-enp1s0.network",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/NetworkManager/system-connections/cloud-init-enp1s0.nmconnection",
    "var/lib/dhcp/dhclient.enp1s0.leases",
    "var/lib/NetworkManager/internal-1-enp1s0.lease",
    "var/lib/NetworkManager/secret_key",
    "var/lib/NetworkManager/timestamps",
    f"{AGENT}/containerd/io.containerd.grpc.v1.introspection/uuid",
    "var/lib/cloud/instance/user-data.txt",
    "var/log/journal/0123/system.journal",
    "var/lib/systemd/netif/leases/2",
    "var/tmp/left",
    "root/.bash_history",
)
SYSCONFIG = ("network-scripts", "network")
EMPTIED = ("etc/machine-id", "var/log/cloud-init.log", "var/log/cloud-init-output.log", "var/log/k3s-install.log", "var/log/wtmp")
KEPT = (
    "etc/ssh/sshd_config",
    "etc/netplan/99-own.yaml",
    "etc/fstab",
    "var/lib/systemd/timers/stamp-x.timer",
    "var/log/own/app.txt",
)


def test_what_is_this_machine_s_own_is_removed_and_nothing_else(image: Image) -> None:
    for path in (*OWN, *EMPTIED, *KEPT):
        image.node.file(path, "of this machine")
    assert image.run().returncode == 0
    root = image.node.root
    assert [path for path in OWN if (root / path).exists()] == []
    assert [path for path in EMPTIED if (root / path).read_text()] == []
    assert [path for path in KEPT if (root / path).read_text() != "of this machine"] == []
    assert image.log("programs.log") == ["cloud-init clean --logs", "fstrim --all"]
    assert "stop systemd-random-seed.service" in image.log("systemctl.log"), "else it writes one for all nodes when it ends"


def test_of_sysconfig_s_files_those_of_cloud_init_are_removed(image: Image) -> None:
    made = [image.node.file(f"etc/sysconfig/{path}/ifcfg-enp1s0", "# Created by cloud-init\nHWADDR=x\n") for path in SYSCONFIG]
    own = [image.node.file(f"etc/sysconfig/{path}/ifcfg-lo", "DEVICE=lo\n") for path in SYSCONFIG]
    assert image.run().returncode == 0
    assert [path.exists() for path in (*made, *own)] == [False, False, True, True]


def test_nothing_of_the_run_is_in_its_files(image: Image) -> None:
    """Also not in a log: of the console's words nothing is on the disk."""
    done = image.run(IMAGES=NGINX, INSTALL_SHA256="", HOSTS=json.dumps({"docker.io": "[host.mirror-of-this-run]"}))
    assert done.returncode == 0
    texts = [path.read_bytes() for path in image.node.root.rglob("*") if path.is_file()]
    assert texts and not any(b"mirror-of-this-run" in text or b"k3s-macvlan image:" in text for text in texts)


# --- failures


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        ("download", "cannot download the install script from file://"),
        ("checksum", "has the SHA-256"),
        ("programs", f"K3s {VERSION} does not unpack its programs"),
        ("plugins", "the CNI plugins could not be installed"),
        ("containerd", "containerd ended: level=fatal failed to load"),
        ("silent", "containerd does not answer after 1 s"),
        ("archive", "has the SHA-256"),
        ("artifacts", "the artifacts could not be copied"),
        ("node", "this image cannot run K3s"),
        ("remedy", "cloudInit is not applied to this machine: add it to image.source"),
    ],
)
def test_a_failure_is_the_console_s_last_word(image: Image, break_it: str, words: str) -> None:
    env: dict[str, str] = {}
    if break_it == "download":
        env = {"INSTALL_URL": "file:///nowhere"}
    elif break_it == "checksum":
        env = {"INSTALL_SHA256": "0" * 64}
    elif break_it == "programs":
        (image.node.stub / "no-programs").touch()
    elif break_it == "plugins":
        env = {"ARCHIVE_SHA256": "0" * 64}
    elif break_it == "containerd":
        (image.node.stub / "containerd-fails").touch()
    elif break_it == "silent":
        (image.node.stub / "containerd").write_text(CONTAINERD.replace('touch "$STUB/socket"', ""))
        env = {"LIMIT_SECONDS": "1"}
    elif break_it == "archive":
        image.sums.write_text(f"{'0' * 64}  {image.airgap.name}\n")
    elif break_it == "artifacts":
        env = {"ARTIFACTS": "abcdef12"}
    else:
        image.node.file("sys/fs/cgroup/cgroup.controllers", "cpu\n")
    done = image.run(**env)
    assert done.returncode != 0
    assert image.said()[-1].startswith("failed: ") and words in image.said()[-1], image.said()
    assert not any(line.startswith("complete") for line in image.said())
    assert not (image.node.root / "var/lib/k3s-macvlan/prepared/digest").exists()


def test_words_of_other_programs_do_not_end_it(image: Image) -> None:
    """Where cloud-init is too old for `clean`, and where no file system is trimmed."""
    for program in ("cloud-init", "fstrim"):
        image.node.command(program, "#!/bin/sh\nexit 1\n")
    assert image.run().returncode == 0 and image.said()[-1] == f"complete {DIGEST}"


# --- image_parameters.py


def test_parameters_that_are_json(tmp_path: Path) -> None:
    assert image_parameters.environment('{"B": "2 3", "A": "1"}') == "A=1\0B=2 3\0"
    assert image_parameters.environment("") == ""
    image_parameters.write_hosts(json.dumps({"docker.io": "a", "_default": "b"}), str(tmp_path))
    assert {path.parent.name: path.read_text() for path in tmp_path.rglob("hosts.toml")} == {"docker.io": "a", "_default": "b"}
    shutil.rmtree(tmp_path / "_default")
    image_parameters.write_hosts("", str(tmp_path))
    assert not (tmp_path / "_default").exists()

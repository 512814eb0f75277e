"""k3s-certificates.sh and k3s_certificates.py."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from components.node.scripts import k3s_certificates

from .certificates import DATA, pem, place
from .fake_node import SCRIPTS, K3s, stripped

pytestmark = pytest.mark.unit

NEXT_YEAR, SPRING, LATER = "2027-11-26T10:00:00Z", "2027-03-01T00:00:00Z", "2028-11-26T10:00:00Z"
BEGINNING = "2026-01-01T00:00:00Z"
SERVER = {
    "server/tls/client-admin.crt": NEXT_YEAR,
    "server/tls/etcd/peer-server-client.crt": SPRING,
    "agent/client-kubelet.crt": LATER,
    "server/tls/server-ca.crt": "2036-11-23T10:00:00Z",
    "server/tls/etcd/peer-ca.crt": "2036-11-20T10:00:00Z",
}
REPORT = (
    f"certificate {SPRING} {BEGINNING} server/tls/etcd/peer-server-client.crt\n"
    f"authority 2036-11-20T10:00:00Z {BEGINNING} server/tls/etcd/peer-ca.crt\n"
)
# What the transient unit does, at once: its command is the last word. `k3s certificate rotate` is a stand-in too.
SYSTEMD_RUN = r"""#!/bin/bash
echo "$*" >> "$STUB/systemd-run.log"
[[ ! -e $STUB/refuses ]] || { echo "Unit already exists" >&2; exit 1; }
/bin/sh -c "${@: -1}"
"""
SYSTEMCTL = r"""case $1 in
  stop) echo inactive > "$STUB/active" ;;
  start) echo active > "$STUB/active"; date +%N > "$STUB/invocation" ;;
"""


class Renewal:
    """A node with K3s and its certificates; LATER is when the new ones end."""

    def __init__(self, k3s: K3s) -> None:
        self.node = k3s.node
        self.node.command("systemd-run", SYSTEMD_RUN)
        systemctl = self.node.bin / "systemctl"
        self.node.command("systemctl", systemctl.read_text().replace("case $1 in\n", SYSTEMCTL, 1))
        (self.node.stub / "active").write_text("active")
        (self.node.stub / "invocation").write_text("1")
        place(self.node.root, SERVER)
        self.renews(SPRING, to=LATER)

    def renews(self, *ends: str, to: str) -> None:
        """K3s's own command replaces the certificates of these ends."""
        new = self.node.root / "new.crt"
        new.write_bytes(pem(to))
        old = [f"{self.node.root}/{DATA}/{path}" for path, end in SERVER.items() if end in ends]
        lines = "\n".join(f"cp {new} {path}" for path in old)
        self.node.file("usr/local/bin/k3s", f'#!/bin/sh\necho "$*" >> {self.node.stub}/k3s.log\n{lines}\n', 0o755)

    def run(self, renew: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        limits = {"LIMIT_SECONDS": "5", "SERVICE_LIMIT": "5"}
        return self.node.run("k3s-certificates", **{"ROLE": "server", "RENEW": renew, **limits, **env})

    def calls(self, name: str) -> str:
        log: Path = self.node.stub / f"{name}.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def renewal(k3s: K3s) -> Renewal:
    return Renewal(k3s)


def test_the_first_that_ends_is_reported_and_nothing_is_touched(renewal: Renewal) -> None:
    done = renewal.run()
    assert (done.returncode, done.stdout) == (0, REPORT + "renewed no\n"), done.stderr
    assert not renewal.calls("systemd-run") and not (renewal.node.root / "run/lock/k3s-macvlan.lock").exists()


def test_a_node_that_is_being_installed_is_waited_for(renewal: Renewal) -> None:
    admin = renewal.node.root / DATA / "server/tls/client-admin.crt"
    kept = admin.read_bytes()
    admin.unlink()
    process = subprocess.Popen(
        ["bash", "-c", stripped(SCRIPTS / "k3s-certificates.sh")],
        env=renewal.node.environment({"ROLE": "server", "LIMIT_SECONDS": "60", "SERVICE_LIMIT": "60"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    assert process.poll() is None
    admin.write_bytes(kept)
    assert process.communicate(timeout=30)[0] == REPORT + "renewed no\n"


def test_none_at_all(renewal: Renewal) -> None:
    (renewal.node.root / DATA / "server/tls/client-admin.crt").unlink()
    done = renewal.run(LIMIT_SECONDS="0")
    assert (done.returncode, done.stdout) == (1, "") and "K3s has none after 0 s" in done.stderr
    lock = renewal.node.file("run/lock/k3s-macvlan.lock", "")
    os.utime(lock, (time.time() + 5, time.time() + 5))
    assert "K3s was not installed" in renewal.run(LIMIT_SECONDS="60").stderr


@pytest.mark.parametrize("renewing", [{"renew": "due", "UNTIL": "2027-03-26T00:00:00Z"}, {"renew": "now"}], ids=["due", "now"])
def test_new_ones_are_made_while_k3s_is_stopped(renewal: Renewal, renewing: dict[str, Any]) -> None:
    done = renewal.run(**renewing)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"certificate {NEXT_YEAR} ") and done.stdout.endswith("renewed yes\n")
    assert renewal.calls("k3s") == "certificate rotate\n"
    words = [line.split()[0] for line in renewal.calls("systemctl").splitlines()]
    assert words.index("stop") < words.index("start")
    assert words.count("start") == 1, "a second request could start K3s in the middle of it"
    assert "--unit=k3s-macvlan-certificates" in renewal.calls("systemd-run"), "what was begun continues without the script"


def test_what_k3s_has_renewed_by_itself_restarts_nothing(renewal: Renewal) -> None:
    done = renewal.run("due", UNTIL="2027-01-01T00:00:00Z")
    assert (done.returncode, done.stdout) == (0, REPORT + "renewed no\n")
    assert "not restarted" in done.stderr and not renewal.calls("systemd-run")


def test_an_agent_whose_release_cannot_rotate_gets_new_ones_by_the_start(renewal: Renewal) -> None:
    """Its systemd unit is another one."""
    place(renewal.node.root, {"agent/client-kubelet.crt": SPRING, "server/tls/etcd/peer-server-client.crt": LATER})
    new = renewal.node.root / "new.crt"
    kubelet = renewal.node.root / DATA / "agent/client-kubelet.crt"
    renewal.node.file("usr/local/bin/k3s", f"#!/bin/sh\ncp {new} {kubelet}\nexit 1\n", 0o755)
    done = renewal.run("due", ROLE="agent", UNTIL="2027-03-26T00:00:00Z")
    assert done.returncode == 0, done.stderr
    assert "stop k3s-agent\n" in renewal.calls("systemctl")


def test_dates_that_did_not_change_are_an_error_with_a_remedy(renewal: Renewal) -> None:
    renewal.renews(to=LATER)
    done = renewal.run("now")
    assert done.returncode == 1 and f"a certificate still ends {SPRING}, as before" in done.stderr
    assert "journalctl -u k3s-macvlan-certificates" in done.stderr


def test_k3s_that_does_not_come_back_is_an_error(renewal: Renewal) -> None:
    (renewal.node.stub / "api").unlink()
    done = renewal.run("now", SERVICE_LIMIT="1")
    assert done.returncode == 1 and "k3s does not work after 1 s" in done.stderr


def test_a_renewal_that_cannot_begin_is_an_error(renewal: Renewal) -> None:
    (renewal.node.stub / "refuses").touch()
    done = renewal.run("now")
    assert done.returncode == 1 and "systemd would not start the renewal" in done.stderr


def test_it_waits_for_an_installation(renewal: Renewal) -> None:
    lock = renewal.node.file("run/lock/k3s-macvlan.lock", "")
    holder = subprocess.Popen(["flock", str(lock), "sleep", "30"])
    try:
        time.sleep(0.5)
        done = renewal.run("now", LIMIT_SECONDS="1")
    finally:
        holder.kill()
        holder.wait()
    assert done.returncode == 1 and "an installation has been running on this node for 1 s" in done.stderr


def test_files_of_former_releases_and_broken_ones_do_not_count(tmp_path: Path) -> None:
    place(tmp_path, {**SERVER, "server/tls/client-cloud-controller.crt": "2026-06-01T00:00:00Z"})
    (tmp_path / DATA / "server/tls/client-scheduler.crt").write_text("-----BEGIN CERTIFICATE-----\nAAA")
    assert k3s_certificates.first(str(tmp_path), k3s_certificates.LEAVES).startswith(SPRING)
    assert k3s_certificates.first(str(tmp_path / "none"), k3s_certificates.LEAVES) == ""

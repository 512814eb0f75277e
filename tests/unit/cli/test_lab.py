"""`lab`, run with stand-ins for every program that it calls: nothing is installed, downloaded or started."""

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from lab_harness import ARCHIVE, PULUMI, ROOT, STACK_FILE, TESTNET, VERB, VERSION, Lab, let_ctrl_c_arrive

from cli.verbs.test import groups

pytestmark = pytest.mark.unit


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def verbs() -> list[str]:
    """The modules of verbs."""
    return sorted(path.stem for path in (ROOT / "cli/verbs").glob("[a-z]*.py"))


# --- usage ---


@pytest.mark.parametrize("arguments", [(), ("undo",), ("-x", "up"), ("-s",)])
def test_wrong_usage_ends_with_the_usage(lab: Lab, arguments: tuple[str, ...]) -> None:
    assert "up | preview | destroy" in lab.run(*arguments, code=2)
    assert lab.log.read_text() == ""


def test_what_runs_before_python_stays_short() -> None:
    assert len((ROOT / "lab").read_text().splitlines()) <= 150, "verbs and all that Python can do are in cli/"


def test_help(lab: Lab) -> None:
    assert "LAB_PULUMI_URL" in lab.run("-h")
    assert lab.log.read_text() == ""


@pytest.mark.parametrize("before", [(), ("-s", "prod")])
def test_the_version_is_said_without_anything_that_is_not_there_yet(lab: Lab, before: tuple[str, ...]) -> None:
    shutil.rmtree(lab.root / ".venv")
    assert lab.run(*before, "--version") == f"k3s-macvlan {(ROOT / 'VERSION').read_text()}"
    assert lab.log.read_text() == "" and not (lab.root / ".lab").exists()


@pytest.mark.parametrize("verb", verbs())
def test_each_verb_has_help(lab: Lab, verb: str) -> None:
    assert f"usage: ./lab [-s STACK] {verb} " in lab.run(verb, "-h")
    assert lab.log.read_text() == ""


@pytest.mark.parametrize("verb", ["up", "pulumi"])
def test_another_program_s_help_is_its_own(lab: Lab, verb: str) -> None:
    lab.run(verb, "--help")
    assert "--help" in lab.calls("pulumi")[-1]


def test_an_unknown_tier_is_refused_before_anything_runs(lab: Lab) -> None:
    assert "there are: lint unit program provider e2e e2e-nodes" in lab.run("test", "units", code=2)
    assert lab.log.read_text() == ""


def test_a_stack_without_file_is_refused_with_those_there_are(lab: Lab) -> None:
    assert "no Pulumi.prod.yaml; the stacks here: dev" in lab.run("-s", "prod", "up", code=1)


@pytest.mark.parametrize("option", [["-s", "cn"], ["--stack=cn"], ["-c", "p:key=other"], ["--config=p:key=other"]])
def test_arguments_that_would_mix_stacks_or_be_lost_are_refused(lab: Lab, option: list[str]) -> None:
    lab.run("up", *option, code=1)
    assert not [call for call in lab.calls("pulumi") if call.startswith("pulumi up")]


@pytest.mark.parametrize("verb", ["up", "destroy", "refresh", "preview"])
def test_verbs_pass_stack_and_arguments_to_pulumi(lab: Lab, verb: str) -> None:
    shutil.copy(lab.root / "Pulumi.dev.yaml", lab.root / "Pulumi.cn.yaml")
    state = lab.root / ".lab/state/.pulumi/stacks/p"
    state.mkdir(parents=True)
    (state / "cn.json").write_text("{}")
    (lab.root / ".lab/passphrase").write_text("x")
    lab.run("-s", "cn", verb, "--target", "a b")
    call = next(call for call in lab.calls("pulumi") if call.startswith(f"pulumi {verb}"))
    assert call.startswith(f"pulumi {verb} -s cn --config-file {lab.root}/.lab/Pulumi.cn.yaml ")
    own = {"preview": " --diff --policy-pack policy", "refresh": " --yes --clear-pending-creates"}.get(verb, " --yes")
    assert call.endswith(f"{own} --target a b")


@pytest.mark.parametrize("verb", ["up", "preview", "refresh", "pulumi"])
def test_pulumi_takes_the_place_of_lab_so_that_signals_reach_it(lab: Lab, verb: str) -> None:
    lab.run("up")
    lab.program("pulumi", f'case " $* " in *" {verb} "* | *" about "*) echo "pulumi is $$" ;; esac\n' + PULUMI)
    words = ["about"] if verb == "pulumi" else []
    command = [str(lab.root / "lab"), verb, *words]
    with subprocess.Popen(command, env=lab.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        output = process.communicate(timeout=60)[0]
    assert f"pulumi is {process.pid}\n" in output


def test_destroy_ends_as_pulumi_does(lab: Lab) -> None:
    lab.run("up")
    lab.program("pulumi", '[ "$1" != destroy ] || exit 255\n' + PULUMI)
    assert "is left" not in lab.run("destroy", code=255)


def test_destroy_names_what_is_left(lab: Lab) -> None:
    lab.run("up")
    assert "nothing is left of stack dev" in lab.run("destroy")
    left = lab.run("destroy", LEFT='{"deployment": {"resources": [{"urn": "urn:a-machine"}]}}')
    assert "left in stack dev" in left and "urn:a-machine" in left


@pytest.mark.parametrize(
    ("words", "skip_preview", "whole"),
    [
        ((), "", True),
        (("--target", "urn:a-machine"), "", False),
        (("--exclude-protected",), "", False),
        ((), "true", False),
    ],
)
def test_guests_are_powered_off_together_only_where_all_are_deleted(
    lab: Lab, words: tuple[str, ...], skip_preview: str, whole: bool
) -> None:
    """Then Pulumi's Kubernetes provider, which deletes nothing, does not wait for an API that is away."""
    lab.run("up")
    request = '[ "$1" != destroy ] || echo "request <$K3S_MACVLAN_DESTROY $PULUMI_K8S_CLIENT_TIMEOUT>"\n'
    lab.program("pulumi", request + PULUMI)
    assert f"request <{'whole 1' if whole else ' '}>" in lab.run("destroy", *words, PULUMI_SKIP_PREVIEW=skip_preview)
    asked = lab.run("destroy", *words, PULUMI_SKIP_PREVIEW=skip_preview, PULUMI_K8S_CLIENT_TIMEOUT="30")
    assert f"request <{'whole' if whole else ''} 30>" in asked


def test_destroy_and_status_make_no_stack(lab: Lab) -> None:
    assert "nothing to destroy" in lab.run("destroy")
    assert "no stack dev yet" in lab.run("status", code=1)
    assert not [call for call in lab.calls("pulumi") if "init" in call]


@pytest.mark.parametrize("verb", ["up", "destroy", "refresh"])
def test_locks_of_the_state_are_looked_at_before_pulumi_is(lab: Lab, verb: str) -> None:
    lab.run("up")
    looked = "the lock "
    assert looked not in lab.run(verb), "there is none"
    folder = lab.root / ".lab/state/.pulumi/locks/organization/p/dev"
    folder.mkdir(parents=True)
    (folder / "0b1c.json").write_text("{}")
    lab.program("pulumi", f'[ "$1" != {verb} ] || echo "pulumi runs"\n' + PULUMI)
    output = lab.run(verb)
    assert 0 <= output.index(looked) < output.index("pulumi runs")
    for other in ("preview", "status"):
        assert looked not in lab.run(other)
    assert looked not in lab.run(verb, PULUMI_BACKEND_URL="file:///elsewhere"), "a state of one's own is not ours to unlock"


# --- verbs that look at a stack ---

LOOKS = [
    (("status", "--json"), "json=True"),
    (("ssh", "server-1", "ls -l; id"), "words=['server-1', 'ls -l; id']"),
    (("kubectl", "logs", "-c", "web", "-s", "x", "--", "-h"), "words=['logs', '-c', 'web', '-s', 'x', '--', '-h']"),
    (("logs", "server-1"), "console=False journal=False lines=60 node=server-1"),
    (("diagram", "a b.svg"), "example=False file=a b.svg"),
]


@pytest.mark.parametrize(("words", "options"), LOOKS, ids=[words[0] for words, _ in LOOKS])
def test_looks_get_stack_and_arguments(lab: Lab, words: tuple[str, ...], options: str) -> None:
    lab.run("up")
    lab.run(*words)
    assert lab.calls("verb") == [f"verb {words[0]} dev {options}"]
    assert not lab.calls("apt-get") and not [call for call in lab.calls("pulumi") if "plugin" in call]


@pytest.mark.parametrize("verb", ["ssh", "kubectl", "logs", "diagram"])
def test_looks_make_no_stack(lab: Lab, verb: str) -> None:
    assert "no stack dev yet" in lab.run(verb, "server-1", code=1)
    assert not lab.calls("verb")


def test_the_example_picture_needs_no_stack(lab: Lab) -> None:
    lab.run("diagram", "--example", "x.svg")
    assert lab.calls("verb") == ["verb diagram dev example=True file=x.svg"]


def test_the_cli_knows_where_lab_was_called(lab: Lab) -> None:
    assert f"called in {Path.cwd()}" in lab.run("doctor", CALLER="1")


def test_attach_needs_neither_hypervisor_nor_state(lab: Lab) -> None:
    (lab.root / "cli/verbs/attach.py").write_text(VERB)
    lab.run("-s", "cn", "attach", "ha", "printer", "--network", "iot", "--network", "lan")
    assert lab.calls("verb") == ["verb attach cn names=['ha', 'printer'] networks=['iot', 'lan']"]
    assert not lab.calls("virsh") and not lab.calls("pulumi") and not (lab.root / ".lab/state").exists()


def test_doctor_needs_neither_hypervisor_nor_state(lab: Lab) -> None:
    lab.run("-s", "cn", "doctor", "--json")
    assert lab.calls("verb") == ["verb doctor cn json=True offline=False"]
    assert not lab.calls("virsh") and not lab.calls("pulumi") and not (lab.root / ".lab/state").exists()


def test_doctor_continues_without_the_binding(lab: Lab) -> None:
    lab.program("dpkg-query", "exit 1", logged=False)
    lab.program("apt-get", "exit 1")
    assert "could not install" in lab.run("doctor")
    assert lab.calls("verb") == ["verb doctor dev json=False offline=False"]
    assert "libvirt-python" not in (lab.root / ".lab/requirements-preview.txt").read_text()


def test_fetch_needs_neither_pulumi_nor_libvirt(lab: Lab) -> None:
    lab.run("-s", "dev", "fetch", "folder")
    assert lab.calls("verb") == ["verb fetch dev directory=folder"]
    assert lab.calls("pulumi") == [] and lab.calls("virsh") == []


def test_up_runs_doctor_first_and_stops_at_an_error(lab: Lab) -> None:
    lab.run("up")
    doctor = "before_up dev"
    calls = lab.log.read_text().splitlines()
    assert calls.index(doctor) < next(index for index, call in enumerate(calls) if call.startswith("pulumi up"))
    for verb in ("preview", "refresh", "destroy"):
        lab.run(verb)
        assert not lab.calls("before_up")
    output = lab.run("up", code=1, DOCTOR="1")
    assert "LAB_DOCTOR=off" in output and not [call for call in lab.calls("pulumi") if call.startswith("pulumi up")]
    lab.run("up", DOCTOR="1", LAB_DOCTOR="off")
    assert [call for call in lab.calls("pulumi") if call.startswith("pulumi up")]


# --- set-up ---


@pytest.mark.parametrize("verb", ["up", "preview", "destroy"])
def test_nothing_is_installed_when_everything_is_there(lab: Lab, verb: str) -> None:
    lab.run("up")
    lab.run(verb)
    assert lab.calls("apt-get") == lab.calls("curl") == lab.calls("sudo") == []
    assert not [call for call in lab.calls("python") if "pip" in call]


def test_without_a_python_it_is_installed_first_but_not_for_the_help(lab: Lab) -> None:
    shutil.rmtree(lab.root / ".venv")
    assert "install python3" in lab.run("-h", LAB_PYTHON="none", code=1)
    assert "--version is answered by Python: install python3" in lab.run("--version", LAB_PYTHON="none", code=1)
    assert "install python3" in lab.run(LAB_PYTHON="none", code=1)
    assert lab.log.read_text() == ""
    lab.program("dpkg-query", "exit 1")
    assert "no Python 3.11 or newer" in lab.run("up", LAB_PYTHON="none", code=1)
    assert lab.calls("apt-get")[1].endswith(" python3 python3-venv")


def test_only_missing_packages_are_installed(lab: Lab) -> None:
    lab.program("dpkg-query", 'for n in "${@:4}"; do [ "$n" = qemu-utils ] || echo "installed $n"; done; exit 1')
    lab.run("up")
    assert lab.calls("apt-get") == ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends qemu-utils"]


def test_sudo_is_used_by_others_than_root(lab: Lab) -> None:
    lab.program("dpkg-query", "exit 1")
    lab.program("id", "echo 1000")
    lab.run("up")
    assert lab.calls("apt-get") == []
    assert lab.calls("sudo")[0] == "sudo apt-get update -qq"


def test_preview_needs_no_hypervisor_and_no_binding(lab: Lab) -> None:
    lab.program("dpkg-query", "exit 1")
    lab.run("preview")
    assert lab.calls("apt-get") == lab.calls("virsh") == []
    wanted = (lab.root / ".lab/requirements-preview.txt").read_text()
    assert "pulumi==" in wanted and "libvirt-python" not in wanted


@pytest.mark.parametrize("option", ["--refresh", "--refresh=true", "-r"])
def test_a_preview_that_reads_what_is_there_needs_the_binding(lab: Lab, option: str) -> None:
    lab.run("preview", option)
    assert "libvirt-python" in (lab.root / ".lab/requirements-run.txt").read_text()


def test_a_remote_hypervisor_needs_no_daemon_here(lab: Lab) -> None:
    lab.program("dpkg-query", "exit 1")
    with (lab.root / "Pulumi.dev.yaml").open("a") as file:
        file.write("  p:uri: qemu+ssh://host/system\n")
    lab.run("up")
    installed = lab.calls("apt-get")[1].split()
    assert {"libvirt-dev", "openssh-client"} <= set(installed) and "libvirt-daemon-system" not in installed


def test_a_remote_hypervisor_next_to_the_local_one_needs_both(lab: Lab) -> None:
    lab.program("dpkg-query", "exit 1")
    with (lab.root / "Pulumi.dev.yaml").open("a") as file:
        file.write("  # the other: qemu+ssh://nowhere/system\n  p:far: qemu+ssh://host/system\n  p:local: qemu:///system\n")
    lab.run("up")
    assert {"openssh-client", "libvirt-daemon-system"} <= set(lab.calls("apt-get")[1].split())


def test_the_environment_follows_the_requirements(lab: Lab) -> None:
    lab.run("up")
    with (lab.root / "requirements.txt").open("a") as file:
        file.write("# another\n")
    lab.run("up")
    assert [call for call in lab.calls("python") if "pip install" in call]
    lab.run("up")
    assert not [call for call in lab.calls("python") if "pip install" in call]


def test_an_inactive_network_is_reported_and_not_started(lab: Lab) -> None:
    lab.program("virsh", "echo other")
    assert "net-start default" in lab.run("up")
    assert lab.calls("virsh") == ["virsh -q -c qemu:///system net-list --name"]


def test_a_plugin_that_cannot_be_downloaded_is_named(lab: Lab) -> None:
    (lab.bin / "pulumi-resource-kubernetes").unlink()
    lab.program("pulumi", f"case $1 in version) echo v{VERSION} ;; plugin) exit 1 ;; esac")
    assert re.search(r"plugin kubernetes [\d.]+: .*-f FILE", lab.run("up", code=1))


def test_one_pulumi_version() -> None:
    assert re.search(rf"^pulumi=={re.escape(VERSION)}\b", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    required = re.search(r"^requiredPulumiVersion:.*", (ROOT / "Pulumi.yaml").read_text(), re.MULTILINE)
    assert required and VERSION in required[0]


# --- Pulumi's release ---


def release(lab: Lab, folder: Path, *, version: str = VERSION) -> str:
    """An archive in Pulumi's form, its checksums next to it; its SHA-256."""
    (lab.bin / "pulumi").unlink(missing_ok=True)
    program = lab.program("pulumi", PULUMI.replace(VERSION, version), folder=folder)
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        archive.add(program, "pulumi/pulumi")
    program.unlink()
    digest = hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest()
    (folder / f"pulumi-{VERSION}-checksums.txt").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  {ARCHIVE}\n")
    return digest


@pytest.mark.parametrize("pinned", [False, True])
def test_the_release_is_installed_once(lab: Lab, tmp_path: Path, pinned: bool) -> None:
    digest = release(lab, tmp_path)
    if pinned:
        (tmp_path / f"pulumi-{VERSION}-checksums.txt").unlink()
    output = lab.run("up", PULUMI_ARCHIVE=str(tmp_path / ARCHIVE), LAB_PULUMI_SHA256=digest if pinned else "")
    assert f"installed Pulumi {VERSION}" in output
    assert [path.name for path in (lab.home / ".pulumi").iterdir()] == ["bin"]
    assert "installed" not in lab.run("up")
    assert lab.calls("curl") == []


def test_the_release_comes_from_the_mirror(lab: Lab, tmp_path: Path) -> None:
    release(lab, tmp_path)
    lab.program("curl", f'cp "{tmp_path}/$(basename "${{@: -1}}")" "${{@: -2:1}}"')
    lab.run("up", LAB_PULUMI_URL="https://mirror.example/p")
    assert [call.split()[-1] for call in lab.calls("curl")] == [
        f"https://mirror.example/p/{ARCHIVE}",
        f"https://mirror.example/p/pulumi-{VERSION}-checksums.txt",
    ]


@pytest.mark.parametrize("how", ["file", "argument", "unlisted", "old"])
def test_an_archive_that_is_not_the_release_is_refused(lab: Lab, tmp_path: Path, how: str) -> None:
    release(lab, tmp_path, version="3.1.0" if how == "old" else VERSION)
    sums = tmp_path / f"pulumi-{VERSION}-checksums.txt"
    if how == "file":
        sums.write_text(f"{'0' * 64}  {ARCHIVE}\n")
    if how == "unlisted":
        sums.write_text(f"{'0' * 64}  other.tar.gz\n")
    pin = "0" * 64 if how == "argument" else ""
    lab.run("up", PULUMI_ARCHIVE=str(tmp_path / ARCHIVE), LAB_PULUMI_SHA256=pin, code=1)
    assert list((lab.home / ".pulumi").rglob("*")) == [lab.home / ".pulumi/bin"]


def test_a_release_that_cannot_be_downloaded_is_named(lab: Lab) -> None:
    (lab.bin / "pulumi").unlink()
    lab.program("curl", "exit 6")
    output = lab.run("up", code=1)
    assert all(word in output for word in (ARCHIVE, "PULUMI_ARCHIVE", "LAB_PULUMI_URL"))


# --- state ---


def test_the_stack_file_is_left_alone(lab: Lab) -> None:
    for verb in ("preview", "up", "refresh", "destroy"):
        lab.run(verb)
        assert lab.stack_file() == STACK_FILE
    assert not [path.name for path in (lab.root / ".lab").iterdir() if path.name.startswith(("new-", "copy-"))]


def test_the_state_that_pulumi_gets_is_that_of_the_stack_it_names(lab: Lab) -> None:
    """After a later login elsewhere, and also where it is named by `./lab -s`."""
    state = lab.root / ".lab/state/.pulumi/stacks/p"
    state.mkdir(parents=True)
    (state / "mine.json").write_text("{}")
    (lab.root / ".lab/passphrase").write_text("word\n")
    (lab.home / ".pulumi").mkdir(exist_ok=True)
    (lab.home / ".pulumi/credentials.json").write_text('{"current": "https://api.pulumi.example"}')
    lab.program("pulumi", '[ "$1" = version ] || echo "at ${PULUMI_BACKEND_URL:-login} of ${PULUMI_STACK:-nobody}"\n' + PULUMI)
    here = f"at file://{lab.root}/.lab/state"
    for words in (("-s", "mine"), ("-smine",), ("--stack", "mine"), ("--stack=mine",), ("--yes", "-s", "org/mine"), ("mine",)):
        assert f"{here} of nobody" in lab.run("pulumi", "stack", "rm", *words), words
    assert f"{here} of mine" in lab.run("-s", "mine", "pulumi", "destroy")
    for elsewhere in ("", "--stack=other", "other", "-s"):
        assert "at login of nobody" in lab.run("pulumi", "stack", "rm", *elsewhere.split()), elsewhere


def test_an_edit_of_the_stack_file_reaches_pulumi(lab: Lab) -> None:
    lab.run("up")
    (lab.root / "Pulumi.dev.yaml").write_text(STACK_FILE.replace("value", "changed"))
    lab.run("up")
    assert "changed" in (lab.root / ".lab/Pulumi.dev.yaml").read_text()


def test_the_passphrase_is_made_once_and_private(lab: Lab) -> None:
    lab.run("up")
    file = lab.root / ".lab/passphrase"
    first = file.read_text()
    assert len(first.strip()) >= 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lab.run("up")
    assert file.read_text() == first
    file.unlink()
    assert "passphrase does not exist" in lab.run("up", code=1)
    assert not file.exists()


def test_the_users_passphrase_is_used(lab: Lab) -> None:
    lab.run("up", PULUMI_CONFIG_PASSPHRASE="")
    assert not (lab.root / ".lab/passphrase").exists()


@pytest.mark.parametrize("how", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "login"])
def test_the_users_login_is_respected(lab: Lab, how: str) -> None:
    if how == "login":
        (lab.home / ".pulumi").mkdir()
        (lab.home / ".pulumi/credentials.json").write_text('{"current": "https://api.example"}')
    else:
        lab.env[how] = "x"
    lab.run("up")
    calls = [call for call in lab.calls("pulumi") if "version" not in call]
    assert calls == ["pulumi stack select --create dev", "pulumi up -s dev --yes"]
    assert not (lab.root / ".lab/state").exists() and not (lab.root / ".lab/passphrase").exists()


def test_a_later_login_does_not_lose_a_stack_made_here(lab: Lab) -> None:
    lab.run("up")
    (lab.home / ".pulumi").mkdir()
    (lab.home / ".pulumi/credentials.json").write_text('{"current": "https://api.example"}')
    lab.run("up")
    assert "--config-file" in lab.calls("pulumi")[-1]


# --- tests ---


def last(output: str) -> str:
    return output.splitlines()[-1]


def test_without_a_testnet_provider_uses_the_test_driver_and_e2e_says_why_not(lab: Lab) -> None:
    output = lab.run("test", RESULT_unit="7 0 1", RESULT_program="4 0 0", RESULT_provider="3 0 2")
    assert "SKIPPED e2e: the closed test network is not here" in output and "LAB_E2E_STACK is not set" in output
    assert "test:///default" in output
    assert last(output) == "11 passed, 0 failed, 3 skipped"
    assert [call for call in lab.calls("shellcheck") if " lab " in f"{call} "]
    assert [call for call in lab.calls("mypy") if "--strict" in call]


def test_a_testnet_half_built_is_not_used(lab: Lab, tmp_path: Path) -> None:
    testnet = lab.program("testnet", TESTNET)
    lines = "ok pulumi\\nMISSING mirror/a\\nMISSING K3s's own binary (x)\\nMISSING b"
    output = lab.run("test", "e2e", LAB_TESTNET=str(testnet), TESTNET=lines, code=1)
    assert "SKIPPED e2e: the closed test network is not built (missing: mirror/a b)" in output
    assert "No test was run." in output and last(output) == "0 passed, 0 failed, 0 skipped"


@pytest.mark.parametrize("was_up", [True, False])
def test_the_testnet_is_used_and_left_as_it_was(lab: Lab, was_up: bool) -> None:
    testnet = lab.program("testnet", TESTNET)
    state = "up namespace" if was_up else "DOWN namespace"
    lab.run("test", "provider", "e2e", LAB_TESTNET=str(testnet), TESTNET=f"ok pulumi\\n{state}")
    verbs = [call.split()[1] for call in lab.calls("testnet") if "status" not in call]
    assert verbs == ["start", "exec", "start", "exec"] + ([] if was_up else ["stop"])
    runs = [call for call in lab.calls("testnet") if "exec" in call]
    assert all("LAB_LIBVIRT_URI=qemu:///system" in run for run in runs) and "LAB_E2E_STACK=testnet" in runs[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_cut_off_stops_the_testnet(lab: Lab, number: signal.Signals, code: int) -> None:
    testnet = lab.program("testnet", TESTNET.replace("exec) shift;", "exec) echo inside; exec sleep 5;"))
    env = lab.env | {"LAB_TESTNET": str(testnet), "TESTNET": "ok pulumi"}
    command = [str(lab.root / "lab"), "test", "provider", "e2e"]
    with subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=let_ctrl_c_arrive,  # noqa: PLW1509 - no thread of these tests holds a lock
    ) as running:
        assert running.stdout is not None
        while running.stdout.readline() != "inside\n":
            assert running.poll() is None
        os.killpg(running.pid, number)
        assert running.wait(timeout=30) == code
    assert [call.split()[1] for call in lab.calls("testnet") if "status" not in call] == ["start", "exec", "stop"]


def test_a_testnet_that_does_not_start_is_a_failure(lab: Lab) -> None:
    testnet = lab.program("testnet", TESTNET)
    output = lab.run("test", "unit", "e2e", LAB_TESTNET=str(testnet), TESTNET="ok pulumi", TESTNET_START="1", code=1)
    assert "does not start" in output and last(output) == "1 passed, 0 failed, 0 skipped"


def test_e2e_runs_on_the_users_host_when_its_stack_is_set(lab: Lab) -> None:
    output = lab.run("test", "e2e", LAB_E2E_STACK="dev")
    assert last(output) == "1 passed, 0 failed, 0 skipped"


@pytest.mark.parametrize(
    ("tier", "marked"), [("e2e", "(not nodes or both) and not further"), ("e2e-nodes", "nodes or both or further")]
)
def test_the_long_part_of_e2e_is_a_tier_of_its_own(lab: Lab, tier: str, marked: str) -> None:
    assert last(lab.run("test", tier, LAB_E2E_STACK="dev")) == "1 passed, 0 failed, 0 skipped"
    runs = [call for call in lab.calls("python") if " -m pytest " in f" {call} "]
    assert [run.split("tests/e2e")[1].strip() for run in runs] == [f"-m {marked}"]
    lab.log.unlink()
    lab.run("test", LAB_E2E_STACK="dev")
    assert not [call for call in lab.calls("python") if call.endswith("-m nodes or both or further")], "it is not one of all tiers"


def test_provider_without_the_binding_is_skipped(lab: Lab) -> None:
    output = lab.run("test", "unit", "provider", NO_BINDING="1")
    assert "SKIPPED provider: " in output and "libvirt-python cannot be imported" in output


@pytest.mark.parametrize(
    ("result", "counts"), [("5 2 1", "2 passed, 2 failed, 1 skipped"), ("crash", "0 passed, 1 failed, 0 skipped")]
)
def test_a_failing_tier_fails_the_run_and_the_others_still_run(lab: Lab, result: str, counts: str) -> None:
    assert last(lab.run("test", "unit", RESULT_unit=result, code=1)) == counts
    assert "program   ok" in lab.run("test", "unit", "program", RESULT_unit=result, code=1)


def test_failing_lint_fails_the_run(lab: Lab) -> None:
    lab.program("ruff", "exit 1")
    assert re.search("lint +FAILED", lab.run("test", "lint", "unit", code=1))
    lab.program("ruff")
    lab.run("test", "lint")


@pytest.mark.parametrize("result", ["none", "3 0 3"])
def test_a_tier_in_which_nothing_ran_does_not_pass(lab: Lab, result: str) -> None:
    output = lab.run("test", "unit", RESULT_unit=result, code=1)
    assert re.search("unit +SKIPPED", output) and "No test was run." in output


def test_ci_runs_the_tests_from_any_folder(lab: Lab, tmp_path: Path) -> None:
    shutil.copy(ROOT / ".ci/run", lab.root / ".ci/run")
    done = subprocess.run(
        ["bash", str(lab.root / ".ci/run")], env=lab.env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert last(done.stdout) == "3 passed, 0 failed, 0 skipped"
    assert done.returncode == 0
    assert os.access(ROOT / ".ci/run", os.X_OK) and os.access(ROOT / "lab", os.X_OK)


@pytest.mark.parametrize(
    ("tiers", "together"),
    [
        (["lint", "unit", "program", "provider", "e2e"], [["lint", "unit", "program"], ["provider"], ["e2e"]]),
        (["unit", "provider", "program"], [["unit"], ["provider"], ["program"]]),
        (["unit", "unit"], [["unit"], ["unit"]]),
    ],
)
def test_tiers_that_need_python_alone_run_at_once(tiers: list[str], together: list[list[str]]) -> None:
    assert groups(tiers) == together


def test_tiers_that_run_at_once_are_printed_one_after_another(lab: Lab) -> None:
    output = lab.run("test", "program", "unit", RESULT_unit="5 2 0", RESULT_program="3 0 1", code=1)
    places = [output.index(text) for text in ("run in parallel", "== program ==", "== unit ==", "program   ok")]
    assert places == sorted(places)
    assert last(output) == "5 passed, 2 failed, 1 skipped"

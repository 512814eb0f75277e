"""The setting k3s.snapshots, and what of it is on the nodes."""

from __future__ import annotations

from typing import Any

import pytest

from components.cluster.k3s_files import config
from components.config import k3s_options, snapshots
from components.config import plan as plans
from components.config.problems import SettingsError
from components.config.raw import from_document
from components.config.reading import load, parse

pytestmark = pytest.mark.unit

SLICES = {"podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 2}}}
S3 = {"bucket": "backups", "endpoint": "s3.example.org:9000", "folder": "lab", "accessKey": "AKEY", "secretKey": "SKEY"}


def on_nodes(**k3s: Any) -> dict[str, dict[str, Any]]:
    settings = parse("dev", {"servers": {"count": 3}, "agents": {"count": 1}, **SLICES, "k3s": k3s})
    plan = plans.make("k3s-macvlan", "dev", settings)
    return {node.name: config(node, "", plan.api_names, settings.k3s, "t0ken") for node in plan.nodes}


def etcd(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key.startswith("etcd")}


def test_without_the_setting_nothing_is_in_config_yaml() -> None:
    assert not any(etcd(found) for found in on_nodes().values())


def test_servers_have_the_schedule_and_agents_nothing() -> None:
    found = on_nodes(snapshots={"schedule": "0 */6 * * *", "retention": 12, "name": "lab", "compress": True})
    for name in ("server-1", "server-2", "server-3"):
        assert etcd(found[name]) == {
            "etcd-snapshot-schedule-cron": "0 */6 * * *",
            "etcd-snapshot-retention": 12,
            "etcd-snapshot-name": "lab",
            "etcd-snapshot-compress": True,
        }
    assert etcd(found["agent-1"]) == {}


def test_s3_and_its_credentials_are_the_servers_alone() -> None:
    found = on_nodes(snapshots={"s3": S3})
    assert etcd(found["server-1"]) == {
        "etcd-s3": True,
        "etcd-s3-bucket": "backups",
        "etcd-s3-endpoint": "s3.example.org:9000",
        "etcd-s3-region": "us-east-1",
        "etcd-s3-folder": "lab",
        "etcd-s3-access-key": "AKEY",
        "etcd-s3-secret-key": "SKEY",
    }
    assert "KEY" not in str(found["agent-1"])
    assert "KEY" not in repr(parse("dev", {"k3s": {"snapshots": {"s3": S3}}}))
    assert set(etcd(on_nodes(snapshots={"s3": {"bucket": "backups"}})["server-1"])) == {
        "etcd-s3", "etcd-s3-bucket", "etcd-s3-endpoint", "etcd-s3-region"
    }  # fmt: skip


def test_none_at_all() -> None:
    assert etcd(on_nodes(snapshots={"enabled": False})["server-1"]) == {"etcd-disable-snapshots": True}


def test_every_key_is_one_of_k3s_s_servers() -> None:
    assert set(snapshots._FIELDS) <= k3s_options.SERVER
    given = on_nodes(snapshots={"schedule": "@daily", "retention": 1, "name": "a", "compress": True, "s3": S3})["server-1"]
    assert {*etcd(given), "etcd-disable-snapshots"} == set(snapshots._FIELDS)


@pytest.mark.parametrize("schedule", ["0 */12 * * *", "5,35 1-4 * JAN-MAR MON", "@hourly", "0 0 ? * SUN"])
def test_a_schedule_is_cron_s(schedule: str) -> None:
    assert on_nodes(snapshots={"schedule": schedule})["server-1"]["etcd-snapshot-schedule-cron"] == schedule


@pytest.mark.parametrize(
    ("given", "setting", "text"),
    [
        ({"schedule": "daily"}, "k3s.snapshots.schedule", "not a schedule"),
        ({"schedule": "* * * *"}, "k3s.snapshots.schedule", "the five fields of cron"),
        ({"schedule": "* * * * * *"}, "k3s.snapshots.schedule", "the five fields of cron"),
        ({"retention": 0}, "k3s.snapshots.retention", "write 1 or more"),
        ({"enabled": False, "schedule": "@daily"}, "k3s.snapshots.schedule", "enabled is false"),
        ({"s3": {}}, "k3s.snapshots.s3.bucket", "is missing"),
        ({"s3": {"bucket": "b/c"}}, "k3s.snapshots.s3.bucket", "not the name of a bucket"),
        ({"s3": {**S3, "endpoint": "https://s3.example.org"}}, "k3s.snapshots.s3.endpoint", "without https://"),
        ({"s3": {"bucket": "backups", "accessKey": "x"}}, "k3s.snapshots.s3.secretKey", "accessKey is of no use without it"),
        ({"s3": {"bucket": "backups", "secretKey": "x"}}, "k3s.snapshots.s3.accessKey", "secretKey is of no use without it"),
    ],
)
def test_mistakes(given: dict[str, Any], setting: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse("dev", {"k3s": {"snapshots": given}})
    assert any(problem.setting == setting and text in problem.conflict for problem in raised.value.problems), raised.value


def loaded(**k3s: Any) -> None:
    document = {"config": {"k3s-macvlan:k3s": k3s}}
    load("k3s-macvlan", "dev", from_document(document, "k3s-macvlan"))


@pytest.mark.parametrize("where", ["config", "serverConfig"])
@pytest.mark.parametrize("key", ["etcd-snapshot-retention", "etcd-s3-bucket", "etcd-disable-snapshots"])
def test_a_key_is_given_once(where: str, key: str) -> None:
    value: Any = True if key == "etcd-disable-snapshots" else "7"
    with pytest.raises(SettingsError, match=rf"k3s\.{where}\.{key}: is what k3s\.snapshots\.\w+(\.\w+)? gives"):
        loaded(snapshots={}, **{where: {key: value}})
    loaded(**{where: {key: value}})


def test_other_keys_of_s3_are_allowed_next_to_it() -> None:
    loaded(snapshots={"s3": S3}, serverConfig={"etcd-s3-timeout": "1m", "etcd-snapshot-dir": "/srv/snapshots"})


def test_another_datastore_has_no_snapshots() -> None:
    with pytest.raises(SettingsError, match=r"k3s.serverConfig.datastore-endpoint: has no etcd"):
        loaded(snapshots={}, serverConfig={"datastore-endpoint": "http://192.168.122.1:2379"})


def test_credentials_may_be_secrets_that_this_machine_cannot_read() -> None:
    secret = {"secure": "v1:AAAA:BBBB"}
    loaded(snapshots={"s3": {**S3, "accessKey": secret, "secretKey": secret}})

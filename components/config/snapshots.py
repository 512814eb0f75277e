"""The setting k3s.snapshots: K3s's own snapshots of etcd, by a schedule, on each server and in S3. Pure.

https://docs.k3s.io/cli/etcd-snapshot
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, SecretStr, model_validator

from components.config import k3s_options
from components.config.model import Model
from components.config.problems import Mistake, Problem, following, matching, presence, refuse
from components.config.value_types import Name

_FIELD = r"[0-9A-Za-z*?/,-]+"


class SnapshotsS3(Model):
    """Where snapshots are put too. Further keys of K3s's (etcd-s3-endpoint-ca, etcd-s3-timeout, …) go into k3s.serverConfig."""

    bucket: Annotated[
        str,
        matching(
            r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "not the name of a bucket; write 3 to 63 lower-case letters, digits, . and -"
        ),
    ]
    """The bucket, which must be there."""
    endpoint: Annotated[
        str,
        matching(
            r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?$", "not the host of an S3 service; write it without https://, as s3.example.org:9000"
        ),
    ] = "s3.amazonaws.com"
    """Host of the service, and its port if it has one."""
    region: Annotated[str, matching(r"^[a-z0-9-]{1,63}$", "not the name of a region; write it as us-east-1")] = "us-east-1"
    """The bucket's region."""
    folder: Annotated[
        str, matching(r"^[A-Za-z0-9._/-]{0,512}$", "not a folder in a bucket; write letters, digits and ._/- alone")
    ] = ""
    """Folder in the bucket; several clusters in one bucket need one each."""
    access_key: SecretStr | None = None
    """Access key, set as a secret; without it and secretKey the machine's own role is used."""
    secret_key: SecretStr | None = None
    """Secret key, set as a secret."""

    @model_validator(mode="after")
    def _both(self) -> SnapshotsS3:
        if (self.access_key is None) != (self.secret_key is None):
            missing, there = ("accessKey", "secretKey") if self.access_key is None else ("secretKey", "accessKey")
            conflict = f"is missing, and {there} is of no use without it; set both as secrets, or neither"
            refuse([Mistake((missing,), "", conflict, (there,))])
        return self


class Snapshots(Model):
    """Snapshots of etcd that K3s takes by itself. `./lab backup` takes its own at any time."""

    enabled: bool = True
    """false: K3s takes none, and this setting has no other field."""
    schedule: (
        Annotated[
            str,
            matching(
                rf"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|({_FIELD} +){{4}}{_FIELD})$",
                'not a schedule; write the five fields of cron, as "0 */6 * * *", or @daily',
            ),
        ]
        | None
    ) = None
    """When, in the five fields of cron and the nodes' time; absent: K3s's default, at 0 and 12 o'clock."""
    retention: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """How many are kept on each server, and in S3; absent: K3s's default, 5."""
    name: Name | None = None
    """How their names begin; absent: K3s's default, etcd-snapshot."""
    compress: bool = False
    """Kept as zip."""
    s3: SnapshotsS3 | None = None
    """Put there as well."""

    @model_validator(mode="after")
    def _none(self) -> Snapshots:
        if not self.enabled:
            given = [name for name in ("schedule", "retention", "name", "s3") if getattr(self, name) is not None]
            conflict = "is set, and enabled is false, so K3s takes no snapshots; remove one of them"
            refuse(Mistake((name,), "", conflict, ("enabled",)) for name in given)
        return self


def options(snapshots: Snapshots) -> dict[str, Any]:
    """Keys of the servers' config.yaml; credentials in clear."""
    if not snapshots.enabled:
        return {"etcd-disable-snapshots": True}
    named = {
        "etcd-snapshot-schedule-cron": snapshots.schedule,
        "etcd-snapshot-retention": snapshots.retention,
        "etcd-snapshot-name": snapshots.name,
        "etcd-snapshot-compress": snapshots.compress or None,
    }
    if snapshots.s3 is not None:
        s3 = snapshots.s3
        named |= {
            "etcd-s3": True,
            "etcd-s3-endpoint": s3.endpoint,
            "etcd-s3-bucket": s3.bucket,
            "etcd-s3-region": s3.region,
            "etcd-s3-folder": s3.folder or None,
            "etcd-s3-access-key": s3.access_key.get_secret_value() if s3.access_key else None,
            "etcd-s3-secret-key": s3.secret_key.get_secret_value() if s3.secret_key else None,
        }
    return {key: value for key, value in named.items() if value is not None}


_FIELDS = {
    "etcd-disable-snapshots": "enabled",
    "etcd-snapshot-schedule-cron": "schedule",
    "etcd-snapshot-retention": "retention",
    "etcd-snapshot-name": "name",
    "etcd-snapshot-compress": "compress",
    "etcd-s3": "s3",
    "etcd-s3-endpoint": "s3.endpoint",
    "etcd-s3-bucket": "s3.bucket",
    "etcd-s3-region": "s3.region",
    "etcd-s3-folder": "s3.folder",
    "etcd-s3-access-key": "s3.accessKey",
    "etcd-s3-secret-key": "s3.secretKey",
}
"""Keys of config.yaml, and the fields of k3s.snapshots that give them."""


def conflicts(snapshots: Snapshots | None, given: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """With the keys of k3s.config and k3s.serverConfig. given: those by the setting's path."""
    if snapshots is None:
        return
    for setting, keys in given.items():
        for key in keys:
            name = k3s_options.name(key)
            if name in _FIELDS:
                conflict = f"is what k3s.snapshots.{_FIELDS[name]} gives, and k3s.snapshots is set; write it there alone"
                reads = frozenset({presence(f"{setting}.{key}"), presence("k3s.snapshots")})
                yield Problem(f"{setting}.{key}", "", conflict, reads)
            elif name == "datastore-endpoint":
                conflict = "has no etcd, and k3s.snapshots is of etcd's snapshots; remove one of them"
                yield following(f"{setting}.{key}", "", conflict, "k3s.snapshots")

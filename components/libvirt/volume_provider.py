"""What the providers of volumes share."""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import ReadResult

from components.custom.provider import DeclarativeProvider, Props
from components.libvirt import volume_store
from components.libvirt.connection import connect, find


def volume_id(state: Props) -> str:
    return f"{state['uri']}#{state['pool']}/{state['name']}"


class VolumeProvider(DeclarativeProvider):
    """What the three kinds share: how one is looked at, and how it goes."""

    def look(self, connection: Any, pool: Any, state: Props) -> Props | None:
        """What of the state is different in truth; None if the volume is not there or not what it was."""
        raise NotImplementedError

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByName, state["pool"])
            # In a pool that is stopped or undefined nothing can be seen; the pool itself shows as changed or gone.
            if pool is not None and pool.isActive():
                volume_store.refresh(pool)
                seen = self.look(connection, pool, state)
                if seen is None:
                    return ReadResult("", {})
                state |= seen
        return self.read_result(id_, state)

    def delete(self, _id: str, _props: Props) -> None:
        """Remove the volume; that it or the pool is gone is success."""
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByName, state["pool"])
            if pool is None:
                return
            if not pool.isActive():
                pool.create(0)
            volume_store.refresh(pool)
            volume_store.remove(pool, state["name"])

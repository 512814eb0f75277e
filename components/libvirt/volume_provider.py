"""What the providers of volumes share."""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import ReadResult

from components.custom.provider import DeclarativeProvider, Props
from components.custom.reporting import say
from components.libvirt import volume_store
from components.libvirt.connection import connect, find


def volume_id(state: Props) -> str:
    return f"{state['uri']}#{state['pool']}/{state['name']}"


class VolumeProvider(DeclarativeProvider):
    """What all kinds of volumes share: how one is observed, and how it is deleted."""

    def observe(self, connection: Any, pool: Any, state: Props) -> Props | None:
        """Properties of the state as they are now; None if the volume is not there or not what it was."""
        raise NotImplementedError

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByName, state["pool"])
            # In a pool that is stopped or undefined nothing can be observed; the pool itself shows as changed or deleted.
            if pool is not None and pool.isActive():
                volume_store.refresh(pool)
                observed = self.observe(connection, pool, state)
                if observed is None:
                    return ReadResult("", {})
                state |= observed
        return self.read_result(id_, state)

    def stays(self, pool: Any, state: Props) -> str:
        """Why the volume is not deleted with its resource, as text to say; "": it is."""
        del pool, state
        return ""

    def delete(self, _id: str, _props: Props) -> None:
        """Remove the volume, unless it `stays`; that it or the pool is deleted already is success."""
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            pool = volume_store.pool_to_clear(connection, state["pool"])
            if pool is None:
                return
            if reason := self.stays(pool, state):
                say(reason)
            else:
                volume_store.remove(pool, state["name"])

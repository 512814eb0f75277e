"""The settings of kube-vip, which gives the cluster's virtual address (`k3s.virtualAddress`) to one server at a time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.config.model import Model
from components.config.value_types import Image


class KubeVip(Model):
    """kube-vip, on servers, where `virtualAddress` is set."""

    image: Image = "ghcr.io/kube-vip/kube-vip:v1.2.3"
    """Its image, of a release from v1.0.0 on."""
    lease_duration: Annotated[int, Field(strict=True, ge=5, le=600)] = 15
    """Seconds after which another server takes the address over from one that is lost. A server that cannot renew its lease for two
    thirds of that gives the address back, so a slow or busy machine needs more: there the API is late, and the address would
    move although nothing is lost."""

    @property
    def renew_deadline(self) -> int:
        """Seconds in which the server that has the address must have renewed its lease."""
        return self.lease_duration * 2 // 3

    @property
    def retry_period(self) -> int:
        """Seconds between two attempts to renew the lease or to get it."""
        return max(1, self.lease_duration * 2 // 15)

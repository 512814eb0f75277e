"""The policy pack is published by itself: its defaults are written there once more, and must be the program's."""

import pytest
from rules import pack

from components.config.settings import Settings

pytestmark = pytest.mark.unit


def test_what_a_stack_does_not_set_is_what_the_program_takes() -> None:
    settings = Settings()
    assert (settings.network.interface, str(settings.network.cidr)) == (pack.INTERFACE, pack.CIDR)
    assert (str(settings.k3s.pod_cidr), str(settings.k3s.service_cidr)) == (pack.POD_CIDR, pack.SERVICE_CIDR)

"""Where a host is told to look for its master."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import psutil
import pytest

from prealloc.engines.hosts.listener import own_addresses


def test_all_addresses_of_the_machine_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no route to anywhere, and no name server, as on the nodes of many clusters."""

    def has(*addresses: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(family=socket.AF_INET, address=each) for each in addresses]

    interfaces = {"lo": has("127.0.0.1"), "ib0": has("10.9.0.4"), "eth0": has("10.1.0.4", "10.2.0.4")}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)
    found = own_addresses("0.0.0.0")
    assert {"10.9.0.4", "10.1.0.4", "10.2.0.4"} <= set(found)
    assert "127.0.0.1" not in found
    assert own_addresses("10.9.0.4") == ("10.9.0.4",)

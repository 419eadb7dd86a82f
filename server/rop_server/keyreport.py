"""Metrics of a change of the device key: how far it is. Source: pki-and-config 5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rop_server.core.connection import KEEP_ALIVE
from rop_server.core.hub import Hub


def families(hub: Hub) -> Iterator[Metric]:
    """Devices on 61003 by the key they use, and how many were told to register again since the start."""
    current = hub.settings.current_key_index
    found = Counter(
        each.key_index == current for each in hub.open if each.transport_kind == KEEP_ALIVE and each.announced
    )
    family = GaugeMetricFamily(
        "rop_key_rotation_devices", "Devices connected on 61003 by the key they use", labels=["key"]
    )
    family.add_metric(["current"], found[True])
    family.add_metric(["older"], found[False])
    yield family
    yield CounterMetricFamily(
        "rop_key_rotation_turns", "Devices told to register again for a changed key", value=hub.key_turns.given
    )

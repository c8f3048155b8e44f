"""What the client of a cluster tells of itself, as the figures that every store gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.store.protocol import Figure

_MET: Final = {
    "retries": "Reads and writes that were sent again.",
    "helped": "Events finished that somebody else had begun.",
    "quarantined": "Events given up into quarantine.",
    "parking_refused": "Follow-ups that found every place taken.",
    "unreadable": "Views with at least one profile that could not be read.",
}


def figures_of(client: Any | None, met: Mapping[str, int]) -> list[Figure]:  # noqa: ANN401 - the official client's
    """Return the figures of a client's statistics, summed over its nodes, and of what this process met; [] for none.

    A node that is down is counted for some seconds more, until the client gives it up.
    """
    if client is None:
        return []
    nodes = client.nodes
    connections = [node.conns for node in nodes]
    return [
        Figure("nodes", "Nodes of the cluster that this worker knows.", len(nodes)),
        Figure("connections_used", "Connections that carry a request.", sum(one.in_use for one in connections)),
        Figure("connections_idle", "Connections that wait for one.", sum(one.in_pool for one in connections)),
        Figure("connections_opened", "Connections opened.", sum(one.opened for one in connections), grows=True),
        Figure("connections_closed", "Connections closed.", sum(one.closed for one in connections), grows=True),
        Figure("timeouts", "Requests that a node did not answer in time.", _sum(nodes, "timeout_count"), grows=True),
        Figure("errors", "Requests that a node refused.", _sum(nodes, "error_count"), grows=True),
        *(Figure(name, _MET[name], count, grows=True) for name, count in met.items()),
    ]


def _sum(nodes: Any, name: str) -> int:  # noqa: ANN401 - the official client's
    return sum(getattr(node, name) for node in nodes)

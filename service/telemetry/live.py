"""What is live, as gauges: versions come and go, so no child is bound for one."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.registry.lineup import Lineup
from service.registry.watcher import Status, Watcher


class Live(Collector):
    """The lineup of this process, read off its watcher whenever somebody asks."""

    def __init__(self, watcher: Watcher) -> None:
        """Get what it needs."""
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        """Yield what answers, where each version stands, and what reloads came to."""
        watcher, lineup = self._watcher, self._watcher.lineup
        yield GaugeMetricFamily(
            "fraud_lineup_revision",
            "Revision of the lineup that answers; 0 = none.",
            value=0 if lineup is None else lineup.revision,
        )
        yield GaugeMetricFamily(
            "fraud_policy_version",
            "Version of the decision policy that answers; 0 = none.",
            value=0 if lineup is None else lineup.policy.version,
        )
        yield GaugeMetricFamily(
            "fraud_lineup_not_followed",
            "1 while what answers is not what the registry asks for.",
            value=int(bool(watcher.reason)),
        )
        states = watcher.states
        versions = GaugeMetricFamily(
            "fraud_model_version", "Versions that are live or wanted; 1 for each.", labels=["version", "status"]
        )
        for state in states:
            versions.add_metric([str(state.version), state.status.name], 1)
        yield versions
        yield GaugeMetricFamily(
            "fraud_model_versions_in_error",
            "Versions that are wanted and could not be loaded.",
            value=sum(state.status is Status.ERROR for state in states),
        )
        yield from _models(lineup)
        reloads = CounterMetricFamily("fraud_reloads", "What following the registry came to.", labels=["outcome"])
        for outcome, count in (
            ("switched", watcher.switches),
            ("loaded", watcher.loads),
            ("load_failed", watcher.load_failures),
            ("policy_failed", watcher.policy_failures),
            ("pull_failed", watcher.pull_failures),
        ):
            reloads.add_metric([outcome], count)
        yield reloads


def _models(lineup: Lineup | None) -> Iterator[Metric]:
    """Yield of each live version what it does, when it was made, and how good it was on the data of its test."""
    roles = GaugeMetricFamily(
        "fraud_model_role", "What a live version does; 1 for each role.", labels=["version", "role"]
    )
    made = GaugeMetricFamily(
        "fraud_model_created_seconds", "When a live version was made, in seconds since the epoch.", labels=["version"]
    )
    precision = GaugeMetricFamily(
        "fraud_trained_average_precision",
        "Average precision of a live version in its test; `bound` is value, low or high (95 %).",
        labels=["version", "bound"],
    )
    for version, role in () if lineup is None else _roles(lineup):
        roles.add_metric([version, role], 1)
    for live in () if lineup is None else (*lineup.answer, *lineup.shadow):
        version, manifest = str(live.version), live.servable.manifest
        made.add_metric([version], manifest.created_at.timestamp())
        tested = manifest.metrics.get("test", {}).get("average_precision")
        for bound in ("value", "low", "high") if tested is not None else ():
            value = getattr(tested, bound)
            if value is not None:
                precision.add_metric([version, bound], value)
    yield from (roles, made, precision)


def _roles(lineup: Lineup) -> Iterator[tuple[str, str]]:
    yield str(lineup.champion), "champion"
    for version in lineup.versions:
        yield str(version), "answer"
    for version in lineup.challengers:
        yield str(version), "challenger"
    if lineup.canary is not None:
        yield str(lineup.canary.version), "canary"

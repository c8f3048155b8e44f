"""What is watched in production, checked against a service that runs: names, rules, alerts, the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import grpc
import pytest

from service.client import FraudClient
from service.pb import fraud_pb2 as pb
from service.registry.manifest import Baseline, Histogram, Interval
from service.registry.promotion import promote
from tests.prometheus import ROOT, RULES, Prometheus, free_port, program, samples, scraped, watching
from tests.registry.build import build_artifact
from tests.running import running, wait_until
from tests.service.bad import purchase
from training.judge.textfile import Gauge, write_families

DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "fraud.json"
CALLS: Final = 60

FROM_FILES: Final = {
    "fraud_judged_average_precision": 0.5,
    "fraud_judged_average_precision_low": 0.4,
    "fraud_judged_average_precision_high": 0.6,
    "fraud_judged_recall": 0.7,
    "fraud_judged_precision": 0.3,
    "fraud_judged_frauds": 100.0,
    "fraud_judged_score_per_fraud": 1.0,
    "fraud_judged_score_per_fraud_low": 0.9,
    "fraud_judged_score_per_fraud_high": 1.1,
    "fraud_drift_psi": 0.05,
    "fraud_parity_differences": 0.0,
    "fraud_parity_score_differences": 0.0,
}
"""What `training compare`, `drift` and `parity` write with --metrics."""

OF_A_CLUSTER: Final = frozenset(
    f"fraud_store_{name}" for name in ("nodes", "connections_used", "timeouts_total", "errors_total", "retries_total")
)
"""What only a store in a cluster tells."""

OF_PROMETHEUS: Final = frozenset({"up", "ALERTS"})

EMPTY_HERE: Final = frozenset({
    "Cluster", "Cluster errors", "Rules that hold", "Drift of live traffic",
})  # fmt: skip
"""Panels without anything to show in this service: no cluster, no policy, too few answers."""


class Watched(NamedTuple):
    """A service with traffic on it, and the Prometheus that watches it."""

    port: int
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run two workers with calls of all sorts, gauges in a file, and a Prometheus."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    even = Histogram(edges=(0.0, 0.5, 1.0), counts=(50, 50))
    version = build_artifact(
        folder / "registry",
        baseline=Baseline(features={"user_tenure": even}, score=even),
        metrics={"test": {"average_precision": Interval(value=0.5, low=0.4, high=0.6)}},
    )
    promote(folder / "registry", version, "a test", "first version")
    labels = {"version": "1", "column": "user_tenure", "review_rate": "0.02"}
    gauges = [Gauge(name, "Out of a file.", [(labels, value)]) for name, value in FROM_FILES.items()]
    (folder / "metrics").mkdir()
    write_families(folder / "metrics" / "compare.prom", gauges)
    port = free_port()
    environment = {"FRAUD_METRICS_PORT": str(port), "FRAUD_METRICS_FILES_PATH": str(folder / "metrics")}
    with running(folder, 2, **environment) as service, watching(folder, port) as prometheus:
        wait_until(lambda: "fraud_lineup_revision{" in scraped(port))
        with FraudClient(service.target, score_deadline_ms=10_000) as client:
            for number in range(CALLS):
                client.score(purchase(purchase_id=f"p-{number}"), record=number % 10 == 0)
                if number % 20 == 0:
                    with pytest.raises(grpc.RpcError):
                        client.score(pb.Purchase(purchase_id="bad"))
                    wait_until(partial(told_more, port, number))  # spread over some scrapes
        wait_until(lambda: told_calls(port) >= CALLS)
        wait_until(lambda: bool(prometheus.query(f"sum(fraud_decisions_total) >= {CALLS}")))
        wait_until(lambda: bool(prometheus.query("fraud:decisions:ratio_rate1h > 0")))
        yield Watched(port, prometheus)


def told_more(port: int, calls: int) -> bool:
    """Return whether more calls than that were counted."""
    return told_calls(port) > calls


def told_calls(port: int) -> float:
    """Return how many calls of Score were counted."""
    told = samples(scraped(port))
    return sum(value for name, value in told.items() if name.startswith("fraud_call_seconds_count"))


def names_in(expression: str) -> set[str]:
    """Return the metrics that an expression asks for."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:fraud|process)[_:][a-z0-9_:]+|\bup\b|\bALERTS\b", bare))


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> dict[str, list[str]]:
    """Return what the panels ask, by their titles."""
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels()}


def told_names(text: str) -> set[str]:
    """Return the names of all samples that a scrape may have."""
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return found


def test_the_rules_are_rules_and_fire_as_they_should() -> None:
    """Promtool finds nothing wrong with rules and configuration, and the alerts' own tests hold."""
    promtool = program("promtool")
    for arguments in (
        ["check", "rules", *map(str, RULES)],
        ["check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml")],
        ["test", "rules", *map(str, sorted((ROOT / "deploy" / "prometheus" / "tests").glob("*.yml")))],
    ):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    """No alert is without a test that lets it fire, and none tested is missing."""
    alerts = re.findall(r"- alert: (\w+)", (RULES[0].parent / "alerts.yml").read_text(encoding="utf-8"))
    text = (ROOT / "deploy" / "prometheus" / "tests" / "alerts_test.yml").read_text(encoding="utf-8")
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", text))
    assert sorted(set(alerts) - fired) == []


def test_every_alert_is_explained() -> None:
    """Each leads to a heading of its own that says what it means and what to do, and no heading is left over."""
    rules = (RULES[0].parent / "alerts.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert re.findall(r"runbook: docs/alerts\.md#(\S+)", rules) == [alert.lower() for alert in alerts]
    explained = re.findall(r"^### (\w+)$", (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == alerts


def test_the_dashboard_is_what_its_description_makes() -> None:
    """Nobody edits the JSON by hand: it is what the script prints."""
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make-dashboard.py")], capture_output=True, text=True, check=True
    )
    assert made.stdout == DASHBOARD.read_text(encoding="utf-8")


def test_names_are_good(watched: Watched) -> None:
    """Promtool has nothing against any name or help text."""
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=scraped(watched.port),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == ""


def test_all_that_is_asked_for_is_told(watched: Watched) -> None:
    """Every metric in a panel or a rule is one that the service tells, or one that a rule records."""
    rules = "\n".join(path.read_text(encoding="utf-8") for path in RULES)
    recorded = set(re.findall(r"record: (\S+)", rules))
    asked = {name for texts in expressions().values() for text in texts for name in names_in(text)}
    for text in re.findall(r"expr: (.+(?:\n {10,}.+)*)", rules):
        asked |= names_in(text)
    told = told_names(scraped(watched.port)) | recorded | OF_A_CLUSTER | OF_PROMETHEUS
    assert sorted(asked - told) == []


def test_every_metric_is_explained(watched: Watched) -> None:
    """The page about metrics has each name that the service tells, but those of the process."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    told = re.findall(r"^# TYPE (fraud_\S+) ", scraped(watched.port), re.MULTILINE)
    judged = re.compile("fraud_judged_.*_(low|high)|fraud_parity_score.*")
    assert [name for name in told if name not in page and not judged.fullmatch(name)] == []


def test_every_panel_shows_something(watched: Watched) -> None:
    """Prometheus answers every query, and each has a series where there is something to show."""
    empty = set()
    for title, texts in expressions().items():
        for text in texts:
            asked = text.replace('instance=~"$instance"', 'instance=~".*"').replace("$__rate_interval", "1m")
            if not watched.prometheus.query(asked):
                empty.add(title)
    assert empty == EMPTY_HERE


def test_every_rule_is_evaluated(watched: Watched) -> None:
    """None of our rules fails on the metrics of a live service, and a healthy service fires no alert."""
    groups = watched.prometheus.get("/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def test_an_instance_is_one_target(watched: Watched) -> None:
    """Two workers are one scrape, whose counters are the sum of both."""
    assert len(watched.prometheus.query("up == 1")) == 1
    (sum_,) = watched.prometheus.query('sum(fraud_call_seconds_count{method="Score", code="OK"})')
    assert float(sum_["value"][1]) == CALLS
    workers = {one["metric"]["worker"] for one in watched.prometheus.query("process_resident_memory_bytes")}
    assert workers == {"0", "1", "supervisor"}

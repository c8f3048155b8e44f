"""The numbers of several workers as one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from service.errors import BadSetting
from service.metrics import Metrics
from service.settings import Settings
from service.telemetry.exposition import Exposition, exposed
from service.telemetry.families import collected, from_line, merged, to_line
from service.telemetry.files import MAX_FILE_BYTES, PREFIXES, Files
from service.telemetry.workers import Alone, Workers
from tests.prometheus import free_port, samples, scraped


def registry_with(count: float, waiting: float, *seconds: float) -> CollectorRegistry:
    """Return the metrics of a worker."""
    registry = CollectorRegistry()
    Counter("calls", "A test.", ["code"], registry=registry).labels("OK").inc(count)
    Gauge("waiting", "A test.", registry=registry).set(waiting)
    histogram = Histogram("seconds", "A test.", buckets=(1.0, 2.0), registry=registry)
    for value in seconds:
        histogram.observe(value)
    return registry


def line_of(registry: CollectorRegistry) -> bytes:
    """Return what a worker with these metrics tells."""
    return to_line(collected(registry))


def values(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return samples by name and label values; what tells of this process left out."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for metric in metrics
        for sample in metric.samples
        if not sample.name.startswith("process_")
    }


def told(collector: Collector) -> dict[str, float]:
    """Return what a collector tells, but for how the workers are."""
    return {name: value for name, value in values(collector.collect()).items() if not name.startswith("fraud_worker")}


def test_a_line_says_all() -> None:
    """What a worker tells comes out as it went in, on one line."""
    line = line_of(registry_with(3.0, 7.0, 0.5, float("inf")))
    assert line.count(b"\n") == 1
    assert from_line(line) == collected(registry_with(3.0, 7.0, 0.5, float("inf")))


@pytest.mark.parametrize("line", [b"", b"[[", b"[[1, 2]]", b"7", b'{"a": 1}'])
def test_a_line_that_is_none_is_said_so(line: bytes) -> None:
    """Half a line of a worker that died is an error of its own kind."""
    with pytest.raises(ValueError, match=r".*"):
        from_line(line)


def test_counters_add_up_and_gauges_stay_apart() -> None:
    """Counters and histograms of two workers are one sum; a gauge has a value for each."""
    workers = Workers(2)
    workers.tell(0, line_of(registry_with(3.0, 7.0, 0.5)))
    workers.tell(1, line_of(registry_with(4.0, 8.0, 0.5, 1.5)))
    assert told(workers) == {
        "calls_total OK": 7.0,
        "waiting 0": 7.0,
        "waiting 1": 8.0,
        "seconds_bucket 1.0": 2.0,
        "seconds_bucket 2.0": 3.0,
        "seconds_bucket +Inf": 3.0,
        "seconds_count": 3.0,
        "seconds_sum": 2.5,
    }


def test_what_a_worker_had_counted_outlives_it() -> None:
    """Counters go on from where the dead worker's ended, however often that happens; its gauges are gone."""
    workers = Workers(1)
    for round_ in range(1, 4):
        workers.tell(0, line_of(registry_with(5.0, 1.0, 0.5)))
        assert told(workers)["calls_total OK"] == 5.0 * round_
        workers.ended(0)
        assert told(workers)["calls_total OK"] == 5.0 * round_
        assert "waiting 0" not in told(workers)
    assert values(workers.collect())["fraud_worker_restarts_total 0"] == 3.0


def test_half_a_report_takes_nothing_away() -> None:
    """A worker that dies in the middle of a line is counted by the one before; one that told nothing is no matter."""
    workers = Workers(2)
    whole = line_of(registry_with(5.0, 1.0))
    workers.tell(0, whole)
    workers.tell(0, whole[:100])
    workers.tell(0, b"what a library prints\n")
    workers.ended(0)
    workers.ended(1)
    assert told(workers)["calls_total OK"] == 5.0


def test_one_sees_how_the_workers_are() -> None:
    """How many are to serve, how old each report is, and nothing of one that has not told anything yet."""
    now_s = 10.0
    workers = Workers(2, lambda: now_s)
    workers.tell(1, line_of(registry_with(1.0, 1.0)))
    now_s = 12.5
    found = values(workers.collect())
    assert found["fraud_workers"] == 2.0
    assert {name: value for name, value in found.items() if "report_age" in name} == {
        "fraud_worker_report_age_seconds 1": 2.5
    }


def test_one_process_tells_in_the_same_words() -> None:
    """A service without a supervisor has the same names and labels as one of several workers."""
    registry = registry_with(3.0, 7.0, 0.5)
    workers = Workers(1, lambda: 0.0)
    workers.tell(0, line_of(registry))
    assert values(Alone(registry).collect()) == values(workers.collect())


def test_what_tells_of_a_process_stays_apart() -> None:
    """The CPU seconds of two workers are two numbers, although they are a counter."""
    registry = CollectorRegistry()
    Counter("process_cpu_seconds", "A test.", registry=registry).inc(2.0)
    families = collected(registry)
    (cpu,) = merged({"0": families, "1": families})
    assert [(sample.labels, sample.value) for sample in cpu.samples] == [
        ((("worker", "0"),), 2.0),
        ((("worker", "1"),), 2.0),
    ]


# --- files and the port ---------------------------------------------------------------------------

GAUGE = '# TYPE fraud_judged_recall gauge\nfraud_judged_recall{version="7"} 0.5\n'


def test_gauges_of_files_are_served_along(tmp_path: Path) -> None:
    """Each file's gauges are told with its age; of a sample that two files have the first one's counts."""
    (tmp_path / "a.prom").write_text(GAUGE)
    (tmp_path / "b.prom").write_text(GAUGE.replace("0.5", "0.9") + 'fraud_judged_recall{version="8"} 0.6\n')
    found = values(Files(tmp_path, lambda: (tmp_path / "a.prom").stat().st_mtime + 60.0).collect())
    assert found["fraud_judged_recall 7"] == 0.5
    assert found["fraud_judged_recall 8"] == 0.6
    assert found["fraud_metrics_file_age_seconds a.prom"] == 60.0
    assert found["fraud_metrics_file_bad a.prom"] == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "no metrics at all",
        GAUGE.replace("gauge", "counter"),
        GAUGE.replace("fraud_judged_recall", "fraud_decisions_total"),
        GAUGE + "#" * MAX_FILE_BYTES,
        GAUGE + "\udcff",
    ],
)
def test_a_bad_file_is_told_and_left_out(tmp_path: Path, text: str) -> None:
    """What is no gauge of the offline half, or too much, harms nothing: the other files are told."""
    (tmp_path / "bad.prom").write_text(text, errors="surrogateescape")
    (tmp_path / "good.prom").write_text(GAUGE)
    found = values(Files(tmp_path).collect())
    assert found["fraud_metrics_file_bad bad.prom"] == 1.0
    assert found["fraud_judged_recall 7"] == 0.5
    assert "fraud_metrics_file_age_seconds bad.prom" not in found


def test_no_file_can_tell_what_is_live() -> None:
    """No metric of the service has a name that a file may use."""
    names = [family.name for family in collected(Metrics().registry)]
    assert [name for name in names if name.startswith(PREFIXES)] == []


def test_a_directory_need_not_exist(tmp_path: Path) -> None:
    """Nobody has judged anything yet, and that is no error."""
    assert values(Files(tmp_path / "none").collect()) == {}


def test_prometheus_gets_it_over_http(tmp_path: Path) -> None:
    """The port answers with everything, and gives itself up at the end."""
    settings = Settings(metrics_port=free_port(), metrics_files_path=tmp_path)
    with exposed(settings, Alone(registry_with(3.0, 7.0))) as exposition:
        assert exposition is not None
        assert exposition.port == settings.metrics_port
        assert samples(scraped(exposition.port))['calls_total{code="OK"}'] == 3.0
        with pytest.raises(BadSetting, match="metrics_port"):
            Exposition(settings, CollectorRegistry())
    Exposition(settings, CollectorRegistry()).close()


def test_metrics_are_off_unless_a_port_is_set() -> None:
    """Without a port nothing listens."""
    with exposed(Settings(), CollectorRegistry()) as exposition:
        assert exposition is None

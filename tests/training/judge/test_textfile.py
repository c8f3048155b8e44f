"""Gauges of a command reach node-exporter whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import BadSetting
from training.judge.textfile import Gauge, write_families, write_gauges


def test_a_prometheus_parser_reads_what_was_written(tmp_path: Path) -> None:
    """Names, help, labels with quotes, and numbers come back as they were given."""
    path = tmp_path / "new" / "fraud.prom"
    sample = ({"column": 'a "b"\\\nc', "version": "7"}, 0.1 + 0.2)
    write_families(path, [Gauge("fraud_one", "One.", [sample]), Gauge("fraud_two", "Two.", [({}, 3)])])
    one, two = text_string_to_metric_families(path.read_text("utf-8"))
    assert (one.name, one.type, one.documentation) == ("fraud_one", "gauge", "One.")
    assert [(found.labels, found.value) for found in one.samples] == [sample]
    assert [(found.labels, found.value) for found in two.samples] == [({}, 3.0)]


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """The second write takes the place of the first, and no half-written file stays."""
    path = tmp_path / "fraud.prom"
    for value in (1.0, 2.0):
        write_gauges(path, "fraud_one", "One.", [({}, value)])
    assert path.read_text("utf-8").splitlines()[-1] == "fraud_one 2.0"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """Where a file stands in the way of the folder, the error names the metrics file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match="metrics file"):
        write_gauges(tmp_path / "file" / "fraud.prom", "fraud_one", "One.", [])

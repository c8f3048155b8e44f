"""The commands of the offline half: their exit codes, their sentences, their JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from service.core.features import FEATURES
from service.exit_codes import ExitCode
from tests.training.test_handbook import WEEK, handbook_frame
from training.__main__ import main

COMMANDS = (
    "simulate",
    "import",
    "record",
    "replay",
    "parity",
    "compare",
    "backtest",
    "drift",
    "train",
    "models",
    "promote",
    "rollback",
    "benchmark handbook",
)


class Shell:
    """Runs `python -m training …` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Get what it needs."""
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Return the exit code, standard output and standard error."""
        self._monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def json(self, *arguments: object) -> Any:
        """Return what a command prints with --json; it ends well and says nothing else."""
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return a shell that captures what commands say."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FRAUD_REGISTRY__PATH", raising=False)
    return Shell(monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_a_worked_example(shell: Shell, command: str) -> None:
    """The last line of every help is a call that works."""
    code, out, _ = shell(*command.split(), "--help")
    assert code == ExitCode.OK
    assert f"python -m training {command}" in out.strip().splitlines()[-1]


def test_from_a_market_to_a_promoted_model(shell: Shell, tmp_path: Path) -> None:
    """Simulate, replay, train, promote and roll back, each with JSON for machines."""
    market, registry = tmp_path / "market.parquet", tmp_path / "registry"
    simulated = shell.json("simulate", market, "--purchases", 3000, "--fraud-rate", 0.06)
    assert simulated["purchases"] == 3000

    replayed = shell.json("replay", market, tmp_path / "rows.parquet")
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert (replayed["rows"], rows.height) == (3000, 3000)
    assert rows.columns[-len(FEATURES) :] == [feature.name for feature in FEATURES]

    options = ("--registry", registry, "--parameter", "num_iterations=5")
    assert [shell.json("train", market, *options)["version"] for _ in range(2)] == [1, 2]
    assert shell.json("promote", 1, "--registry", registry)["champion"] == 1
    forced = ("--force", "--why", "trained before there was a champion")
    assert shell.json("promote", 2, *forced, "--registry", registry)["champion"] == 2
    assert [one["role"] for one in shell.json("models", "--registry", registry)] == ["", "champion"]
    assert shell.json("rollback", "--registry", registry)["champion"] == 1


def test_an_import_tells_what_it_left_out(shell: Shell, tmp_path: Path) -> None:
    """A bad row is counted, and strict makes it an error with the code for bad input."""
    data = tmp_path / "data.parquet"
    handbook_frame(days=1).with_columns(
        TX_AMOUNT=pl.when(pl.col("TRANSACTION_ID") == 3).then(-1.0).otherwise("TX_AMOUNT")
    ).write_parquet(data)
    arguments = ("import", data, tmp_path / "events.parquet", "--mapping", "handbook")
    code, out, _ = shell(*arguments, "--json")
    assert (code, json.loads(out)["rejected"]) == (ExitCode.OK, 1)
    assert shell(*arguments, "--strict")[0] == ExitCode.BAD_INPUT


def test_the_benchmark_prints_weeks_and_mean(shell: Shell, tmp_path: Path) -> None:
    """One object with `weeks` and `mean`, and a file of scores for every row of the weeks."""
    data, out = tmp_path / "data.parquet", tmp_path / "scores.parquet"
    handbook_frame().write_parquet(data)
    found = shell.json(
        *("benchmark", "handbook", "--data", data, "--first-test-week", WEEK, "--weeks", 1, "--out", out)
    )
    assert [week["first_day"] for week in found["weeks"]] == [WEEK.isoformat()]
    assert found["mean"] == {name: found["weeks"][0][name] for name in ("auc", "ap", "cp100")}
    assert pl.read_parquet(out).columns == ["transaction_id", "score"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("train", "nowhere.parquet"), ExitCode.BAD_SETTING, "nowhere.parquet"),
        (("train", "text.parquet"), ExitCode.BAD_SETTING, "is not a Parquet file"),
        (("train", "nowhere.parquet", "--seed", "-1"), ExitCode.USAGE, "--seed"),
        (("train", "nowhere.parquet", "--habits", "whims"), ExitCode.USAGE, "--habits"),
        (("train", "nowhere.parquet", "--parameter", "fast"), ExitCode.USAGE, "is not name=value"),
        (("replay", "nowhere.parquet", "rows.parquet"), ExitCode.BAD_SETTING, "nowhere.parquet"),
        (("simulate", "market.parquet", "--purchases", "1"), ExitCode.USAGE, "--purchases"),
        (("promote", "7"), ExitCode.BAD_SETTING, "version 7 is not in the registry"),
        (("promote", "first"), ExitCode.USAGE, "version"),
        (("rollback",), ExitCode.BAD_SETTING, "nothing to roll back to"),
        (("import", "text.parquet", "o", "--mapping", "no.toml"), ExitCode.BAD_SETTING, "mapping no.toml"),
        (("benchmark", "handbook", "--data", "nowhere.parquet"), ExitCode.BAD_SETTING, "nowhere.parquet"),
        (("benchmark", "handbook", "--data", "other.parquet"), ExitCode.BAD_SETTING, "column"),
        (("benchmark", "handbook", "--data", "text.parquet", "--weeks", "0"), ExitCode.USAGE, "--weeks"),
    ],
)
def test_a_foreseeable_mistake_is_a_sentence_and_a_code(
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: ExitCode,
    sentence: str,
) -> None:
    """What people get wrong ends with a named code and names what is wrong, without a traceback."""
    monkeypatch.chdir(tmp_path)
    Path("text.parquet").write_text("not parquet", encoding="utf-8")
    pl.DataFrame({"a": [1]}).write_parquet("other.parquet")
    ended, out, err = shell(*arguments)
    assert (ended, out) == (code, "")
    assert sentence in err
    assert "Traceback" not in err

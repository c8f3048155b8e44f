"""The commands train, runs, score and retrain: their exit codes, their sentences, their JSON."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import polars as pl
import pytest

from service.exit_codes import ExitCode
from tests.training.learning.shop import Shop, open_shop
from tests.training.test_cli import Shell
from training.cli.job import RetrainCode
from training.learning.runs import sole_run

QUICK = ("--parameter", "num_iterations=5", "--parameter", "num_threads=1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a shop whose whole market is recorded."""
    shop = open_shop(tmp_path_factory.mktemp("shop"))
    shop.record()
    return shop.folder


@pytest.fixture
def shop(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Work in a shop of the test's own, whose settings are found in the environment."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUD_STORE__LMDB__PATH", "store")
    monkeypatch.setenv("FRAUD_STORE__LMDB__MAX_SIZE_BYTES", str(1 << 30))
    return Shop(tmp_path)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return a shell that captures what commands say."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("REGISTRY__PATH", "RUNS", "SNAPSHOTS"):
        monkeypatch.delenv(f"FRAUD_{name}", raising=False)
    return Shell(monkeypatch, capsys)


@pytest.mark.parametrize("command", ["train", "runs", "score", "retrain"])
def test_help_ends_in_a_worked_example(shell: Shell, command: str) -> None:
    """The last line of every help is a call that works."""
    code, out, _ = shell(command, "--help")
    assert code == ExitCode.OK
    assert f"python -m training {command}" in out.strip().splitlines()[-1]


@pytest.mark.usefixtures("shop")
def test_a_job_says_by_its_exit_code_what_happened(shell: Shell) -> None:
    """Promoted, nothing to do, not better, busy: each has a code of its own, and JSON says why."""
    job = ("retrain", "--json", "--max-events-per-s", 0, *QUICK)
    assert shell(*job, "--help")[1].count("10 one was published") == 1
    code, out, _ = shell(*job)
    done = json.loads(out)
    assert (code, done["outcome"], done["version"], done["snapshot"]) == (0, "promoted", 1, "s000001")
    assert shell(*job)[0] == RetrainCode.NOTHING_TO_DO
    assert shell(*job, "--only-if-older-than", 7, "--seed", 8)[0] == RetrainCode.NOTHING_TO_DO
    assert shell(*job, "--margin", 0.9, "--seed", 8)[0] == RetrainCode.NOT_PROMOTED
    with sole_run(Path("var/runs"), "retrain"):
        assert shell(*job)[0] == RetrainCode.BUSY
    listed = shell.json("runs")
    assert [(run["command"], run["state"], run["version"]) for run in listed] == [
        ("retrain", "finished", 2),
        ("retrain", "finished", 1),
    ]

    scored = shell.json("score", "--snapshot", "latest", "scores.parquet")
    assert (scored["version"], scored["rows"]) == (1, pl.read_parquet("scores.parquet").height)
    assert stat.S_IMODE(Path("scores.parquet").stat().st_mode) == 0o600


@pytest.mark.usefixtures("shop")
def test_a_search_is_resumed_by_its_run(shell: Shell) -> None:
    """An experiment with a search is listed with its trials; finished, it is not resumed."""
    arguments = ("train", "market.parquet", "--no-publish", "--tune", 2, *QUICK)
    assert shell.json(*arguments)["version"] is None
    [run] = shell.json("runs")
    assert (run["trials"], run["parameters"]["num_threads"], run["options"]["features"]) == (2, 1, [])
    code, _, err = shell("train", "market.parquet", "--resume", run["id"])
    assert (code, "is finished" in err) == (ExitCode.BAD_SETTING, True)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("train",), ExitCode.USAGE, "--snapshot"),
        (("train", "market.parquet", "--snapshot", "latest"), ExitCode.USAGE, "and not both"),
        (("train", "--snapshot", "latest"), ExitCode.BAD_SETTING, "var/snapshots"),
        (("train", "market.parquet", "--tune", "-1"), ExitCode.USAGE, "--tune"),
        (("train", "market.parquet", "--resume", "yesterday"), ExitCode.BAD_SETTING, "yesterday is not in"),
        (("score", "--events", "market.parquet", "out.parquet"), ExitCode.BAD_SETTING, "nothing was promoted yet"),
        (("retrain", "--margin", "2"), ExitCode.USAGE, "--margin"),
        (("retrain", "--review-rate", "2"), ExitCode.USAGE, "--review-rate"),
        (("retrain", "--config", "nowhere.toml"), ExitCode.BAD_SETTING, "nowhere.toml"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_foreseeable_mistake_is_a_sentence_and_a_code(
    shell: Shell, arguments: tuple[str, ...], code: ExitCode, sentence: str
) -> None:
    """What people get wrong ends with a named code and names what is wrong, without a traceback."""
    ended, out, err = shell(*arguments)
    assert (ended, out) == (code, "")
    assert sentence in err
    assert "Traceback" not in err

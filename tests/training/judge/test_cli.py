"""The commands compare, backtest and drift: their output, their files, their exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.exit_codes import ExitCode
from tests.training.judge.served import PURCHASES
from tests.training.test_cli import Shell
from training.data.events import write


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], market: Path) -> Shell:
    """Give a shell in which the market's folders are set."""
    monkeypatch.setenv("FRAUD_SNAPSHOTS", str(market / "snapshots"))
    monkeypatch.setenv("FRAUD_REGISTRY__PATH", str(market / "registry"))
    monkeypatch.setenv("COLUMNS", "100")
    return Shell(monkeypatch, capsys)


def gauges(path: Path) -> dict[str, dict[str, float]]:
    """Return the values of a metrics file by name and then by version."""
    families = text_string_to_metric_families(path.read_text("utf-8"))
    return {one.name: {sample.labels["version"]: sample.value for sample in one.samples} for one in families}


def test_compare_says_what_it_stands_on(shell: Shell, tmp_path: Path) -> None:
    """JSON holds every version with its counts, metrics, intervals and differences; gauges hold the same."""
    path = tmp_path / "fraud.prom"
    found = shell.json("compare", "--label-delay-days", 3, "--metrics", path)
    champion, two, three = found["versions"]
    assert (found["champion"], champion["version"], two["version"], three["version"]) == (1, 1, 2, 3)
    assert champion["purchases"] == two["purchases"] == found["judged"]
    assert three["answered"] == 0 < two["answered"] < two["shadowed"]
    assert three["purchases"] < two["purchases"] < PURCHASES
    precision = two["metrics"]["average_precision"]
    assert precision["low"] <= precision["value"] <= precision["high"]
    assert two["difference"]["average_precision"]["value"] == pytest.approx(
        precision["value"] - two["champion"]["average_precision"]["value"]
    )
    measured = gauges(path)
    assert measured["fraud_judged_average_precision"]["2"] == precision["value"]
    assert measured["fraud_judged_recall_low"]["2"] == two["metrics"]["recall_at_0.02"]["low"]
    assert measured["fraud_judged_purchases"] == {str(one["version"]): one["purchases"] for one in found["versions"]}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("compare", "--label-delay-days", 3), id="compare"),
        pytest.param(("backtest", "--label-delay-days", 3, "--blend", "1,2"), id="backtest"),
        pytest.param(("drift", "--days", 20), id="drift"),
    ],
)
def test_people_get_tables_that_fit(shell: Shell, arguments: tuple[Any, ...]) -> None:
    """No line is wider than a hundred columns, and nothing is cut off."""
    code, out, _ = shell(*arguments)
    assert code == ExitCode.OK
    assert max(map(len, out.splitlines())) <= 100
    assert "…" not in out


def test_a_cutoff_in_the_past_sees_less(shell: Shell) -> None:
    """As of an earlier day there are fewer purchases and fewer frauds."""
    now = shell.json("compare", "--label-delay-days", 3)
    then = shell.json("compare", "--label-delay-days", 3, "--cutoff", "2026-08-20")
    assert 0 < then["purchases"] < now["purchases"]
    assert 0 < then["frauds"] < now["frauds"]


def test_backtest_tells_and_writes_what_changes(shell: Shell, tmp_path: Path) -> None:
    """JSON has both sides, and the file every purchase that is decided otherwise, by its own id."""
    out = tmp_path / "changed.parquet"
    found = shell.json("backtest", "--label-delay-days", 3, "--review", 0.0868, "--decline", 0.5, "--out", out)
    assert found["thresholds"] == "as given: 0.0868, 0.5"
    assert sum(found["now"]["decided"].values()) == sum(found["then"]["decided"].values()) == found["purchases"]
    caught = found["effects"]["frauds_caught"]
    assert caught["now"]["purchases"] >= caught["then"]["purchases"]
    changed = pl.read_parquet(out)
    assert changed.height == found["changed"] > 0
    assert changed["purchase_id"].str.starts_with("p-").all()


POLICY = """[[limits]]
code = "new-large"
all = [{ feature = "user_tenure", within = "30d" }]
amount_more_than_minor = 60_000
decision = "DECLINE"
text = "a new user spends much"

[[limits]]
code = "busy-card"
feature = "purchases_1h_by_card"
more_than = 5
decision = "REVIEW"
text = "the card is busy"
"""


def test_backtest_tells_what_each_rule_of_a_policy_does(shell: Shell, tmp_path: Path) -> None:
    """What it changes is what changes in all; a limit on what was not served is named, with its feature."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, "utf-8")
    call = ("backtest", "--label-delay-days", 3, "--policy", path)
    found = shell.json(*call)
    large, busy = found["rules"]
    assert (large["code"], large["asks"], large["not_judged"]) == ("limit:new-large", "decline", 0)
    assert found["changed"] == large["changes"] > 0
    caught = found["effects"]["frauds_caught"]
    assert large["frauds"]["purchases"] == caught["now"]["purchases"] - caught["then"]["purchases"] > 0
    assert (busy["holds"], busy["lacking"]) == (0, {"purchases_1h_by_card": found["decided_anew"]})
    code, out, _ = shell(*call)
    assert code == ExitCode.OK
    assert "limit:busy-card is not judged on 117 decisions: their rows were served without purchases_1h_by_card" in out
    assert max(map(len, out.splitlines())) <= 100


def test_backtest_names_patterns(shell: Shell, tmp_path: Path) -> None:
    """With a simulated event file the frauds are told apart by what they were."""
    path = tmp_path / "market.parquet"
    named = [f"p-{n}" for n in range(0, PURCHASES, 14)]
    write(
        path,
        [pl.DataFrame({"purchase_id": named, "kind": [4] * len(named), "pattern": ["stolen_card"] * len(named)})],
        {},
    )
    found = shell.json("backtest", "--label-delay-days", 3, "--review", 0.2, "--patterns", path)
    by_pattern = {one["pattern"]: one["frauds"] for one in found["patterns"]}
    assert set(by_pattern) == {"stolen_card", "not named"}
    assert sum(by_pattern.values()) == found["frauds"]


def test_a_version_that_cannot_be_judged_is_said(shell: Shell) -> None:
    """A version with a feature that was never served is refused with the remedy, as a bad setting."""
    code, _, err = shell("backtest", "--version", 5, "--label-delay-days", 3)
    assert code == ExitCode.BAD_SETTING
    assert "seller_tenure" in err
    assert "training shadow 5" in err


def test_drift_fails_only_above_the_limit(shell: Shell, tmp_path: Path) -> None:
    """Without a limit drift is told; above one the exit code says so, after everything was written."""
    path = tmp_path / "drift.prom"
    found = shell.json("drift", "--days", 20)
    largest, one = next(iter(found["columns"].items()))
    assert (found["version"], found["drifted"]) == (1, [])
    assert shell("drift", "--days", 20, "--fail-above", one["value"])[0] == ExitCode.OK
    code, _, err = shell("drift", "--days", 20, "--fail-above", one["value"] - 0.001, "--metrics", path)
    assert code == ExitCode.FAILED
    assert largest in err
    assert f'column="{largest}"}} {one["value"]!r}' in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("backtest",), ExitCode.USAGE, "say what should have decided"),
        (("backtest", "--review", 0.5, "--decline", 0.1), ExitCode.USAGE, "--review lies above"),
        (("backtest", "--blend", "1"), ExitCode.USAGE, "two versions or more"),
        (("backtest", "--blend", "1,x"), ExitCode.USAGE, "not a list of versions"),
        (("backtest", "--blend", "1,2", "--version", "1"), ExitCode.USAGE, "not both"),
        (("compare", "--label-delay-days", 1000), ExitCode.BAD_SETTING, "none of the"),
        (("compare", "--champion", 9, "--label-delay-days", 3), ExitCode.BAD_SETTING, "version 9 scored none"),
        (("compare", "--snapshot", "s000099"), ExitCode.BAD_SETTING, "s000099"),
        (("drift", "--registry", "nowhere"), ExitCode.NOT_FOUND, "no champion"),
    ],
)
def test_wrong_calls_are_one_sentence(shell: Shell, arguments: tuple[Any, ...], code: ExitCode, sentence: str) -> None:
    """What is wrong is said by its option or file, with the exit code for who must act."""
    ended, _, err = shell(*arguments)
    assert ended == code
    assert sentence in " ".join(err.replace("│", " ").split())

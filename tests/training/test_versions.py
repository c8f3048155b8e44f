"""The commands on the life of a version: what they show, what they change, what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.core.features import FEATURES
from service.exit_codes import ExitCode
from service.registry.manifest import Comparison, Interval, Source, Split, TimeRange
from service.registry.promotion import promote
from tests.registry.bucket import environment, make_bucket, s3_server
from tests.registry.build import build_artifact
from tests.training.test_cli import Shell

COMMANDS = ("models", "show", "diff", "history", "attach", "promote", "rollback", "shadow", "blend", "canary", "retire")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry with three versions, the first one champion."""
    registry = tmp_path_factory.mktemp("template") / "registry"
    for number in (1, 2, 3):
        build_artifact(
            registry,
            FEATURES[: 3 + number],
            seed=number,
            trees=2,
            notes=f"try [b]{number}[/x]",
            parameters={"num_leaves": 6 + number, "learning_rate": 0.1},
            libraries={"lightgbm": "4.6.0" if number < 3 else "4.7.0"},
            metrics={"test": {"average_precision": Interval(value=0.7 + number / 100, low=0.6, high=0.8)}},
            source=Source(id="s-1", content_sha256="0" * 64, rows=1000 * number, frauds=10),
            split=Split(train=TimeRange(begin_ms=0, end_ms=86_400_000), gap_ms=1, label_delay_ms=604_800_000),
            comparison=Comparison(
                champion=1,
                metric="average_precision",
                candidate_value=0.72,
                champion_value=0.71,
                difference=Interval(value=0.01, low=-0.02, high=0.04),
                rows=5000,
                frauds=50,
                overlap=True,
            ),
        )
    promote(registry, 1, "ann", "first", at_ms=0)
    return registry


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return a shell that captures what commands say."""
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_a_worked_example(shell: Shell, command: str) -> None:
    """The last line of every help is a call that works."""
    code, out, _ = shell(command, "--help")
    assert code == ExitCode.OK
    assert f"python -m training {command}" in out.strip().splitlines()[-1]


def test_models_tells_what_each_version_is(shell: Shell, registry: Path) -> None:
    """Roles, precision with its interval, thresholds and parents; notes as they were written."""
    assert registry.exists()
    shell.json("shadow", 2, 3)
    shell.json("canary", 3, "--share", 0.05)
    assert [one["role"] for one in shell.json("models")] == ["champion", "shadow", "canary 5 %"]
    shell.json("blend", 2, 3)
    assert [one["role"] for one in shell.json("models")] == ["champion + shadow", "blend", "blend"]
    assert (shell.json("models")[0]["average_precision"], shell.json("models")[0]["average_precision_low"]) == (
        0.71,
        0.6,
    )
    _, out, _ = shell("models")
    assert "0.7100 (0.6000 … 0.8000)" in out
    assert "try [b]3[/x]" in out


def test_a_version_whose_manifest_is_broken_hides_no_other_one(shell: Shell, registry: Path) -> None:
    """It is listed with what is wrong with it."""
    (registry / "versions" / "000002" / "manifest.json").write_text("{")
    listed = shell.json("models")
    assert [one["version"] for one in listed] == [1, 2, 3]
    assert listed[1]["notes"].startswith("not readable: manifest.json")


def test_show_tells_everything_of_a_version_and_what_became_of_it(shell: Shell, registry: Path) -> None:
    """All that the manifest says, under headings, and the lines of the history that changed its role alone."""
    assert registry.exists()
    shell.json("promote", 2, "--why", "better in July", "--who", "bob")
    shell.json("promote", 1, "--force", "--why", "worse in August", "--who", "eve")
    shown = shell.json("show", 2)
    assert (shown["role"], shown["manifest"]["version"]) == ("", 2)
    assert [(one["who"], one["became"]) for one in shown["history"]] == [("eve", ""), ("bob", "champion")]
    _, out, _ = shell("show", 2)
    for text in (
        "against the champion",
        "0.7200 against 0.7100",
        "the champion learned from some of these purchases",
        "1970-01-01 00:00:00 … 1970-01-02 00:00:00",
        "7 days",
        "user_tenure",
        "as declared",
        "better in July",
        "try [b]2[/x]",
    ):
        assert text in out


def test_diff_tells_only_what_differs(shell: Shell, registry: Path) -> None:
    """Features, parameters, metrics, data and libraries, each with both sides."""
    assert registry.exists()
    found = shell.json("diff", 2, 3)
    assert found["features"] == {FEATURES[5].name: ["", "used"]}
    assert found["parameters"] == {"num_leaves": ["8", "9"]}
    assert found["metrics"] == {"test, average precision": ["0.7200 (0.6000 … 0.8000)", "0.7300 (0.6000 … 0.8000)"]}
    assert found["data"] == {"purchases": ["2,000", "3,000"]}
    assert found["libraries"] == {"lightgbm": ["4.6.0", "4.7.0"]}
    assert "thresholds" not in found
    assert shell.json("diff", 2, 2) == {}
    assert "num_leaves" in shell("diff", 2, 3)[1]


def test_history_tells_who_did_what_and_why(shell: Shell, registry: Path) -> None:
    """The newest first, in words, with what was overruled."""
    assert registry.exists()
    shell.json("promote", 3, "--margin", 0.05, "--force", "--why", "we must", "--who", "bob")
    shell.json("rollback", "--who", "eve")
    shell.json("retire", 3, "--why", "wrong labels", "--who", "eve")
    found = shell.json("history")
    assert [(one["revision"], one["who"], one["what"], one["why"]) for one in found] == [
        (4, "eve", "version 3 was retired", "wrong labels"),
        (3, "eve", "back to revision 1: version 1 answers", ""),
        (2, "bob", "version 3 answers", "we must"),
        (1, "ann", "version 1 answers", "first"),
    ]
    assert found[2]["forced"].startswith("version 3 is not better than the champion, version 1, by 0.05")
    assert len(shell.json("history", "--limit", 2)) == 2
    assert "overruled: version 3 is not better" in " ".join(shell("history")[1].split())
    assert [one["role"] for one in shell.json("models")] == ["champion", "", "retired"]
    assert shell.json("show", 3)["role"] == "retired"


def test_a_damaged_lineup_is_looked_at_and_repaired(shell: Shell, registry: Path) -> None:
    """Looking goes on with the newest lineup of the history, and says so; a rollback restores it."""
    shell.json("promote", 2)
    (registry / "lineup.json").write_text("damaged")
    code, out, err = shell("models", "--json")
    assert (code, [one["role"] for one in json.loads(out)]) == (ExitCode.OK, ["", "champion", ""])
    assert "roles are those of revision 2, which a rollback restores" in " ".join(err.split())
    code, _, err = shell("promote", 1, "--force", "--why", "now")
    assert (code, "`training rollback` restores" in err) == (ExitCode.BAD_SETTING, True)
    assert shell.json("rollback", "--why", "damaged")["champion"] == 2
    assert shell.json("history")[0]["what"] == "revision 2 was restored"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("promote", 3, "--margin", 0.02), ExitCode.BAD_SETTING, "is not better than the champion, version 1, by 0.02"),
        (("promote", 3, "--force"), ExitCode.BAD_SETTING, "say why"),
        (("promote", 3, "--config", "no.toml"), ExitCode.BAD_SETTING, "no.toml"),
        (("rollback",), ExitCode.BAD_SETTING, "nothing to roll back to"),
        (("shadow",), ExitCode.USAGE, "name versions, or give --none"),
        (("shadow", 2, "--none"), ExitCode.USAGE, "name versions, or give --none"),
        (("blend", 2), ExitCode.BAD_SETTING, "two versions"),
        (("blend", 2, 3, "--review", 2), ExitCode.USAGE, "--review"),
        (("canary", 2), ExitCode.USAGE, "--share"),
        (("canary", 2, "--share", 1.5), ExitCode.BAD_SETTING, "between 0 and 1"),
        (("retire", 2), ExitCode.USAGE, "--why"),
        (("retire", 1, "--why", "old"), ExitCode.BAD_SETTING, "is live (champion)"),
        (("show", 9), ExitCode.NOT_FOUND, "version 9 is not in the registry"),
        (("diff", 1, 9), ExitCode.NOT_FOUND, "version 9 is not in the registry"),
        (("attach", "s3://bucket/models"), ExitCode.BAD_SETTING, "is a registry of its own"),
    ],
)
def test_a_foreseeable_mistake_is_a_sentence_and_a_code(
    shell: Shell, registry: Path, arguments: tuple[object, ...], code: ExitCode, sentence: str
) -> None:
    """Nothing is changed by it, and there is no traceback."""
    ended, out, err = shell(*arguments)
    assert (ended, out) == (code, "")
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
    assert json.loads((registry / "lineup.json").read_text())["revision"] == 1


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty folder on an object store."""
    with s3_server(tmp_path / "plan") as address, environment(address):
        yield make_bucket(address, "models-of-commands")


def test_commands_work_on_a_registry_on_an_object_store(shell: Shell, tmp_path: Path, url: str) -> None:
    """What one copy changes, the other one sees; when the store is away, looking goes on and says so."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    assert shell.json("attach", url, "-r", mine) == {"registry": str(mine), "remote": url, "versions": []}
    for seed in (1, 2):
        build_artifact(mine, FEATURES[:4], seed=seed, trees=2)
    assert shell.json("attach", url, "-r", other)["versions"] == [1, 2]
    shell.json("promote", 2, "--why", "first", "-r", other)
    assert [one["role"] for one in shell.json("models", "-r", mine)] == ["", "champion"]
    assert shell.json("history", "-r", mine)[0]["why"] == "first"
    with pytest.MonkeyPatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        (other / "remote").write_text(f"{url}-away\n")  # a URL that this process has no connection to yet
        code, out, err = shell("models", "--json", "-r", other)
    assert (code, [one["role"] for one in json.loads(out)]) == (ExitCode.OK, ["", "champion"])
    assert "this is the copy as it was last brought up to date" in " ".join(err.split())

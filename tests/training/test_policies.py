"""The commands on the decision policy: what they show, what they change, what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.core.features import FEATURES
from service.exit_codes import ExitCode
from service.registry.lineup_file import read_lineup
from service.registry.policy_file import policy_path
from service.registry.promotion import promote
from tests.registry.build import build_artifact
from tests.training.test_cli import Shell

WRITTEN = """# Slow them down.
about = "card [b]testing[/x]"

[degraded]
by_kind = { item = "score" }

[[limits]]
code = "busy-card"
feature = "purchases_1h_by_card"
more_than = 5
decision = "REVIEW"
text = "the card was used more than 5 times [in] an hour"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry with two versions, the first one champion."""
    registry = tmp_path_factory.mktemp("template") / "registry"
    for seed in range(2):
        build_artifact(registry, FEATURES[:4], seed=seed, trees=2)
    promote(registry, 1, "ann", "first", at_ms=0)
    return registry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a policy file."""
    path = tmp_path / "policy.toml"
    path.write_text(WRITTEN, "utf-8")
    return path


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], registry: Path) -> Shell:
    """Return a shell that works on the registry."""
    assert registry.is_dir()
    return Shell(monkeypatch, capsys)


@pytest.mark.parametrize("command", ["check", "activate", "deactivate", "show", "list"])
def test_help_ends_in_a_worked_example(shell: Shell, command: str) -> None:
    """Whoever asks for help sees a call that works."""
    code, out, _ = shell("policy", command, "--help")
    assert code == ExitCode.OK
    assert f"python -m training policy {command}" in out


def test_check_tells_how_it_was_understood(shell: Shell, path: Path, registry: Path) -> None:
    """Each limit in words, what lists and degraded answers decide, and which features are for the policy alone."""
    code, out, err = shell("policy", "check", path)
    assert (code, err) == (ExitCode.OK, "")
    for words in (
        "purchases_1h_by_card more than 5",
        "[in] an hour",
        "card [b]testing[/x]",
        "as scoring.degraded_rule; item unreadable: score",
        "APPROVE, and overrules the score, degraded and limits",
        "No live model uses purchases_1h_by_card",
    ):
        assert words in out
    assert not (registry / "policies").exists()
    assert shell.json("policy", "check", path)["features_of_no_live_model"] == ["purchases_1h_by_card"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            WRITTEN.replace("more_than", "morethan"),
            "limit busy-card: morethan: is not known; did you mean 'more_than'?",
        ),
        ("\x00\xff", "is not valid TOML"),
    ],
)
def test_a_mistake_ends_every_command_with_one_sentence(shell: Shell, path: Path, content: str, sentence: str) -> None:
    """The file, the rule and the field are named, and nothing is published."""
    path.write_text(content, "utf-8")
    for command in (("policy", "check", path), ("policy", "activate", path, "--why", "x")):
        code, out, err = shell(*command)
        assert (code, out) == (ExitCode.BAD_SETTING, "")
        assert err.count("\n") == 1
        assert str(path) in err
        assert sentence.removeprefix("is ") in err


def test_a_file_that_is_not_there_or_no_text(shell: Shell, path: Path) -> None:
    """Both are said in a sentence."""
    assert "cannot be read: No such file or directory" in shell("policy", "check", "nowhere.toml")[2]
    path.write_bytes(b"\xff\xfe")
    assert "is not text in UTF-8" in shell("policy", "check", path)[2]


def test_an_activation_is_told_and_kept(shell: Shell, path: Path, registry: Path) -> None:
    """It decides from then on; list, show and history say who did it and why."""
    code, out, _ = shell("policy", "activate", path, "--why", "card testing", "--who", "bob")
    assert code == ExitCode.OK
    assert "Revision 2: policy 1 decides." in out
    lineup = read_lineup(registry)
    assert lineup is not None
    assert lineup.policy == 1
    (listed,) = shell.json("policy", "list")
    assert (listed["version"], listed["role"], listed["who"], listed["limits"], listed["why"]) == (
        1,
        "active",
        "bob",
        1,
        "card testing",
    )
    shown = shell.json("policy", "show")
    assert (shown["role"], shown["version"], shown["source"]) == ("active", 1, WRITTEN)
    assert [line["why"] for line in shown["history"]] == ["card testing"]
    assert "card testing" in shell("policy", "show")[1]
    assert shell("policy", "show", 1, "--toml")[1] == WRITTEN
    assert shell.json("history")[0]["what"] == "policy 1 decides"


def test_what_was_activated_is_undone(shell: Shell, path: Path) -> None:
    """A rollback and a deactivation each leave no policy, and a number brings one back."""
    shell.json("policy", "activate", path, "--why", "a")
    assert shell.json("rollback")["policy"] == 0
    assert shell.json("policy", "activate", "1", "--why", "b") == {"policy": 1, "lineup_revision": 4}
    assert shell.json("policy", "deactivate", "--why", "c")["policy"] == 0
    what = [one["what"] for one in shell.json("history")]
    assert what[:3] == ["no policy decides", "policy 1 decides", "back to revision 1: no policy decides"]
    assert [one["why"] for one in shell.json("policy", "list")] == ["b"]


def test_the_same_file_is_published_once(shell: Shell, path: Path) -> None:
    """Activated again after another one, it has the number that it had."""
    shell.json("policy", "activate", path, "--why", "a")
    path.write_text(WRITTEN.replace("5", "6"), "utf-8")
    assert shell.json("policy", "activate", path, "--why", "b")["policy"] == 2
    path.write_text(WRITTEN, "utf-8")
    assert shell.json("policy", "activate", path, "--why", "c")["policy"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("activate", "9", "--why", "x"), ExitCode.BAD_SETTING, "policy 9 is not in the registry"),
        (("activate", "0", "--why", "x"), ExitCode.USAGE, "policies are numbered from 1"),
        (("activate", "FILE", "--why", " "), ExitCode.USAGE, "say why"),
        (("activate", "FILE"), ExitCode.USAGE, "Missing option '--why'"),
        (("deactivate", "--why", "x"), ExitCode.BAD_SETTING, "no policy is active"),
        (("show",), ExitCode.NOT_FOUND, "no policy is active"),
        (("show", "4"), ExitCode.NOT_FOUND, "policy 4 is not in the registry"),
    ],
)
def test_what_is_refused(shell: Shell, path: Path, arguments: tuple[str, ...], code: ExitCode, sentence: str) -> None:
    """A wrong call, a missing policy and nothing to undo each have their exit code and their sentence."""
    named = [str(path) if argument == "FILE" else argument for argument in arguments]
    ended, _, err = shell("policy", *named)
    assert ended == code
    assert sentence in err
    assert shell.json("policy", "list") == []


def test_a_damaged_policy_is_listed_with_what_is_wrong(shell: Shell, path: Path, registry: Path) -> None:
    """The others are listed all the same."""
    shell.json("policy", "activate", path, "--why", "a")
    policy_path(registry, 2).write_bytes(b"broken")
    assert [(one["version"], one["about"]) for one in shell.json("policy", "list")] == [
        (1, "card [b]testing[/x]"),
        (2, "cannot go live: policy 2: its file is damaged: it is no published policy"),
    ]
    assert "its file is damaged" in shell("policy", "list")[1]

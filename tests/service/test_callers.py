"""The file of callers, and the commands that keep it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.callers import (
    Entry,
    add_caller,
    as_toml,
    new_token,
    parse_callers,
    read_callers,
    remove_callers,
    token_sha256,
)
from service.errors import BadSetting
from service.exit_codes import ExitCode
from tests.running import ROOT

HASH = token_sha256("one")
PATH = Path("callers.toml")


def make_entry(name: str = "checkout", **fields: Any) -> Entry:
    """Return an entry."""
    values = {"token_sha256": "" if "certificate" in fields else token_sha256(name), "roles": {"score"}}
    return Entry(name=name, **(values | fields))


def tokens(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m service tokens …`."""
    command = [sys.executable, "-m", "service", "tokens", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    "entry",
    [
        make_entry(),
        make_entry(roles={"score", "record", "read", "admin"}, calls_per_s=0.1),
        make_entry(calls_per_s=123456.789, expires=datetime(2027, 1, 31, 1, 2, 3, tzinfo=UTC)),
        make_entry(certificate='CN "quoted" \\ back\tslash é'),
    ],
)
def test_what_is_written_is_read(entry: Entry) -> None:
    """Every field comes back as it was."""
    assert parse_callers(as_toml(entry), PATH, 10) == (entry,)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "x', r"not valid TOML"),
        ("callers = 1", r"must hold \[\[caller\]\] entries and nothing else"),
        ("caller = 1", r"must hold \[\[caller\]\] entries and nothing else"),
        (f'[[caller]]\nname = "a b"\ntoken_sha256 = "{HASH}"\nroles = ["score"]', r"entry 1, name: "),
        ('[[caller]]\nname = "a"\ntoken_sha256 = "fraud_secret"\nroles = ["score"]', r"entry 1, token_sha256: "),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{HASH}"\nroles = ["boss"]', r"entry 1, roles\.0: "),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{HASH}"\nroles = []', r"entry 1, roles: "),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{HASH}"\nroles = ["score"]\nrate = 3', r"entry 1, rate: "),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{HASH}"\nroles = ["score"]\ncalls_per_s = 0', r"calls_per_s: "),
        ('[[caller]]\nname = "a"\nroles = ["score"]', r"entry 1: must have either token_sha256 or certificate"),
        (
            f'[[caller]]\nname = "a"\ntoken_sha256 = "{HASH}"\nroles = ["score"]\nexpires = 2027-01-31T00:00:00',
            r"entry 1: expires must tell its time zone",
        ),
    ],
)
def test_what_is_wrong_is_said_without_repeating_it(text: str, sentence: str) -> None:
    """The sentence names file, entry and field; a token that stands where its hash belongs is not repeated."""
    with pytest.raises(BadSetting, match=rf"callers callers\.toml: .*{sentence}") as error:
        parse_callers(text, PATH, 10)
    assert "secret" not in str(error.value)


def test_one_token_is_one_caller() -> None:
    """The same proof twice would be two callers in one."""
    text = as_toml(make_entry("a", token_sha256=HASH)) + as_toml(make_entry("b", token_sha256=HASH))
    with pytest.raises(BadSetting, match="entries 1 and 2 have the same token"):
        parse_callers(text, PATH, 10)


def test_one_name_has_one_rate() -> None:
    """Entries of a name share its rate, so they must agree on it."""
    text = as_toml(make_entry("a", calls_per_s=1)) + as_toml(make_entry("a", token_sha256=HASH, calls_per_s=2))
    with pytest.raises(BadSetting, match="entry 2: a has another calls_per_s further up"):
        parse_callers(text, PATH, 10)


def test_entries_are_bounded(tmp_path: Path) -> None:
    """One more than access.max_callers is refused, and the file stays as it was."""
    path = tmp_path / "callers.toml"
    add_caller(path, make_entry("a"), 1)
    with pytest.raises(BadSetting, match=r"2 entries, access\.max_callers are 1"):
        add_caller(path, make_entry("b"), 1)
    assert read_callers(path, 1) == (make_entry("a"),)


def test_what_people_wrote_into_the_file_stays(tmp_path: Path) -> None:
    """Adding and removing leave comments and other entries as they are."""
    path = tmp_path / "callers.toml"
    path.write_text(
        f"# who may call\n\n{as_toml(make_entry('a'))}# the one of May\n\n{as_toml(make_entry('b'))}", "utf-8"
    )
    add_caller(path, make_entry("c"), 10)
    assert remove_callers(path, lambda entry: entry.name == "b", 10) == 1
    assert path.read_text("utf-8").startswith(f"# who may call\n\n{as_toml(make_entry('a'))}# the one of May\n")
    assert [entry.name for entry in read_callers(path, 10)] == ["a", "c"]


def test_mode_of_the_file_stays(tmp_path: Path) -> None:
    """A new file is its owner's alone; one that the service may read stays so."""
    path = tmp_path / "folder" / "callers.toml"
    add_caller(path, make_entry("a"), 10)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    add_caller(path, make_entry("b"), 10)
    assert path.stat().st_mode & 0o777 == 0o640


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Entries that are added at once are all there."""
    path = tmp_path / "callers.toml"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_caller(path, make_entry(f"c-{number}"), 100), range(40)))
    assert len(read_callers(path, 100)) == 40


def test_tokens_are_never_the_same() -> None:
    """256 random bits behind a prefix that scanners of repositories can look for."""
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(token.startswith("fraud_") and len(token) == 49 for token in made)


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    """`tokens new` prints the token alone on standard output, and the file has only what it hashes to."""
    path = tmp_path / "callers.toml"
    done = tokens("new", "--name", "checkout", "--role", "score", "--role", "record", "--callers", path)
    token = done.stdout.strip()
    (entry,) = read_callers(path, 10)
    assert (done.returncode, entry.token_sha256, set(entry.roles)) == (0, token_sha256(token), {"score", "record"})
    assert token not in path.read_text("utf-8") + done.stderr


def test_tokens_are_listed_and_revoked(tmp_path: Path) -> None:
    """The list shows no token; one of two tokens of a name can be taken out by the beginning of its hash."""
    path = tmp_path / "callers.toml"
    made = [
        json.loads(
            tokens("new", "--name", "shop", "--role", "score", "--days", days, "--callers", path, "--json").stdout
        )
        for days in (30, 90)
    ]
    listed = json.loads(tokens("list", "--callers", path, "--json").stdout)
    assert [one["token_sha256"] for one in listed] == [token_sha256(one["token"]) for one in made]
    old = listed[0]["token_sha256"]
    assert tokens("revoke", "--name", "shop", "--sha256", old[:12], "--callers", path).returncode == 0
    assert [one["token_sha256"] for one in json.loads(tokens("list", "--callers", path, "--json").stdout)] == [
        listed[1]["token_sha256"]
    ]
    assert tokens("revoke", "--name", "shop", "--sha256", old[:12], "--callers", path).returncode == ExitCode.NOT_FOUND


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--name", "a b", "--role", "score"], ExitCode.USAGE, "--name: "),
        (["--name", "a", "--role", "boss"], ExitCode.USAGE, "--role: "),
        (["--name", "a", "--role", "score", "--calls-per-s", "0"], ExitCode.USAGE, "--calls-per-s: "),
    ],
)
def test_a_wrong_wish_is_one_sentence(tmp_path: Path, arguments: list[str], code: int, sentence: str) -> None:
    """The option that is wrong is named, and nothing is written."""
    path = tmp_path / "callers.toml"
    done = tokens("new", *arguments, "--callers", path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {sentence}")
    assert not path.exists()


def test_the_file_must_be_named() -> None:
    """Without the option and the setting there is no file to keep."""
    done = tokens("list")
    assert (done.returncode, done.stderr) == (
        ExitCode.USAGE,
        "error: name the file: --callers FILE, or the setting access.callers_path\n",
    )

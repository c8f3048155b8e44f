"""The file of callers: who may call, how each proves it, what each may do and how often.

    [[caller]]
    name = "checkout"                       # shown in logs; the entries of one name share its rate
    token_sha256 = "9f86d081…"              # either this: SHA-256 of a token, in hexadecimal
    certificate = "checkout.example.com"    # or this: common name, DNS name or URI of a client certificate
    roles = ["score", "record"]             # out of score, record, read, admin
    calls_per_s = 500                       # over all workers; a batch counts what it holds; none = no bound
    expires = 2027-01-31T00:00:00Z          # none = never

Tokens are 256 random bits, so one round of SHA-256 is enough: nobody can go through that many, and a slow
hash would cost its time on every call. Two entries of one name let a token be exchanged without a gap.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import BadSetting

Role = Literal["score", "record", "read", "admin"]
"""What a caller may do: score purchases, record events, see what is live, and explore the service by reflection."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)

TOKEN_PREFIX: Final = "fraud_"  # noqa: S105  no secret: it lets scanners of repositories know a token
TOKEN_BYTES: Final = 32

MAX_FILE_BYTES: Final = 1 << 26


class Entry(BaseModel):
    """One way in: a token or a certificate, and what it opens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    token_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    certificate: Annotated[str, Field(max_length=256)] = ""
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    calls_per_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    expires: datetime | None = None

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if bool(self.token_sha256) == bool(self.certificate):
            raise ValueError("must have either token_sha256 or certificate")
        if self.expires is not None and self.expires.tzinfo is None:
            raise ValueError("expires must tell its time zone, as 2027-01-31T00:00:00Z does")
        return self

    def expires_s(self) -> float:
        """Return when it ends, in seconds since the epoch; infinity for never."""
        return float("inf") if self.expires is None else self.expires.timestamp()


def read_callers(path: Path, max_callers: int) -> tuple[Entry, ...]:
    """Read the file; raises BadSetting with a sentence that names the file, the entry and what is wrong.

    The sentence never repeats a value: somebody may have put a token where its hash belongs.
    """
    return parse_callers(_text(path), path, max_callers)


def parse_callers(text: str, path: Path, max_callers: int) -> tuple[Entry, ...]:
    """Return the entries that a file of callers has; `path` is for the message of BadSetting alone."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line \d+", str(error))
        raise BadSetting(f"callers {path}: not valid TOML{f' ({place[0]})' if place else ''}") from None
    listed = document.pop("caller", [])
    if document or not isinstance(listed, list):
        raise BadSetting(f"callers {path}: must hold [[caller]] entries and nothing else")
    if len(listed) > max_callers:
        raise BadSetting(f"callers {path}: {len(listed)} entries, access.max_callers are {max_callers}")
    entries = tuple(_entry(one, number, path) for number, one in enumerate(listed, 1))
    _refuse_contradictions(entries, path)
    return entries


def new_token() -> str:
    """Return a fresh token: a prefix that tells what it is, and 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def token_sha256(token: str) -> str:
    """Return what the file keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def add_caller(path: Path, entry: Entry, max_callers: int) -> None:
    """Append an entry to the file, which is made when it is not there; what stands there stays as it is.

    Raises BadSetting when the file is not as it should be, or would not be with the entry.
    """
    with _sole_writer(path):
        text = _text(path) if path.exists() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        text += ("\n" if text else "") + as_toml(entry)
        parse_callers(text, path, max_callers)
        _replace(path, text)


def remove_callers(path: Path, unwanted: Callable[[Entry], bool], max_callers: int) -> int:
    """Take entries out of the file, and return how many; what stands around the others stays. Raises BadSetting."""
    with _sole_writer(path):
        text = _text(path)
        entries = parse_callers(text, path, max_callers)
        head, *blocks = re.split(r"^(?=[ \t]*\[\[[ \t]*caller[ \t]*\]\])", text, flags=re.MULTILINE)
        if len(blocks) != len(entries):
            raise BadSetting(f"callers {path}: each entry must begin with [[caller]] on a line of its own")
        kept = [(block, entry) for block, entry in zip(blocks, entries, strict=True) if not unwanted(entry)]
        text = head + "".join(block for block, _ in kept)
        if parse_callers(text, path, max_callers) != tuple(entry for _, entry in kept):
            raise BadSetting(f"callers {path}: cannot take an entry out of this file; edit it by hand")
        if len(kept) < len(entries):
            _replace(path, text)
        return len(entries) - len(kept)


def as_toml(entry: Entry) -> str:
    """Return an entry as it stands in the file."""
    roles = ", ".join(f'"{role}"' for role in ROLES if role in entry.roles)
    lines = ["[[caller]]", f'name = "{entry.name}"']
    if entry.token_sha256:
        lines.append(f'token_sha256 = "{entry.token_sha256}"')
    if entry.certificate:
        lines.append(f"certificate = {_quoted(entry.certificate)}")
    lines.append(f"roles = [{roles}]")
    if entry.calls_per_s is not None:
        lines.append(f"calls_per_s = {entry.calls_per_s!r}")
    if entry.expires is not None:
        lines.append(f"expires = {entry.expires.astimezone(UTC).isoformat().replace('+00:00', 'Z')}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """Return a string of TOML; what it could not hold as it is, is escaped."""
    plain = "".join(one if one >= " " and one not in '"\\\x7f' else f"\\u{ord(one):04x}" for one in value)
    return f'"{plain}"'


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadSetting(f"callers {path}: larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadSetting(f"callers {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadSetting(f"callers {path}: not UTF-8 text") from None


@contextmanager
def _sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock of the file's directory; readers need none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BadSetting(f"callers {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Give the file new content, whole or not at all, under its owner and mode; a new one is its owner's alone."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        old = path.stat() if path.exists() else None
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if old is not None:
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), old.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BadSetting(f"callers {path}: cannot be written: {error.strerror}") from error


def _entry(values: object, number: int, path: Path) -> Entry:
    try:
        return Entry.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        message = f"callers {path}: entry {number}{f', {field}' if field else ''}: {what[0].lower()}{what[1:]}"
    raise BadSetting(message)


def _refuse_contradictions(entries: Sequence[Entry], path: Path) -> None:
    rates: dict[str, float | None] = {}
    proofs: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        if rates.setdefault(entry.name, entry.calls_per_s) != entry.calls_per_s:
            raise BadSetting(f"callers {path}: entry {number}: {entry.name} has another calls_per_s further up")
        proof = entry.token_sha256 or f"certificate {entry.certificate}"
        if proofs.setdefault(proof, number) != number:
            raise BadSetting(f"callers {path}: entries {proofs[proof]} and {number} have the same token or certificate")

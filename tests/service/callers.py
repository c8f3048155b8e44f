"""Files of callers as tests need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.callers import Entry, Role, as_toml, token_sha256


def make_entry(name: str, token: str, *roles: Role, **fields: Any) -> Entry:
    """Return an entry for a token."""
    return Entry(name=name, token_sha256=token_sha256(token), roles=frozenset(roles), **fields)


def write_callers(path: Path, *entries: Entry) -> None:
    """Replace the file, as `service tokens` does."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(map(as_toml, entries)), "utf-8")
    new.replace(path)

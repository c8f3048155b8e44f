"""No change of a proto breaks who was built, or what was stored, with the last release.

`released/` holds the protos of the last release; a release copies `proto/` there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tree.contract import breaking_changes, compiled
from tests.tree.files import ROOT

RELEASED = Path(__file__).parent / "released"


@pytest.mark.parametrize("proto", sorted(path.name for path in RELEASED.glob("*.proto")))
def test_nothing_released_is_broken(proto: str, tmp_path: Path) -> None:
    """Everything that the last release had is there, with the same names, numbers and types."""
    assert breaking_changes(compiled(RELEASED / proto, tmp_path), compiled(ROOT / "proto" / proto, tmp_path)) == []


def test_every_proto_is_guarded() -> None:
    """No proto is left out of the comparison."""
    assert {path.name for path in (ROOT / "proto").glob("*.proto")} == {path.name for path in RELEASED.glob("*.proto")}


BEFORE = """
syntax = "proto3";
package example.v1;
service Shop { rpc Buy(Basket) returns (Receipt); }
message Basket {
  string user = 1;
  repeated int64 prices = 2;
  oneof pay { string card = 3; string voucher = 4; }
  reserved 9;
  message Line { int32 count = 1; }
}
message Receipt { Kind kind = 1; }
enum Kind { NONE = 0; PAPER = 1; }
"""

BREAKS = {
    "field number changed": ("string user = 1", "string user = 7", "field Basket.user = 1 is gone"),
    "field renamed": ("string user = 1", "string buyer = 1", "field Basket.user = 1 became another one"),
    "field retyped": ("repeated int64 prices", "repeated sint64 prices", "field Basket.prices = 2 became another one"),
    "field no longer repeated": ("repeated int64", "int64", "field Basket.prices = 2 became another one"),
    "field moved out of its oneof": (
        "oneof pay { string card = 3;",
        "string card = 3; oneof pay {",
        "field Basket.card = 3 became another one",
    ),
    "reserved number used": ("reserved 9;", "bool gift = 9;", "field Basket.gift = 9 uses a number that is reserved"),
    "inner field removed": ("int32 count = 1;", "", "field Basket.Line.count = 1 is gone"),
    "inner message removed": ("message Line { int32 count = 1; }", "", "message Basket.Line is gone"),
    "enum value removed": ("PAPER = 1;", "", "value Kind.PAPER = 1 is gone or has another number"),
    "enum value renumbered": ("PAPER = 1", "PAPER = 2", "value Kind.PAPER = 1 is gone or has another number"),
    "call removed": ("rpc Buy(Basket) returns (Receipt);", "", "call Shop.Buy is gone or takes or returns something"),
    "call made a stream": (
        "returns (Receipt)",
        "returns (stream Receipt)",
        "call Shop.Buy is gone or takes or returns",
    ),
    "service renamed": ("service Shop", "service Store", "service Shop is gone"),
    "package renamed": ("example.v1", "example.v2", "package example.v1 became example.v2"),
}


@pytest.mark.parametrize(("old", "new", "complaint"), BREAKS.values(), ids=BREAKS)
def test_every_break_is_found(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    """The comparison names what would break."""
    (tmp_path / "before.proto").write_text(BEFORE)
    (tmp_path / "after.proto").write_text(BEFORE.replace(old, new))
    before, after = (compiled(tmp_path / f"{name}.proto", tmp_path) for name in ("before", "after"))
    assert any(change.startswith(complaint) for change in breaking_changes(before, after))


def test_additions_are_fine(tmp_path: Path) -> None:
    """A new field, value, message or call breaks nobody."""
    (tmp_path / "before.proto").write_text(BEFORE)
    after = BEFORE.replace("string user = 1;", "string user = 1; string note = 5;").replace(
        "PAPER = 1;", "PAPER = 1; MAIL = 2;"
    )
    after = after.replace("service Shop {", "message New {} service Shop { rpc Ask(New) returns (New);")
    (tmp_path / "after.proto").write_text(after)
    before, after_ = (compiled(tmp_path / f"{name}.proto", tmp_path) for name in ("before", "after"))
    assert breaking_changes(before, after_) == []

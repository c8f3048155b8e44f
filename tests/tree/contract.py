"""What may not change in a proto once it is released."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)


def compiled(proto: Path, scratch: Path) -> FileDescriptorProto:
    """Return what a proto file declares."""
    out = scratch / "descriptors.bin"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto.parent}", f"--descriptor_set_out={out}"]
    subprocess.run([*command, str(proto)], check=True)
    return FileDescriptorSet.FromString(out.read_bytes()).file[0]


def breaking_changes(released: FileDescriptorProto, current: FileDescriptorProto) -> list[str]:
    """Return, in words, what callers or records of the released file would trip over.

    Refused: another package; a message, field, enum, value, service or call that went, was renamed or
    became another one; a number that was reserved and is used. Additions are fine.
    """
    return list(_breaks(released, current))


def _breaks(released: FileDescriptorProto, current: FileDescriptorProto) -> Iterator[str]:
    if released.package != current.package:
        yield f"package {released.package} became {current.package}"
    for message, now in _pairs("message", "", released.message_type, current.message_type):
        yield from now if isinstance(now, list) else _message(message.name, message, now)
    for enum, now in _pairs("enum", "", released.enum_type, current.enum_type):
        yield from now if isinstance(now, list) else _enum(enum.name, enum, now)
    for service, now in _pairs("service", "", released.service, current.service):
        yield from now if isinstance(now, list) else _service(service, now)


def _pairs(what: str, where: str, released: Any, current: Any) -> Iterator[tuple[Any, Any]]:
    """Pair what has the same name; what has no partner is paired with the complaint about it."""
    by_name = {one.name: one for one in current}
    for one in released:
        yield one, by_name.get(one.name, [f"{what} {where}{one.name} is gone"])


def _message(path: str, released: DescriptorProto, current: DescriptorProto) -> Iterator[str]:
    by_number = {field.number: field for field in current.field}
    for field in released.field:
        now = by_number.get(field.number)
        if now is None:
            yield f"field {path}.{field.name} = {field.number} is gone"
        elif _shape(released, field) != _shape(current, now):
            yield f"field {path}.{field.name} = {field.number} became another one"
    for span in released.reserved_range:
        for number in sorted(by_number.keys() & range(span.start, span.end)):
            yield f"field {path}.{by_number[number].name} = {number} uses a number that is reserved"
    for message, inner in _pairs("message", f"{path}.", released.nested_type, current.nested_type):
        yield from inner if isinstance(inner, list) else _message(f"{path}.{message.name}", message, inner)
    for enum, values in _pairs("enum", f"{path}.", released.enum_type, current.enum_type):
        yield from values if isinstance(values, list) else _enum(f"{path}.{enum.name}", enum, values)


def _shape(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[object, ...]:
    """Return what makes a field the one it is, by name (reflection, JSON) and on the wire."""
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    packed = field.options.packed if field.options.HasField("packed") else None
    return field.name, field.type, field.type_name, field.label, oneof, field.proto3_optional, packed


def _enum(path: str, released: EnumDescriptorProto, current: EnumDescriptorProto) -> Iterator[str]:
    now = {value.name: value.number for value in current.value}
    for value in released.value:
        if now.get(value.name) != value.number:
            yield f"value {path}.{value.name} = {value.number} is gone or has another number"


def _service(released: ServiceDescriptorProto, current: ServiceDescriptorProto) -> Iterator[str]:
    now = {method.name: method for method in current.method}
    for method in released.method:
        if now.get(method.name) != method:
            yield f"call {released.name}.{method.name} is gone or takes or returns something else"

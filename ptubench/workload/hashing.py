"""What makes two workloads the same: a hash over everything that decides the load, and nothing else."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ptubench.errors import UsageError
from ptubench.secret import shown
from ptubench.workload.model import Trace, Workload

BESIDE = ("name", "description", "checks", "abort", "target", "seed")
"""What does not change what is sent, beyond the luck of the draw; `throttling.divert_to` is a target too."""


def workload_hash(workload: Workload) -> str:
    """SHA-256, in hexadecimal, of a resolved workload: canonical JSON, with the content of files instead of their paths.

    Two runs with the same hash can be compared: they differ in the draw, the target and the rules at most.

    Raises:
        UsageError: a file that the workload names can't be read.
    """
    throttling = msgspec.structs.replace(workload.throttling, divert_to=None)
    plain = _plain(msgspec.structs.replace(workload, throttling=throttling))
    for key in BESIDE:
        plain.pop(key, None)
    digests = {file: _digest(file) for file in files(workload)}
    canonical = json.dumps(_with_content(plain, digests), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def files(workload: Workload) -> list[str]:
    """Absolute paths of the files that a workload names, each once: the trace, and messages."""
    found = [workload.load.file] if isinstance(workload.load, Trace) else []
    found += [kind.messages.file for kind in workload.classes if kind.messages is not None]
    return list(dict.fromkeys(found))


def portable(workload: Workload) -> Workload:
    """The same workload for a run file that travels: its files by their names, without the folders around them."""
    return renamed(workload, lambda file: Path(file).name)


def renamed(workload: Workload, name: Callable[[str], str]) -> Workload:
    """The same workload with other names for its files."""
    load = workload.load
    if isinstance(load, Trace):
        load = msgspec.structs.replace(load, file=name(load.file))
    classes = tuple(
        kind
        if kind.messages is None
        else msgspec.structs.replace(
            kind, messages=msgspec.structs.replace(kind.messages, file=name(kind.messages.file))
        )
        for kind in workload.classes
    )
    return msgspec.structs.replace(workload, load=load, classes=classes)


def _plain(value: Any) -> Any:
    """Plain data without what is as it would be if nothing were said; written out, a default is still one."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    kept = {
        field.encode_name: getattr(value, field.name)
        for field in msgspec.structs.fields(value)
        if field.required or getattr(value, field.name) != _default(field)
    }
    tag, tag_field = value.__struct_config__.tag, value.__struct_config__.tag_field
    return {name: _plain(held) for name, held in kept.items()} | ({} if tag_field is None else {tag_field: tag})


def _default(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def _with_content(plain: Any, digests: dict[str, str]) -> Any:
    """The same data, in which each `file` is named by its content."""
    if isinstance(plain, dict):
        return {
            key: digests.get(value, value)
            if key == "file" and isinstance(value, str)
            else _with_content(value, digests)
            for key, value in plain.items()
        }
    if isinstance(plain, list | tuple):
        return [_with_content(value, digests) for value in plain]
    return plain


def _digest(file: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(file).open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    except OSError as exc:
        raise UsageError(f"{shown(file)}: can't be read ({exc.strerror})") from None
    return digest.hexdigest()

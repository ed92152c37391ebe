"""The first line of a run file: whether the rest can be understood, and whether its parts of free form have their types.

Target, network, machine and probe are stored as they are described, with keys that a later version may add. What numbers and
tables are made of is checked here, once, so that nothing behind it meets a text where a number belongs.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ptubench import record
from ptubench.errors import UsageError
from ptubench.record import Head

NO_LINE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading a line raises that is none."""

_Text = str | None
_Number = Annotated[float, Meta(ge=-1e12, le=1e12)] | None
_Count = Annotated[int, Meta(ge=0, le=10**9)] | None
_Options = dict[str, Any] | None
_TARGET: dict[str, Any] = {
    **dict.fromkeys(("kind", "endpoint", "url", "api", "deployment", "model", "type", "ptu_source", "resource"), _Text),
    **dict.fromkeys(("version", "spillover", "content_filter"), _Text),
    **dict.fromkeys(("ratio", "tpm_per_ptu"), _Number),
    "ptu": _Count,
    "simulate": _Options,
}
_NETWORK: dict[str, Any] = {
    **dict.fromkeys(("address", "proxy", "place"), _Text),
    **dict.fromkeys(("round_trip_ms", "first_connect_ms", "first_tls_ms"), _Number),
    "private": bool | None,
}
_MACHINE: dict[str, Any] = {"cores": _Count, "system": _Text, "python": _Text}
_PROBE: dict[str, Any] = {"status": _Count, "model": _Text, "http": _Text}


class _Schema(msgspec.Struct, tag="head", tag_field="type"):
    """Just enough of a head to tell whether the rest can be understood."""

    schema: int
    tool_version: str = "?"


def decode(raw: bytes, path: Path) -> Head:
    """The head that stands in a line; `path` is for messages.

    Raises:
        UsageError: it is none, or of a newer schema, or it was damaged.
    """
    try:
        found = msgspec.json.decode(raw, type=_Schema)
    except NO_LINE:
        raise UsageError(
            f"{path}: not a run file, since its first line is no head; run files are what `ptubench run` writes"
        ) from None
    if found.schema != record.SCHEMA:
        raise UsageError(
            f"{path}: written with schema {found.schema} by ptubench {_word(found.tool_version)}, and this ptubench "
            f"reads schema {record.SCHEMA}; install that version of ptubench to read it"
        )
    try:
        return _fitting(msgspec.json.decode(raw, type=Head))
    except NO_LINE as exc:
        raise UsageError(f"{path}: the head of the run file can't be read ({exc}); the run is lost") from None


def _fitting(head: Head) -> Head:
    """The head without what has another type than is read of it: it is as unknown as what is not there."""
    return msgspec.structs.replace(
        head,
        target=_typed(head.target, _TARGET),
        divert_to=head.divert_to and _typed(head.divert_to, _TARGET),
        network=_typed(head.network, _NETWORK),
        machine=_typed(head.machine, _MACHINE),
        probe=head.probe and _typed(head.probe, _PROBE),
        divert_probe=head.divert_probe and _typed(head.divert_probe, _PROBE),
        nodes=tuple(msgspec.structs.replace(node, machine=_typed(node.machine, _MACHINE)) for node in head.nodes),
    )


def _typed(part: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    return {key: value if key not in types or _fits(value, types[key]) else None for key, value in part.items()}


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _word(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:40]

"""YAML text to plain data, strictly: what could be read in two ways is refused with its line.

Knows nothing of workloads. Numbers, `true`, `false` and `null` are read as YAML 1.2 has them; every other unquoted
word is text, unless a YAML 1.1 reader would make something else of it (`on`, `1:30`, `2026-11-22`, `010`): then
quotes are asked for.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from ptubench.errors import UsageError
from ptubench.secret import shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_EVENTS = 30_000
"""Beginnings and ends of values: the reader needs a second for so many, and a megabyte holds twenty times as many."""
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,14})")  # 15 digits: exact in every JSON reader
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_RESOLVER = yaml.resolver.Resolver()
_TEXT = "tag:yaml.org,2002:str"


def parse(text: str, where: str) -> Any:
    """Plain data of one YAML document: None, bool, int, float, str, list, or dict with text keys.

    Args:
        text: the document.
        where: what a message calls it, such as the file's name.

    Raises:
        UsageError: not YAML, ambiguous, or more than a workload has use for; names the line.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise too_large(where)
    events = _events(text, where)
    first = next(events, None)
    if first is None:
        return None
    value = _node(first, events, where, depth=0)
    second = next(events, None)
    if second is not None:
        raise _fault(second, where, "a second document begins here; a workload file holds one")
    return value


def too_large(where: str) -> UsageError:
    """The error for more than `MAX_BYTES`."""
    return UsageError(f"{where}: larger than 1 MiB; a workload is a page of text, prompts go into a messages file")


def _events(text: str, where: str) -> Iterator[Any]:
    """The events of all nodes, in order; a syntax error as a UsageError with its line."""
    try:
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if count > MAX_EVENTS:
                raise _fault(event, where, "too many values; a workload is a page of text")
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{where}{line}: not valid YAML: {shown(exc.problem or exc.context)}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # Control characters, and escapes such as "\U00110000" that name no character.
        raise UsageError(f"{where}: not valid YAML: it holds a character that is not allowed in text") from None


def _node(event: Any, events: Iterator[Any], where: str, *, depth: int) -> Any:
    """The value that begins with this event."""
    if isinstance(event, yaml.AliasEvent):
        raise _fault(event, where, "an alias (`*NAME`) is not supported; write the value out")
    if event.anchor is not None:
        raise _fault(event, where, "an anchor (`&NAME`) is not supported; remove it")
    if event.tag is not None:
        raise _fault(event, where, "a tag (`!NAME`) is not supported; remove it")
    if depth > MAX_DEPTH:
        raise _fault(event, where, f"nested more than {MAX_DEPTH} levels deep; no workload needs that")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, where)
    if isinstance(event, yaml.SequenceStartEvent):
        return _sequence(events, where, depth=depth)
    return _mapping(events, where, depth=depth)


def _sequence(events: Iterator[Any], where: str, *, depth: int) -> list[Any]:
    values = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        values.append(_node(event, events, where, depth=depth + 1))
    return values


def _mapping(events: Iterator[Any], where: str, *, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _key(event, where)
        if key in values:
            raise _fault(event, where, f"the key `{shown(key)}` is given twice; keep one")
        values[key] = _node(next(events), events, where, depth=depth + 1)
    return values


def _key(event: Any, where: str) -> str:
    """The text of a key, as it is written: the class `1` of a mix is called "1"."""
    if not isinstance(event, yaml.ScalarEvent):
        raise _fault(event, where, "a key must be a single word")
    _scalar(event, where)
    return event.value


def _scalar(event: Any, where: str) -> Any:
    value: str = event.value
    if not event.implicit[0]:  # quoted, or a block of text
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise _fault(event, where, "half a surrogate pair is no character; write the character itself")
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    if _FLOAT.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    if _FLOAT.fullmatch(value) or _others_read(value) != _TEXT:
        sentence = f"`{shown(value)}` is read differently by different YAML readers; put it in quotes if it is text"
        raise _fault(event, where, f"{sentence}, else write it another way")
    return value


def _others_read(value: str) -> str:
    """The type that YAML 1.1 gives to an unquoted word, as a tag."""
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
    return tag


def _fault(event: Any, where: str, sentence: str) -> UsageError:
    return UsageError(f"{where}:{event.start_mark.line + 1}: {sentence}")

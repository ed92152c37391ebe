"""What forbids taking runs for repeats of each other, or holding one against another, and what only has to be said."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptubench.compare import unlike
from ptubench.compare.side import Side
from ptubench.errors import UsageError
from ptubench.secret import shown

_SAME_TARGET = ("model", "PTUs", "type", "endpoint", "deployment", "API")
"""In what repeats agree, beside the workload (`unlike.NAMED`)."""


def check_named_once(sides: Sequence[Side]) -> None:
    """Refuse a run that stands twice among the runs and the baseline, also as a copy: it does not differ from itself.

    Raises:
        UsageError: one does.
    """
    for number, side in enumerate(sides):
        for other in sides[:number]:
            if _same(side, other):
                raise UsageError(
                    f"{name(side)} is the same run as {name(other)}, and a run does not differ from itself; name each run once"
                )


def check_repeats(sides: Sequence[Side], *, force: bool) -> None:
    """Refuse runs that are not repeats of the first: the same workload on the same deployment, from one place.

    Raises:
        UsageError: one is not.
    """
    first = sides[0]
    for other in sides[1:]:
        both = f"{name(other)} and {name(first)}"
        keys = _keys(first, other)
        if keys:
            raise UsageError(f"{both} are no repeats: their workloads differ in {keys}; check them one at a time")
        _check_kind(first, other, force=force)
        differing = [key for key in _SAME_TARGET if unlike.NAMED[key](first) != unlike.NAMED[key](other)]
        if differing and not force:
            raise UsageError(
                f"{both} are no repeats: their targets differ in {', '.join(differing)}; check them one at a time, or add "
                "--force"
            )


def check_baseline(runs: Sequence[Side], baseline: Sequence[Side], *, force: bool) -> None:
    """Refuse a baseline that was not measured well, or that is not of the same kind as the runs.

    Raises:
        UsageError: it is.
    """
    for side in baseline:
        fault = unfit(side.summary)
        if fault is not None:
            raise UsageError(f"{name(side)}: {fault}")
    first, other = baseline[0], runs[0]
    _check_kind(first, other, force=force)
    keys = _keys(first, other)
    if keys and not force:
        raise UsageError(
            f"{name(other)} and its baseline {name(first)} have different workloads: they differ in {keys}; make a baseline "
            "of this workload, or add --force"
        )


def unfit(summary: Mapping[str, Any]) -> str | None:
    """Why a run is no baseline, in a sentence; None where it can be one."""
    run, validity = summary["run"], summary["validity"]
    if run["ended"] != "completed":
        return f"this run was {run['ended']} and is no baseline; name one that was completed"
    if validity["verdict"] == "invalid":
        reason = next(reason["text"] for reason in validity["reasons"] if reason["level"] == "invalid")
        return f"this run is invalid and is no baseline: {reason}"
    return None


def notes(runs: Sequence[Side], baseline: Sequence[Side]) -> list[str]:
    """What differs among repeats, and between the baseline and the runs, in sentences."""
    found = [
        f"{name(other)}, unlike {name(group[0])}: {row['text']}"
        for group in (runs, baseline)
        for other in group[1:]
        for row in unlike.differences(group[0], other)
    ]
    if baseline:
        first, other = baseline[0], runs[0]
        found += [f"baseline and run differ: {row['text']}" for row in unlike.differences(first, other)]
        keys = _keys(first, other)
        found += [f"forced: the workloads differ in {keys}"] if keys else []
    return found


def name(side: Side) -> str:
    """What a run is called in a sentence."""
    file = side.summary["run"]["file"]
    return shown(side.run.head.run_id if file is None else file, most=120)


def _same(first: Side, other: Side) -> bool:
    paths, heads = (first.run.path, other.run.path), (first.run.head, other.run.head)
    if None not in paths and paths[0].resolve() == paths[1].resolve():  # type: ignore[union-attr] # none is None
        return True
    return (heads[0].run_id, heads[0].started_at) == (heads[1].run_id, heads[1].started_at)


def _keys(first: Side, other: Side) -> str:
    """In what two workloads differ, for a sentence; empty where they are the same."""
    hashes = [side.run.head.workload_hash for side in (first, other)]
    if hashes[0] == hashes[1]:
        return ""
    found = unlike.keys(first, other) or [f"their hashes {hashes[0][:12]} and {hashes[1][:12]}"]
    return shown(", ".join(found), most=300)


def _check_kind(first: Side, other: Side, *, force: bool) -> None:
    """Kinds always agree; places unless it is forced."""
    kinds = [unlike.kind(side) for side in (first, other)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"{name(other)} is {kinds[1]}, {name(first)} is {kinds[0]}: the figures do not mean the same; name runs of one "
            "kind"
        )
    places = [unlike.NAMED["place"](side) for side in (first, other)]
    if places[0] != places[1] and not force:
        said = [f"`{shown(place)}`" if place else "nowhere named" for place in places]
        raise UsageError(
            f"{name(other)} was measured from {said[1]}, {name(first)} from {said[0]}: latencies hold the way to the target; "
            "measure from one place (--place names it), or add --force"
        )

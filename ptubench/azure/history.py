"""The usage history of a deployment: Azure Monitor's figures per minute over days or weeks, kept on disk day by day.

Published: figures are kept for 93 days, and a chart of the portal shows at most 30 at once ("Azure Monitor Metrics
overview"); answers are not paged, and what is large should be split ("Metrics - Batch", 2023-10-01). Not published: how
much one call may ask for. Three months at once were answered with the last of them, without a word
(Azure/azure-sdk-for-python issue 13547, 2020). So a call asks for one UTC day, 1,440 points of each series.

A day that was over for ten minutes is final and asked for once: it is a file of its own, so that an interrupted fetch
continues where it was. `ActiveTokens` and the cache match rate are told of PTU deployments only (reference "Supported
metrics for Microsoft.CognitiveServices/accounts", 2026-05-19), so that a Standard deployment's cached tokens are unknown.
"""

import contextlib
import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ptubench.azure import arm, monitor, rest
from ptubench.azure.monitor import ACTIVE, CACHE_MATCH, GENERATED, MINUTE, PROMPT, REQUESTS, Question
from ptubench.errors import TargetRefused, UsageError
from ptubench.record import Series
from ptubench.secret import shown
from ptubench.units import duration_text
from ptubench.usage.columns import Usage, from_totals

KEPT = 93 * 86_400
"""Seconds for which Azure Monitor keeps what it has."""
SETTLED = 600
"""Seconds after which a figure no longer changes: it arrives after one to five minutes, and may still change then."""
PATIENCE = 300.0
"""Seconds that one question may wait in all where it is told to come again."""
_DAY = 86_400
_SHORTEST = 3600
_SAY_EVERY = 5.0
_MOST = 1e15  # more than any count of a minute can be
_SCHEMA = 1
_QUESTIONS = (
    Question((PROMPT, GENERATED, ACTIVE), "Total"),
    Question((REQUESTS,), "Total", ("StatusCode",)),
    Question((CACHE_MATCH,), "Average"),
)
_NEEDED = {PROMPT, GENERATED, REQUESTS}

Totals = dict[int, float]
"""By the start of the minute, in seconds since the epoch."""


class _Day(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the cache: what Azure Monitor said of one day or a part of it."""

    schema: int = _SCHEMA
    id: str
    deployment: str
    span: tuple[int, int]
    asked_unix: float
    series: tuple[Series, ...]


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where what was fetched is kept: the user's cache folder of this system, XDG_CACHE_HOME where it is set."""
    own = {
        "darwin": Path.home() / "Library" / "Caches",
        "win32": Path(env.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"),
    }
    named = env.get("XDG_CACHE_HOME", "").strip()
    return (Path(named) if named else own.get(sys.platform, Path.home() / ".cache")) / "ptubench"


def fetch(
    of: rest.Deployment, *, last: float, now: float, cache: Path, say: Callable[[str], None] = lambda _: None
) -> Usage:
    """The history of a deployment up to ten minutes ago.

    Args:
        of: the deployment.
        last: seconds of history.
        now: seconds since the epoch.
        cache: the folder that keeps whole days.
        say: takes a line of progress.

    Raises:
        UsageError: more or less history than there can be, nothing in it, or the cache can't be written.
        TargetRefused: Azure gives no figures; the days that it gave are kept.
    """
    if not _SHORTEST <= last <= KEPT:
        raise UsageError(f"--last: Azure Monitor keeps 93 days; write a duration from 1h to 93d, not {_days(last)}")
    end = int((now - SETTLED) // MINUTE) * MINUTE
    # The oldest minute that is still kept when it is asked for, a moment from now.
    oldest = int((now - KEPT) // MINUTE + 2) * MINUTE
    begin = max(end - int(last // MINUTE) * MINUTE, oldest)
    folder = cache / "usage" / _name(of)
    series = [one for day in _fetched(of, (begin, end), now, folder, say) for one in day.series]
    usage = _usage(of, series, (begin, end))
    if not usage.minute.size:
        raise _nothing(of, last)
    return usage


def _fetched(
    of: rest.Deployment, span: tuple[int, int], now: float, folder: Path, say: Callable[[str], None]
) -> list[_Day]:
    """Every day that the span touches, out of the cache or asked for.

    Raises:
        UsageError, TargetRefused: as `fetch`.
    """
    starts = range(span[0] // _DAY * _DAY, span[1], _DAY)
    days = {start: _kept(folder, of, start) for start in starts}
    missing = [start for start, day in days.items() if day is None]
    have = len(starts) - len(missing)
    kept = f"; {have} are in {folder}" if have else ""
    say(f"Azure Monitor: {len(starts)} days of {shown(of.name)}, {len(missing)} to ask for{kept}")
    told = of.by.clock()
    for count, start in enumerate(missing):
        # Azure refuses what it no longer keeps: of the oldest day, the part that is asked for.
        first = max(start, span[0]) if start < now - KEPT + MINUTE else start
        try:
            day, final = _asked(of, (first, min(start + _DAY, span[1])), now, say)
        except rest.Failure as failure:
            done = f"; {have + count} of {len(starts)} days are kept, and the same command continues"
            raise TargetRefused(f"--from-monitor: {failure}{done if have + count else ''}") from None
        days[start] = day
        if final and day.span == (start, start + _DAY):
            _keep(folder, day)
        if of.by.clock() - told >= _SAY_EVERY:
            told = of.by.clock()
            say(f"Azure Monitor: {have + count + 1} of {len(starts)} days")
    return [day for day in days.values() if day is not None]


def _asked(of: rest.Deployment, span: tuple[int, int], now: float, say: Callable[[str], None]) -> tuple[_Day, bool]:
    """What Azure Monitor says of a day, and whether it will always say the same of what it can't tell.

    Raises:
        Failure: of a metric without which there is no history.
    """

    def sleep(seconds: float) -> None:
        say(f"Azure Monitor: asks to come again in {duration_text(round(seconds))}")
        of.by.sleep(seconds)

    patient = replace(of, by=replace(of.by, sleep=sleep))
    series: list[Series] = []
    final = True
    for question in _QUESTIONS:
        for metric, found in monitor.answers(patient, span, question, PATIENCE):
            if not isinstance(found, rest.Failure):
                series += found
            elif metric in _NEEDED:
                raise rest.Failure(f"{metric}: {found}", status=found.status)
            else:
                # 400: the account has no such metric. Anything else may be otherwise the next time.
                final = final and found.status == 400
    return _Day(id=of.resource, deployment=of.name, span=span, asked_unix=now, series=tuple(series)), final


def _name(of: rest.Deployment) -> str:
    """A folder for each deployment, which a person recognises."""
    digest = hashlib.sha256(f"{of.resource.lower()}\n{of.name}".encode()).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{arm.account(of.resource)}-{of.name}"[:80]) + f"-{digest}"


def _file(folder: Path, start: int) -> Path:
    return folder / f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d}.json"


def _kept(folder: Path, of: rest.Deployment, start: int) -> _Day | None:
    """A whole day out of the cache; None for one that is not there, or is no such day."""
    try:
        day = msgspec.json.decode(_file(folder, start).read_bytes(), type=_Day)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    whole = (start, start + _DAY)
    same = (day.schema, day.id.lower(), day.deployment, day.span) == (_SCHEMA, of.resource.lower(), of.name, whole)
    return day if same else None


def _keep(folder: Path, day: _Day) -> None:
    """Write a day such that it is there as a whole or not at all."""
    path = _file(folder, day.span[0])
    half = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        half.write_bytes(msgspec.json.encode(day))
        half.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            half.unlink()
        raise UsageError(
            f"{folder}: the history can't be kept there: {exc.strerror}; set XDG_CACHE_HOME to a folder of yours"
        ) from None


def _usage(of: rest.Deployment, series: list[Series], span: tuple[int, int]) -> Usage:
    """Columns out of the metrics.

    Raises:
        TargetRefused: a figure that can be none.
    """
    totals: dict[str, Totals] = {
        "requests": _summed(series, REQUESTS, but=("3", "4", "5")),
        "prompt": _summed(series, PROMPT),
        "completion": _summed(series, GENERATED),
    }
    totals["cached"], unknown = _cached(series, totals)
    source = f"Azure Monitor, deployment {shown(of.name)} of {shown(arm.account(of.resource))}"
    usage = from_totals(totals, source=source, span=span)
    throttled = sum(value for at, value in _summed(series, REQUESTS, status="429").items() if span[0] <= at < span[1])
    bare = int(((usage.requests > 0) & (usage.prompt + usage.completion == 0)).sum())
    return replace(usage, throttled=throttled, notes=_notes(throttled=throttled, unknown_cached=unknown, bare=bare))


def _cached(series: list[Series], totals: Mapping[str, Totals]) -> tuple[Totals, bool]:
    """Cached tokens of each minute, and whether they are unknown in all of them, where 0 stands.

    Active tokens are prompt − cached + completion; where they are not told, the match rate is a percentage of the prompt.
    """
    active, rate = _summed(series, ACTIVE), _summed(series, CACHE_MATCH, kind="average")
    cached = {
        at: min(max(prompt + totals["completion"].get(at, 0.0) - active[at], 0.0), prompt)
        if at in active
        else prompt * min(rate.get(at, 0.0), 100.0) / 100
        for at, prompt in totals["prompt"].items()
    }
    return cached, not active and not rate


def _summed(
    series: list[Series], metric: str, *, status: str = "", but: tuple[str, ...] = (), kind: str = "total"
) -> Totals:
    """One metric by minute; of requests, those whose status code begins with `status` and with none of `but`."""
    found: defaultdict[int, float] = defaultdict(float)
    for one in series:
        code = one.dimensions.get("statuscode", "200")
        if one.metric != metric or not code.startswith(status) or code.startswith(but):
            continue
        values: Totals = getattr(one, kind)
        for at, value in values.items():
            if not 0 <= value <= _MOST:
                raise TargetRefused(f"--from-monitor: {metric}: {value} is no figure of a minute; check HTTPS_PROXY")
            found[at] += value
    return dict(found)


def _notes(*, throttled: float, unknown_cached: bool, bare: int) -> tuple[str, ...]:
    notes = []
    if throttled:
        notes.append(
            f"{throttled:,.0f} requests were answered 429: what they asked for is not counted, and the need is higher"
        )
    if unknown_cached:
        notes.append("Azure tells cached tokens of PTU deployments only: none are assumed, and the need may be lower")
    if bare:
        notes.append(f"in {bare:,} minute{'s' if bare != 1 else ''} Azure counts requests but no tokens")
    return tuple(notes)


def _nothing(of: rest.Deployment, last: float) -> UsageError | TargetRefused:
    """Why there may be nothing: Azure Monitor says the same of a deployment that is idle and of one that is not there."""
    try:
        arm.look_up(of, "before")
    except rest.Failure as failure:
        if failure.status == 404:
            return TargetRefused(
                f"--from-monitor: Azure Monitor tells of no answered request of {shown(of.name)}: {failure}"
            )
    return UsageError(
        f"--from-monitor: Azure Monitor tells of no answered request of {shown(of.name)} in the last {_days(last)}; "
        "ask for a longer --last, or check --deployment"
    )


def _days(seconds: float) -> str:
    return f"{seconds / _DAY:g}d" if seconds >= _DAY else duration_text(seconds)

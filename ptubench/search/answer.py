"""The answer of a search as one JSON document: what was found, what each step said, and what it cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ptubench import __version__
from ptubench.errors import UsageError
from ptubench.ptu import catalogue
from ptubench.ptu.sizing import deployable
from ptubench.search import steps
from ptubench.search.curve import Fit, band, fit
from ptubench.search.drive import Asked, Found
from ptubench.search.folder import ANSWER
from ptubench.search.next import Result
from ptubench.units import duration_text, number_text, seconds_text

SCHEMA_VERSION = 1
_MOVED = 0.03  # share by which the capacity of a step may be off what saturation told; twice it for that of the curve
_SCATTERED = 6.0
_POINTS, _BESIDE = 60, 0.03
"""Of the curve: how many, and how far beyond the steps, as a share of the rate."""


def answer(
    asked: Asked, found: Found, *, target: Mapping[str, Any], virtual: bool, wanted: float | None
) -> dict[str, Any]:
    """The answer (schema_version 1); rates in calls a minute, tokens, seconds, shares in 0…1.

    Args:
        asked: what was searched.
        found: what was found.
        target: as it was resolved; what the steps say of it stands over that.
        virtual: whether it was searched on the virtual clock.
        wanted: calls a second of a load for which the PTUs are to be told.

    Returns:
        `result`: {rpm, low, high, by, tpm_normalized, per_ptu}; None where no rate passed or none was measured. `capacity`: what
        was admitted at saturation, beside the published figure. `curve`: refused ratio and latency by rate, ascending; `fit`: the curve
        through them.
    """
    if found.full:
        target = found.full[0].target
    result = None if found.last is None else found.last.result
    ptu = target.get("ptu")
    capacity = _capacity(asked, found, ptu)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "ptubench", "version": __version__},
        "workload": msgspec.to_builtins(asked.workload),
        "target": dict(target),
        "clock": "virtual" if virtual else "real",
        "result": None if result is None else _result(result, capacity, ptu, limit=asked.goal.limit),
        "capacity": capacity,
        "for": None if wanted is None or result is None else _wanted(wanted, result, target),
        "curve": _curve(found),
        "fit": _fit(asked, found),
        "steps": [*(full.row for full in found.full), *(tried.row for tried in found.tried)],
        "rules": [rule.text for rule in asked.rules],
        "not_judged": [rule.text for rule in asked.beside],
        "spent": {
            "seconds": found.spent.seconds,
            "tokens": found.spent.tokens,
            "steps_read": found.read,
            "steps_interrupted": len(found.cut),
        },
        "ended": found.ended,
        "fault": found.fault,
        "why": None if found.last is None else found.last.why,
        "notes": _notes(asked, found),
    }


def read(folder: Path) -> dict[str, Any]:
    """The answer that a finished search has left in its folder.

    Raises:
        UsageError: there is none, or none that this version can read.
    """
    path = folder / ANSWER
    try:
        answer = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise UsageError(
            f"{folder}: no run file, and no folder of a finished search either; name a run file, or let `ptubench capacity` "
            "go on with the search"
        ) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UsageError(f"{path}: can't be read ({exc}); name a run file, or search again") from None
    if answer.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"{path}: the answer of another version of ptubench; read it with that one, or search again")
    return answer


def _capacity(asked: Asked, found: Found, ptu: int | None) -> dict[str, Any] | None:
    saturated = found.saturated
    if saturated is None:
        return None
    full, published = found.full[-1], asked.capacity
    tpm = full.tpm_normalized
    return {
        "rpm": saturated.rate * 60,
        "at_least": full.at_least,
        "tpm_admitted": full.row["metrics"]["tpm"]["normalized"],
        "tpm_normalized": tpm,
        "tpm_per_ptu": tpm / ptu if tpm is not None and ptu else None,
        "published_tpm_per_ptu": None if published is None else published.tpm_per_ptu,
        "of_published": tpm / published.tpm if tpm is not None and published is not None else None,
        "source": None if published is None else published.source,
        "depth_calls": saturated.depth,
        "depth_s": saturated.depth / saturated.rate,
    }


def _result(result: Result, capacity: dict[str, Any] | None, ptu: int | None, *, limit: float | None) -> dict[str, Any]:
    rpm, refused = result.rate * 60, (limit or 0.0) if result.by == "curve" else 0.0
    tpm = None if capacity is None else capacity["tpm_normalized"]
    if capacity is not None and tpm is not None:
        # Above the capacity the rest is refused.
        tpm *= min(1.0, rpm * (1 - refused) / capacity["rpm"])
    return {
        "rpm": rpm,
        "low": result.low * 60,
        "high": result.high * 60,
        "by": result.by,
        "tpm_normalized": tpm,
        "per_ptu": rpm / ptu if ptu else None,
    }


def _wanted(wanted: float, result: Result, target: Mapping[str, Any]) -> dict[str, Any]:
    """PTU for a load, by proportion; `ptu_high` by the low end of the interval."""
    ptu, model = target.get("ptu"), target.get("model")
    row = catalogue.find(model) if model else None
    sizes = row.sizes.get(target.get("type") or "global") if row is not None else None
    raw = [None if not ptu else wanted / rate * ptu for rate in (result.rate, result.low)]
    sized = [None if value is None or sizes is None else deployable(value, sizes) for value in raw]
    return {"rpm": wanted * 60, "raw": raw[0], "raw_high": raw[1], "ptu": sized[0], "ptu_high": sized[1]}


def _curve(found: Found) -> list[dict[str, Any]]:
    rows = sorted((step.row for step in found.tried), key=lambda row: float(row["rate"]))
    return [
        {
            "rate": row["rate"],
            # Where it was ended early, the share of what was offered by then is no measured ratio.
            "refused_ratio": None if row["lost"] else row["metrics"]["refused"]["ratio"],
            "lost": row["lost"],
            "passed": row["passed"],
            "ttft_p50": row["metrics"]["ttft"]["p50"],
            "ttft_p95": row["metrics"]["ttft"]["p95"],
            "tpm_normalized": row["metrics"]["tpm"]["normalized"],
        }
        for row in rows
    ]


def _fit(asked: Asked, found: Found) -> dict[str, Any] | None:
    """The curve through all steps, as points near them; None where no refused ratio is sought."""
    through = _through(asked, found)
    if through is None or found.saturated is None:
        return None
    steps = [tried.seen for tried in found.tried]
    rates = [*(step.rate for step in steps), through.low, through.high]
    points = np.linspace(min(rates) * (1 - _BESIDE), max(rates) * (1 + _BESIDE), _POINTS)
    return {
        "capacity_rpm": through.capacity * 60,
        "depth_calls": through.depth,
        "scatter": through.scatter,
        "curve": [
            {"rate": float(rate) * 60, "refused_ratio": middle, "low": low, "high": high}
            for rate, (low, middle, high) in zip(points, band(steps, found.saturated, points), strict=True)
        ],
    }


def _through(asked: Asked, found: Found) -> Fit | None:
    """The curve through all steps; None without any, or where no refused ratio is sought."""
    if found.saturated is None or asked.goal.limit is None or not found.tried:
        return None
    return fit([tried.seen for tried in found.tried], found.saturated, asked.goal.limit)


def _notes(asked: Asked, found: Found) -> list[str]:
    """What a reader must know of the answer, a sentence each."""
    notes = []
    saturated, lengths = found.saturated, found.lengths
    if asked.workload.throttling.on_429 == "retry":
        notes.append(
            "429s are retried: what is refused is a first attempt, and the retries of others are part of the load"
        )
    stages = steps.check(asked.workload).stages
    if len(stages) > 1 or stages[0].to is not None:
        notes.append("the workload's stages are not used: each step offers one constant rate")
    if saturated is not None and lengths is not None:
        if said := steps.remembers(lengths, saturated, asked.goal.limit):
            notes.append(said)
        notes.append(
            f"an idle bucket absorbed about {_calls(saturated.depth)} ({seconds_text(saturated.depth / saturated.rate)} "
            f"of the capacity); each step fills it for {duration_text(lengths.fill)} and lets it settle for {duration_text(lengths.settle)}"
        )
    notes += [*_emptied(found), *_changed(asked, found)]
    drifting = [f"{tried.row['rate']:,.1f}/min" for tried in found.tried if not tried.row["flat"]]
    if drifting:
        notes.append(f"the refused ratio was not flat at {', '.join(drifting)}: make the steps longer with --step")
    if (last := found.last) is not None and last.result is not None and found.ended != "completed":
        notes.append("the search was not over: the interval is wider than was asked for")
    if last is not None and last.why == "steps":
        notes.append(
            "the interval did not get as narrow as was asked for: allow more with --steps, or make them longer with --step"
        )
    if last is not None and last.why == "all_pass":
        notes.append("even twice the rate that saturates passes: no rule limits the rate")
    return notes


def _calls(count: float) -> str:
    return f"{count:,.0f} {'call' if round(count) == 1 else 'calls'}"


def _emptied(found: Found) -> list[str]:
    """That what was admitted at saturation is less than the capacity, if so."""
    if found.saturated is None:
        return []
    full = found.full[-1]
    tpm, admitted = full.tpm_normalized, full.row["metrics"]["tpm"]["normalized"]
    if not tpm or not admitted:
        return []
    said = f"{number_text(round(admitted))} normalized tokens/min were admitted after the first 429"
    if full.at_least:
        near = "the capacity is what was charged between 429s that are near each other, and may be higher"
        return [f"the bucket was not full all the while: {said}; {near}"]
    if abs(admitted / tpm - 1) <= _MOVED:
        return []
    return [f"{said}; the capacity is what was charged from 429 to 429, with their retry-after"]


def _changed(asked: Asked, found: Found) -> list[str]:
    """That the steps and the saturation are not of the same deployment, if so."""
    if found.saturated is None or not found.tried or found.full[-1].at_least:
        return []
    first, rest = (
        found.full[-1].tpm_normalized,
        "; neither rate nor interval can be relied on: search again with --fresh",
    )
    moved = [t for t in found.tried if first and t.capacity and abs(t.capacity / first - 1) > _MOVED]
    if moved and first and (tpm := moved[-1].capacity):
        took, rate = number_text(round(first)), number_text(moved[-1].row["rate"])
        now = f"{number_text(round(tpm))} at {rate} calls/min, so that it has changed meanwhile"
        return [f"the deployment took {took} normalized tokens/min at saturation and {now}{rest}"]
    through = _through(asked, found)
    if through is None or asked.workload.throttling.on_429 == "retry":  # which are bursts of their own
        return []
    if abs(through.capacity / found.saturated.rate - 1) <= 2 * _MOVED and through.scatter <= _SCATTERED:
        return []
    said = (
        "the steps do not fit each other, or what saturation told: the deployment has changed, or others were calling"
    )
    return [said + rest]

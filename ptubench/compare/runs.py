"""Runs side by side: each headline figure of a run against the baseline's, with an interval and a word.

Requests of the same index are laid beside each other where workload and seed agree. Nothing is compared silently that is
not alike: invalid runs never, unlike workloads and runs of two kinds only by force, and what else differs is said.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ptubench import __version__
from ptubench.analysis import names, stats
from ptubench.analysis.columns import Run
from ptubench.analysis.gather import load
from ptubench.compare import differences, unlike
from ptubench.compare.differences import Difference, Draw
from ptubench.compare.published import published
from ptubench.compare.side import FIGURES, HEADLINES, OF_ALL, RATES, SHARES, Rates, Side, side
from ptubench.errors import UsageError
from ptubench.ptu.prices import Prices
from ptubench.secret import shown

SCHEMA_VERSION = 1
BETTER, WORSE, SAME, UNKNOWN = WORDS = ("better", "worse", "no difference shown", "not comparable")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pair:
    """The baseline and another run, with their resamples."""

    sides: tuple[Side, Side]
    draws: tuple[Draw, Draw]
    keys: list[str]
    """The keys in which their workloads differ."""
    unpaired_because: str | None

    @property
    def paired(self) -> bool:
        """Whether requests are laid beside each other."""
        return self.unpaired_because is None

    @property
    def blocks(self) -> int:
        """How many blocks make a resample, of the run that has fewer."""
        return min(draw.blocks.blocks for draw in self.draws)


def compare(paths: Sequence[Path], prices: Prices, *, force: bool = False, say: Say = lambda _: None) -> dict[str, Any]:
    """Compare runs with the first of them; docs/comparing-runs.md says what the answer holds.

    Args:
        paths: two or more run files, the baseline first.
        prices: for the cost of a million tokens.
        force: whether to compare what is not alike.
        say: is told what is being done.

    Raises:
        UsageError: a file is named twice or can't be read, a run is invalid, or, without `force`, two are not alike.
    """
    _check_named_once(paths)
    runs = []
    for path in paths:
        say(f"reading {shown(path, most=120)}")
        runs.append(load(path))
    return compare_runs(runs, prices, force=force, say=say)


def compare_runs(
    runs: Sequence[Run], prices: Prices, *, force: bool = False, say: Say = lambda _: None
) -> dict[str, Any]:
    """The same of runs in memory. Raises as `compare`."""
    pairs = aligned([side(run, prices) for run in runs], force=force)
    metrics: list[dict[str, Any]] = []
    for number, found in enumerate(pairs, start=1):
        say(f"comparing {_name(found.sides[1])} with {_name(found.sides[0])}")
        metrics += rows(found, number)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "ptubench", "version": __version__},
        "forced": force,
        "runs": [described(pairs[0].sides[0]), *(described(found.sides[1], found) for found in pairs)],
        "metrics": metrics,
    }


def aligned(sides: Sequence[Side], *, force: bool = False) -> list[Pair]:
    """The first run with each of the others. Raises as `compare`."""
    if len(sides) < 2:
        raise UsageError("compare: one run is no comparison; name two or more run files, the baseline first")
    for one in sides:
        _check_valid(one)
    for other in sides[1:]:
        _check_alike(sides[0], other, force=force)
    return [pair(sides[0], other) for other in sides[1:]]


def pair(first: Side, second: Side) -> Pair:
    """Two runs with the resamples that their differences are judged by."""
    keys = unlike.keys(first, second)
    _, places, others = np.intersect1d(first.offered.index, second.offered.index, return_indices=True)
    because = unlike.unpaired_because(first, second, common=len(places), found=keys)
    if because is not None:
        draws = tuple(draw(len(one.offered), one) for one in (first, second))
        return Pair((first, second), (draws[0], draws[1]), keys, because)
    order = np.argsort(places)
    blocks = resampling(len(places))
    return Pair((first, second), (Draw(blocks, places[order]), Draw(blocks, others[order])), keys, None)


def rows(found: Pair, number: int, headlines: Sequence[str] = HEADLINES) -> list[dict[str, Any]]:
    """{name, unit, better, run, values, change, low, high, relative, word, why} of each headline.

    `change`, `low` and `high` are in the metric's unit, `relative` the same as shares of the baseline's value (None for
    shares); all None where nothing can be said, or where one of the values was never answered.
    """
    per_minute = tuple(one.drawn_rates(draw) for one, draw in _each(found))
    result = []
    for name in headlines:
        values = (found.sides[0].value(name), found.sides[1].value(name))
        why = _incomparable(name, found, values)
        difference = None if why is not None else _difference(name, found, values, per_minute)
        if why is None and difference is None:
            why = "both unanswered" if found.blocks >= differences.FEWEST_BLOCKS else "too few requests"
        unit = unit_of(name, found.sides[0].prices.currency)
        result.append(
            {"name": name, "unit": unit, "run": number} | _row(names.better(name), unit, values, difference, why)
        )
    return result


def _difference(name: str, found: Pair, values: tuple[Any, Any], per_minute: tuple[Rates, ...]) -> Difference | None:
    """The difference of a headline that both runs have; None where its interval can't be told."""
    first, second = (one.drawn(name, draw, of) for (one, draw), of in zip(_each(found), per_minute, strict=True))
    difference = differences.between(values, (first, second), found.blocks)
    if name not in SHARES:
        return difference
    hits = [SHARES[name](one)[draw.rows] for one, draw in _each(found)]
    return differences.between_shares(difference, (hits[0], hits[1]), paired=found.paired)


def _each(found: Pair) -> list[tuple[Side, Draw]]:
    return list(zip(found.sides, found.draws, strict=True))


def _row(
    better: names.Better | None,
    unit: str,
    values: tuple[float | str, float | str],
    found: Difference | None,
    why: str | None,
) -> dict[str, Any]:
    base = values[0]
    parts = ("change", "low", "high")
    told = dict.fromkeys(parts) if found is None else {part: _finite(getattr(found, part)) for part in parts}
    scaled = None
    if (
        isinstance(base, float)
        and math.isfinite(base)
        and base > 0
        and unit != "share"
        and any(value is not None for value in told.values())
    ):
        scaled = {part: None if value is None else value / base for part, value in told.items()}
    word = UNKNOWN if found is None else judge(found, better)
    if found is not None and word == UNKNOWN:
        why = "neither more nor less of it is better"
    return {
        "better": better,
        "values": [_finite(value) for value in values],
        "unanswered": [isinstance(value, float) and math.isinf(value) for value in values],
        **told,
        "relative": scaled,
        "word": word,
        "why": why,
    }


def judge(found: Difference, better: names.Better | None) -> str:
    """The word for a difference of a metric."""
    if found.low <= 0 <= found.high:
        return SAME
    if better is None:
        return UNKNOWN
    return BETTER if (found.low > 0) == (better == "higher") else WORSE


def unit_of(name: str, currency: str) -> str:
    """The unit of a headline (`analysis.names`); of money the currency of the table of prices."""
    if name in SHARES:
        return "share"
    return currency if name.startswith("cost.") else names.units().get(name, "per minute")


def _incomparable(name: str, found: Pair, values: tuple[float | str, float | str]) -> str | None:
    """Why a metric can't be compared; None if it can."""
    missing = [value for value in values if isinstance(value, str)]
    if missing:
        return missing[0]
    if name in FIGURES:
        return "told per minute, without an interval"
    if name in RATES and unlike.unlike(found.keys):
        return "not the same load"
    if name.partition(".")[0] in OF_ALL and any(one.own < len(one.offered) for one in found.sides):
        # What was answered elsewhere would have been the slowest: without it the target looks fast.
        own = " beside ".join(f"{one.own:,} of {len(one.offered):,} calls" for one in found.sides)
        return f"{own}, the diverted and spilled left out"
    return None


def _check_named_once(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(
                f"compare: {shown(path, most=120)} is named twice, and a run does not differ from itself; name each run file once"
            )
        seen.add(path.resolve())


def _check_valid(one: Side) -> None:
    """An invalid run measured something else than it was asked to: a difference would be the client's."""
    validity = one.summary["validity"]
    if validity["verdict"] == "invalid":
        reason = next(reason["text"] for reason in validity["reasons"] if reason["level"] == "invalid")
        raise UsageError(f"{_name(one)}: this run is invalid and can't be compared: {reason}")


def _check_alike(first: Side, second: Side, *, force: bool) -> None:
    kinds = [unlike.kind(one) for one in (first, second)]
    if kinds[0] != kinds[1] and not force:
        raise UsageError(
            f"{_name(second)} is {kinds[1]}, {_name(first)} is {kinds[0]}: the figures do not mean the same; compare runs of "
            "one kind, or add --force"
        )
    found = unlike.unlike(unlike.keys(first, second))
    if found and not force:
        raise UsageError(
            f"{_name(second)} and {_name(first)} have unlike workloads, which differ in {shown(', '.join(found), most=300)}; compare runs of "
            "one workload, or add --force"
        )


def draw(size: int, one: Side) -> Draw:
    """Resamples of its own for a run: which ones depends on the run and not on its place in the comparison."""
    head = one.run.head
    key = f"{head.run_id} {head.workload_hash} {head.seed}".encode()
    seed = int.from_bytes(blake2b(key, digest_size=8).digest())
    return Draw(resampling(size, seed=seed), np.arange(size))


def resampling(size: int, *, seed: int = 0) -> stats.Resampling:
    """Blocks for the difference of two runs; of those that are paired the same ones."""
    return stats.resampling(size, seed=seed, resamples=differences.RESAMPLES, longer=differences.LONGER)


def described(one: Side, found: Pair | None = None) -> dict[str, Any]:
    """A run, and how it was compared with the baseline; None for the baseline itself."""
    summary = one.summary
    run, target, validity = summary["run"], one.target, summary["validity"]
    kept = ("kind", "endpoint", "deployment", "model", "model_served", "version", "type", "ptu")
    return {
        **{
            name: run[name]
            for name in ("file", "id", "label", "started_at", "seed", "workload_hash", "window_s", "ended")
        },
        "workload": summary["workload"]["name"],
        "kind": unlike.kind(one),
        "clock": run["clock"],
        "target": {name: target.get(name) for name in kept},
        "requests": len(one.offered),
        "validity": {"verdict": validity["verdict"], "reasons": validity["reasons"]},
        "per_ptu": {
            "rpm": _told(one, "rpm.per_ptu"),
            "tpm_normalized": _told(one, "tpm.per_ptu"),
            "of_published": _told(one, "tpm.of_published"),
        },
        "cost": {
            "per_million_tokens": _told(one, "cost.per_million_tokens"),
            "currency": one.prices.currency,
            "dated": one.prices.dated.isoformat(),
            "why": one.price if isinstance(one.price, str) else None,
        },
        "published_target": published(one),
        "elsewhere": _elsewhere(one),
        "paired": None if found is None else found.paired,
        "unpaired_because": None if found is None else found.unpaired_because,
        "common_requests": len(found.draws[1].rows) if found is not None and found.paired else None,
        "workload_keys": [] if found is None else found.keys,
        "differences": [] if found is None else unlike.differences(*found.sides),
    }


def _elsewhere(one: Side) -> dict[str, dict[str, Any]]:
    """{requests, ok, ttft, e2e} of what was diverted and what was spilled, the latencies as medians in seconds; empty where nothing was."""
    groups = {name: one.summary["groups"].get(name) for name in ("diverted", "spilled")}
    return {
        name: {
            "requests": group["requests"]["total"],
            "ok": group["requests"]["ok"],
            "ttft": group["ttft"]["p50"],
            "e2e": group["e2e"]["p50"],
        }
        for name, group in groups.items()
        if group is not None
    }


def _told(one: Side, name: str) -> float | None:
    return _finite(one.value(name))


def _finite(value: float | str) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def _name(one: Side) -> str:
    file = one.summary["run"]["file"]
    return shown(one.run.head.run_id if file is None else file, most=120)

"""Tokens per minute against the published or typed capacity, and Azure's figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptubench.analysis import series
from ptubench.analysis.columns import Floats, Ints, Run
from ptubench.page.charts import parts, steps
from ptubench.page.charts.model import Cell, Chart
from ptubench.page.charts.parts import BLUE, GREEN, PURPLE, SKY, Clock
from ptubench.page.charts.steps import Look
from ptubench.page.charts.thin import extremes
from ptubench.ptu.capacity import Capacity, by_whom
from ptubench.units import duration_text, number_text, share_text

_CHARGED = {
    "uncached": Look("prompt, uncached", BLUE),
    "cached": Look("prompt, cached", SKY, "\\"),
    "completion": Look("completion", GREEN, "/"),
}
_AZURE = "Azure Monitor: utilization"
_SIMULATED = "charged, by the simulated deployment"
_MOST_BARS = 1000
"""With more minutes they are a line."""


def tokens(run: Run, *, clock: Clock, window: tuple[float, float], capacity: Capacity | None) -> Chart | None:
    """Tokens by UTC minute, normalized and beside the capacity where that is known; None without usage.

    Args:
        run: all of its attempts.
        clock: of the run.
        window: in seconds; its end is that of the load.
        capacity: the published one, or as typed.
    """
    found = series.tokens(run, load_end=window[1])
    if found is None:
        return None
    amounts = series.by_kind(found, capacity)
    total: Floats = np.sum(list(amounts.values()), axis=0)
    what = "tokens" if capacity is None else "normalized tokens"
    shown = {name: amounts[name] for name in _CHARGED if amounts[name].any()}
    columns: dict[str, Mapping[int, float]] = {f"{what}/min": dict(enumerate(total.tolist()))}
    columns |= {f"{_CHARGED[name].title} (/min)": dict(enumerate(values.tolist())) for name, values in shown.items()}
    columns |= {f"{_SIMULATED} (/min)": found.simulated} if found.simulated else {}
    columns |= {_AZURE: found.azure} if found.azure else {}
    starts = steps.starts(found.grid)
    middles = np.array(starts) + found.grid.width / 2
    rows: list[tuple[Cell, ...]] = [
        (clock.text(starts[step]), *(_cell(name, values.get(step)) for name, values in columns.items()))
        for step in extremes(middles, total, parts.MOST_ROWS).tolist()
    ]
    kept = extremes(middles, total, _MOST_BARS)
    axis = clock.axis(found.grid.start, steps.end(found.grid))
    return Chart(
        name="tokens",
        title="Tokens per minute"
        if capacity is None
        else f"Normalized tokens against the {by_whom(capacity.source)} capacity",
        description=_said(total, capacity, minutes=found.minutes),
        figure=parts.figure(
            _data(found, shown, clock, capacity, kept),
            xaxis=axis | {"hoverformat": f"minute of {'%d %b ' if clock.days else ''}%H:%M UTC"}
            if found.minutes
            else axis,
            yaxis=parts.axis(f"{what} per minute", rangemode="tozero"),
            hovermode="x unified",
        ),
        header=("from (UTC)", *columns),
        rows=rows,
        note=_note(found, _weights(run, capacity), len(kept), len(rows)),
    )


def _data(
    found: series.Tokens, amounts: Mapping[str, Floats], clock: Clock, capacity: Capacity | None, kept: Ints
) -> list[dict[str, Any]]:
    """What was used in the steps that are drawn, what others say of them, and the capacity."""
    # All of a step stands in its middle, so that it is told together on hover.
    x = clock.all_at(found.grid.start + (kept + 0.5) * found.grid.width)
    if len(kept) < found.grid.bins:
        data = [_total(x, np.sum(list(amounts.values()), axis=0)[kept])]
    else:
        data = [
            steps.bars(x, values, _CHARGED[name], "%{y:,.0f}/min", widths=np.full(len(x), found.grid.width))
            for name, values in amounts.items()
        ]
    if found.simulated:
        charged = [found.simulated.get(step) for step in kept.tolist()]
        data.append(_marks(x, charged, _SIMULATED, symbol="diamond-open", hover="%{y:,.0f}/min"))
    if capacity is None:
        return data
    if found.azure:
        shares = [found.azure.get(step) for step in kept.tolist()]
        scaled = [None if share is None else share * capacity.tpm for share in shares]
        marks = _marks(x, scaled, _AZURE, symbol="star-diamond", hover="%{customdata:.3~%} of its capacity")
        data.append(marks | {"customdata": [None if share is None else parts.number(share) for share in shares]})
    ends = (clock.at(found.grid.start), clock.at(steps.end(found.grid)))
    level = f"{by_whom(capacity.source)} capacity: {number_text(round(capacity.tpm))}/min"
    return [*data, parts.level(capacity.tpm, ends, level)]


def _total(x: list[float], values: Floats) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "in all",
        "x": x,
        "y": parts.numbers(values),
        "line": parts.line(BLUE, width=1.5),
        "hovertemplate": "%{y:,.0f}/min<extra>in all</extra>",
    }


def _marks(x: list[float], values: Sequence[float | None], title: str, *, symbol: str, hover: str) -> dict[str, Any]:
    """A mark for each step that has a figure."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": title,
        "x": x,
        "y": [None if value is None else parts.number(value) for value in values],
        "marker": {"symbol": symbol, "size": 9, "color": PURPLE, "line": {"width": 1.5, "color": PURPLE}},
        "hovertemplate": f"{hover}<extra>{title}</extra>",
    }


def _cell(name: str, value: float | None) -> Cell:
    if value is None:
        return None
    return share_text(value) if name == _AZURE else round(value)


def _said(total: Floats, capacity: Capacity | None, *, minutes: bool) -> str:
    each = "UTC minute" if minutes else "step"
    highest = float(total.max())
    if capacity is None:
        return f"Prompt and completion tokens in each {each}: at most {number_text(round(highest))} per minute."
    return (
        f"Normalized tokens in each {each}: at most {number_text(round(highest))} per minute, {share_text(highest / capacity.tpm)} of "
        f"the {by_whom(capacity.source)} capacity of {number_text(round(capacity.tpm))}."
    )


def _weights(run: Run, capacity: Capacity | None) -> str:
    """What tokens were charged, or why that is not known."""
    if capacity is None:
        standard = run.head.target.get("type") == "standard"
        why = "a Standard deployment has no PTUs" if standard else "model or size is not known (--model, --ptu)"
        return f"Not normalized: {why}."
    of = capacity.weights
    return (
        f"Charged per token: prompt {of.input:g}, cached {of.cached:g}, completion {of.output:g}; an estimate "
        f"({capacity.source})."
    )


def _note(found: series.Tokens, weights: str, drawn: int, rows: int) -> str:
    said = [
        "Full UTC minutes of the load, as Azure counts."
        if found.minutes
        else f"The load has too few full UTC minutes: steps of {duration_text(found.grid.width)}, as rates per minute."
    ]
    said.append(weights)
    said.append("Azure tells utilization: it is drawn as that share of this capacity." if found.azure else "")
    bins = found.grid.bins
    if drawn < bins:
        said.append(f"{drawn:,} of {bins:,} minutes are drawn: the least and the most of every stretch.")
    if rows < bins:
        said.append(f"The table has {rows:,} of {bins:,}, chosen likewise.")
    return parts.sentences(*said)

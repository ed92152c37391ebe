"""The charts of `ptubench size`: what each size refuses, how full it gets, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptubench.page.charts import parts
from ptubench.page.charts.model import Chart
from ptubench.page.charts.parts import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, Style, told
from ptubench.units import duration_text, number_text, share_text

Row = Mapping[str, Any]

_TERMS = {
    "hour": ("paid by the hour", Style(RED, "solid", "circle")),
    "month": ("reserved for a month", Style(BLUE, "dash", "square")),
    "year": ("reserved for a year", Style(GREEN, "dot", "diamond")),
}
_DEPTHS = (Style(ORANGE, "dot", "triangle-up"), Style(SKY, "dashdot", "square"), Style(PURPLE, "dash", "diamond"))
_BY = {
    "simulation": "simulated on a virtual clock, the same calls at each size",
    "history": "from the recorded minutes",
    "formula": "by the formula alone",
}


def of_size(answer: Mapping[str, Any]) -> list[Chart]:
    """The charts of an answer of `ptubench size` (`size.answer`); none where no size was looked at."""
    if not answer["sizes"]:
        return []
    best, assumed = answer["recommended"], answer["assumptions"]
    said = "No size is recommended" if best is None else f"{best:,} PTU is recommended"
    count = parts.count_text(len(answer["sizes"]), "size")
    money = answer["money"]
    dated = f"{money['prices']} of {money['dated']}, type {answer['type']}"
    idle = (
        "None of these sizes refused a call, so that no chart shows refusals: a bucket that begins empty absorbs a short overload, not a lasting one."
        if none_refuses(answer)
        else ""
    )
    other = "The depth of the bucket is not published: each of the others is drawn too." if _varied(answer) else ""
    charts = [
        _chart(
            answer,
            _refused(answer),
            name="size-refused",
            title="Refused ratio against size",
            description=f"{said}. What each of {count} refuses, {_BY[answer['by']]}.",
            yaxis=parts.share_axis("refused, of the calls"),
            limit=(assumed["refused"], "may be refused"),
            note=other,
        ),
        _chart(
            answer,
            _busiest(answer),
            name="size-busiest",
            title="Busiest minute against size",
            description=f"{said}. How much of each of {count} the busiest minute uses, {_BY[answer['by']]}.",
            yaxis=parts.share_axis("used in the busiest minute"),
            limit=(assumed["headroom"], "may be used"),
            note=idle,
        ),
        _chart(
            answer,
            _cost(answer),
            name="size-cost",
            title="Cost against size",
            description=f"{said}. What each of {count} costs a month: {dated}.",
            yaxis=parts.axis(f"{parts.safe(money['currency'], 10)} per month", rangemode="tozero", tickformat=",.3~s"),
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _chart(
    answer: Mapping[str, Any],
    traces: list[dict[str, Any]],
    *,
    name: str,
    title: str,
    description: str,
    yaxis: dict[str, Any],
    limit: tuple[float | None, str] = (None, ""),
    note: str = "",
) -> Chart | None:
    """Traces over all sizes, with what a size may be at most and the recommended one; None without traces."""
    if not traces:
        return None
    sizes, best = [size["ptu"] for size in answer["sizes"]], answer["recommended"]
    most, what = limit
    level = [] if most is None else [parts.level(most, (min(sizes), max(sizes)), f"{parts.percent(most)} {what}")]
    at = {"xref": "x", "x0": best, "x1": best, "yref": "paper", "y0": 0, "y1": 1}
    shapes = [] if best is None else [{"type": "line", "line": parts.line(GREY, "dot", 1.5)} | at]
    ticks = {"tickvals": sizes} if len(sizes) <= 16 else {}
    return Chart(
        name=name,
        title=title,
        description=description,
        figure=parts.figure(
            [*traces, *level],
            height=320,
            hovermode="closest",
            xaxis=parts.axis("PTU", **ticks),
            yaxis=yaxis,
            shapes=shapes,
        ),
        header=("PTU", *_COLUMNS[name], "verdict"),
        rows=[(size["ptu"], *_cells(name, size), _verdict(answer, size)) for size in answer["sizes"]],
        note=parts.sentences("" if best is None else "Dotted: the recommended size.", note),
    )


def _refused(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each size refuses, at the assumed depth with its interval, and at the others."""
    rows = [size for size in answer["sizes"] if told(size, "metrics", "refused", "ratio") is not None]
    if not rows or none_refuses(answer):
        return []
    values = [size["metrics"]["refused"]["ratio"] for size in rows]
    bounds = [told(size, "metrics", "refused", "ci95") or [value] * 2 for size, value in zip(rows, values, strict=True)]
    depth = rows[0]["depth_s"]
    title = "refused" if depth is None else f"bucket of {duration_text(depth)} (assumed)"
    main = _line(title, Style(BLUE, "solid", "circle"), [size["ptu"] for size in rows], values) | {
        "error_y": parts.error_bars(values, bounds, BLUE),
        "hovertemplate": f"%{{x:,}} PTU: %{{y:.3~%}} refused<extra>{title}</extra>",
    }
    traces = [main]
    for style, (other, found) in zip(_DEPTHS * 4, _varied(answer).items(), strict=False):
        sizes, ratios = [row["ptu"] for row in found], [row["refused_ratio"] for row in found]
        trace = _line(f"bucket of {duration_text(other)}", style, sizes, ratios)
        traces.append(
            trace
            | {"hovertemplate": f"%{{x:,}} PTU: %{{y:.3~%}} refused<extra>bucket of {duration_text(other)}</extra>"}
        )
    return traces


def none_refuses(answer: Mapping[str, Any]) -> bool:
    """Whether none of the sizes refused a call, at any depth: nothing to draw."""
    ratios = [told(size, "metrics", "refused", "ratio") for size in answer["sizes"]]
    ratios += [row["refused_ratio"] for row in answer["depths"]]
    return any(ratio is not None for ratio in ratios) and not any(ratios)


def _varied(answer: Mapping[str, Any]) -> dict[float, list[Row]]:
    """What was found at other depths."""
    found: dict[float, list[Row]] = {}
    for row in sorted(answer["depths"], key=lambda row: (row["depth_s"], row["ptu"])):
        if row["refused_ratio"] is not None:
            found.setdefault(row["depth_s"], []).append(row)
    return found


def _busiest(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Utilization in the busiest minute, as found and by the formula."""
    found = [
        (size["ptu"], told(size, "metrics", "utilization", "simulated", "peak_minute")) for size in answer["sizes"]
    ]
    found = [(ptu, value) for ptu, value in found if value is not None]
    formula = [(size["ptu"], size["formula"]["peak_minute"]) for size in answer["sizes"]]
    traces = []
    hover = "%{x:,} PTU: %{y:.3~%} used in the busiest minute<extra></extra>"
    if found:
        title = "recorded" if answer["by"] == "history" else "simulated"
        traces.append(
            _line(title, Style(BLUE, "solid", "circle"), *map(list, zip(*found, strict=True)))
            | {"hovertemplate": hover}
        )
    title = "by the formula"
    traces.append(
        _line(title, Style(GREY, "dot", "diamond-open"), *map(list, zip(*formula, strict=True)))
        | {"hovertemplate": hover}
    )
    return traces


def _cost(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each size costs a month, by each way to pay for it."""
    currency = parts.safe(answer["money"]["currency"], 10)
    traces = []
    for term, (title, style) in _TERMS.items():
        rows = [(size["ptu"], told(size, "cost", "per_month", term)) for size in answer["sizes"]]
        rows = [(ptu, value) for ptu, value in rows if value is not None]
        if rows:
            trace = _line(title, style, *map(list, zip(*rows, strict=True)))
            traces.append(
                trace | {"hovertemplate": f"%{{x:,}} PTU: {currency} %{{y:,.0f}} per month<extra>{title}</extra>"}
            )
    title, whole = _pay_as_you_go(answer["money"])
    if whole is not None and traces:
        sizes = [size["ptu"] for size in answer["sizes"]]
        trace = _line(title, Style(ORANGE, "dashdot", "x"), sizes, [whole] * len(sizes))
        traces.append(trace | {"hovertemplate": f"{title}: {currency} %{{y:,.0f}} per month<extra></extra>"})
    return traces


def _pay_as_you_go(money: Mapping[str, Any]) -> tuple[str, float | None]:
    """What a month of tokens costs, and for how many hours of the load: those that were asked about, or all that it has."""
    hour, month = money["pay_as_you_go"]["per_hour"], money["month"]
    if month is not None:
        return f"pay-as-you-go, {number_text(month['hours'])} h of this load", month["pay_as_you_go"]
    hours = money["hours_of_a_month"]
    return f"pay-as-you-go, all {number_text(hours)} h of a month", None if hour is None else hour * hours


def _line(title: str, style: Style, sizes: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": title,
        "x": list(sizes),
        "y": parts.numbers(values),
        "line": parts.line(style.color, style.dash),
        "marker": {"color": style.color, "symbol": style.symbol, "size": 8},
        "cliponaxis": False,
    }


_COLUMNS = {
    "size-refused": ("refused", "95 % low", "95 % high"),
    "size-busiest": ("busiest minute", "by the formula"),
    "size-cost": tuple(title for title, _ in _TERMS.values()),
}


def _cells(name: str, size: Row) -> list[str | None]:
    """What a table says of a size."""
    if name == "size-cost":
        costs = [told(size, "cost", "per_month", term) for term in _TERMS]
        return [None if cost is None else number_text(round(cost)) for cost in costs]
    if name == "size-busiest":
        shares = [told(size, "metrics", "utilization", "simulated", "peak_minute"), size["formula"]["peak_minute"]]
    else:
        bounds = told(size, "metrics", "refused", "ci95") or (None, None)
        shares = [told(size, "metrics", "refused", "ratio"), *bounds]
    return [None if share is None else share_text(share) for share in shares]


def _verdict(answer: Mapping[str, Any], size: Row) -> str:
    if size["ptu"] == answer["recommended"]:
        return "recommended"
    return "passed" if size["passed"] else "not passed"

"""What a size costs, on a terminal. The `money` of `ptubench size --json` in, tables out; computes nothing."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.ptu.money import TERMS
from ptubench.ptu.sizing import TYPES
from ptubench.report.text import clean, sheet, untrusted
from ptubench.units import number_text, share_text

Answer = Mapping[str, Any]
_SHORT = {"hour": "by the hour", "month": "for 1 month", "year": "for 1 year"}


def money(answer: Answer) -> RenderableType:
    """PTUs by each term, tokens as you go, from how many hours on PTUs are cheaper; and the month, if it was told."""
    parts = [_ptu(answer), *_as_you_go(answer)]
    if answer["money"]["month"] is not None:
        parts += [Text(), _month(answer)]
    return Group(*parts)


def _ptu(answer: Answer) -> RenderableType:
    """Each type's size by each term."""
    said = answer["money"]
    table = sheet("Price of PTUs", "PTU", "an hour", *(_SHORT[term] for term in TERMS))
    rows = {TYPES[name]: (row["recommended"], row["cost"]) for name, row in answer["types"].items()}
    if not rows and answer["recommended"] is not None:
        size = next(size for size in answer["sizes"] if size["ptu"] == answer["recommended"])
        rows = {TYPES[answer["type"]]: (size["ptu"], size["cost"])}
    for label, (ptu, cost) in rows.items():
        months = dict.fromkeys(TERMS) if cost is None else cost["per_month"]
        cells = [_amount(None if cost is None else cost["per_hour"]), *(_whole(months[term]) for term in TERMS)]
        table.add_row(*map(Text, (label, number_text(ptu), *cells)))
    source = "" if said["ptu"]["source"] is None else f" ({clean(said['ptu']['source'], 40)})"
    month = f"{said['currency']} per month of {said['hours_of_a_month']:g} hours"
    text = f"{month}, paid by the hour or reserved for 1 month or 1 year; {said['prices']} of {said['dated']}{source}"
    return Group(table, untrusted(text, "dim", limit=200))


def _as_you_go(answer: Answer) -> list[RenderableType]:
    """The same load on Standard, and when PTUs are the cheaper way."""
    said = answer["money"]
    paid, ptu = said["pay_as_you_go"], said["ptu"]
    lines: list[RenderableType] = []
    if paid["per_hour"] is None:
        lines.append(untrusted(f"Pay-as-you-go is not known: {paid['why']}", limit=240))
    else:
        per_hour = f"{_amount(paid['per_hour'])} {said['currency']} for an hour of this load"
        lines.append(Text(f"Pay-as-you-go: {per_hour}, {_amount(paid['per_million_tokens'])} per million tokens"))
        lines.append(untrusted(paid["source"], "dim", limit=160))
    if ptu["why"] is not None:
        lines.append(untrusted(f"PTUs are not compared: {ptu['why']}", limit=240))
    lines += _break_even(said)
    return lines


def _break_even(said: Answer) -> list[RenderableType]:
    """From how many hours on PTUs are cheaper, where both prices are known."""
    ptu, most = said["ptu"], said["hours_of_a_month"]
    hours = {term: value for term, value in ptu["break_even_hours"].items() if value is not None}
    if not hours:
        return []
    size = f"{ptu['size']:,} PTU {TYPES[said['type']]}"
    if min(hours.values()) > most:
        return [Text(f"{size} cost more than that however many hours of this load a month has.")]
    each = ", ".join(f"{TERMS[term]} {_hours(value, most)}" for term, value in hours.items())
    return [
        Text(f"{size} cost less than that from so many hours of this load a month on: {each}."),
        Text("You pay for PTUs at night and on weekends too."),
    ]


def _hours(value: float, most: float) -> str:
    return "never" if value > most else f"{value:,.0f}"


def _month(answer: Answer) -> RenderableType:
    """Every way to pay for the month, the cheapest marked."""
    said = answer["money"]
    month, cheapest = said["month"], said["month"]["cheapest"]
    title = f"{number_text(month['hours'])} hours of this load a month"
    table = sheet("A month", "PTU", "PTUs", "pay-as-you-go", "in all")
    table.columns[0].no_wrap = False  # it can be read on two lines, an amount or a mark cut short can't
    table.add_column(no_wrap=True)
    ways = [("pay_as_you_go", None, "pay-as-you-go", None, None, month["pay_as_you_go"], month["pay_as_you_go"])]
    for term, cost in month["ptu"].items():
        ways.append(("ptu", term, TERMS[term], said["ptu"]["size"], cost, None, cost))
    for term, mix in month["mix"].items():
        if mix is not None and mix["ptu"] and mix["diverted_share"]:
            label = f"mixed, {TERMS[term]}"
            ways.append(("mix", term, label, mix["ptu"], mix["ptu_cost"], mix["diverted_cost"], mix["total"]))
    for plan, term, label, size, ptus, tokens, total in ways:
        best = cheapest is not None and (cheapest["plan"], cheapest["term"]) == (plan, term)
        style = "bold green" if best else ""
        cells = (number_text(size, missing=""), _whole(ptus, ""), _whole(tokens, ""), _whole(total))
        table.add_row(
            Text(label, style=style), *(Text(cell, style=style) for cell in cells), Text("cheapest" if best else "")
        )
    return Group(Text(title, style="bold"), table, *_unmixed(month["mix"]), *_verdict(said))


def _unmixed(mixes: Answer) -> list[RenderableType]:
    """The mixed plans that are none, and why."""
    known = {TERMS[term]: mix for term, mix in mixes.items() if mix is not None}
    without = [term for term, mix in known.items() if not mix["ptu"]]
    terms = "" if len(without) == len(known) else f", {' or '.join(without)}"
    lines = [f"mixed{terms}: no number of PTUs pays"] if without else []
    lines += [
        f"mixed, {term}: nothing to divert, {mix['ptu']:,} PTU take every minute in full"
        for term, mix in known.items()
        if mix["ptu"] and not mix["diverted_share"]
    ]
    return [Text(line, style="dim") for line in lines]


def _verdict(said: Answer) -> list[RenderableType]:
    """The cheapest way in words, and what a mix diverts."""
    month = said["month"]
    cheapest = month["cheapest"]
    if cheapest is None:
        return [Text("No verdict: a price is not known.", style="dim")]
    names = {"pay_as_you_go": "pay-as-you-go", "ptu": "PTUs alone", "mix": "PTUs for the base and the rest diverted"}
    term = f" ({TERMS[cheapest['term']]})" if cheapest["term"] else ""
    text = f"By {said['prices']} the cheapest is {names[cheapest['plan']]}{term}: {_whole(cheapest['total'])} {said['currency']} a month."
    lines: list[RenderableType] = [Text(text)]
    if cheapest["plan"] == "mix":
        share = share_text(month["mix"][cheapest["term"]]["diverted_share"])
        lines.append(Text(f"{share} of its normalized tokens go to Standard, reckoned minute by minute.", style="dim"))
    return lines


def _whole(value: float | None, missing: str = "–") -> str:
    return missing if value is None else f"{value:,.0f}"


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"

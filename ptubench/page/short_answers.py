"""What an answer of `ptubench size` or `ptubench capacity` says, in a few plain sentences.

A JSON document in, sentences out; every figure stands in the document.
"""

from collections.abc import Mapping
from typing import Any

from ptubench.page.charts.parts import count_text
from ptubench.ptu.capacity import by_whom
from ptubench.ptu.sizing import TYPES
from ptubench.report.text import clean
from ptubench.units import duration_text, number_text, share_text

Answer = Mapping[str, Any]

_TERMS = {"hour": "by the hour", "month": "reserved for a month", "year": "reserved for a year"}
_PLANS = {
    "pay_as_you_go": "pay-as-you-go",
    "ptu": "PTUs alone",
    "mix": "PTUs and pay-as-you-go for what is beyond them",
}


# --- which size -------------------------------------------------------------------------------------------------------


def of_size(answer: Answer) -> list[str]:
    """Which size, what it costs beside paying for tokens, and what both stand on."""
    return [sentence for sentence in (_size(answer), *_money(answer), *_stands_on(answer)) if sentence]


def _size(answer: Answer) -> str:
    best, type_ = answer["recommended"], TYPES.get(answer["type"], str(answer["type"]))
    if best is None:
        return f"None of {count_text(len(answer['sizes']), 'size')} that were looked at is recommended: the table says which rule each one breaks."
    draws = answer["formula"]["draws"]
    offered = draws["ptu_headroom"].get(answer["type"]) if draws is not None else None
    luck = (
        f"; other draws of the same load ask for {offered[0]:,} to {offered[1]:,}"
        if offered and None not in offered and offered[0] != offered[1]
        else ""
    )
    return f"This load needs {best:,} PTU {type_}{luck}."


def _money(answer: Answer) -> list[str]:
    """What the size costs, and whether paying for tokens costs less."""
    money, best = answer["money"], answer["recommended"]
    currency, month = clean(money["currency"], 10), money["month"]
    listed = f"{money['prices']} of {money['dated']}"
    said = []
    costs = {term: money["ptu"]["per_month"][term] for term in _TERMS}
    if best is not None and any(cost is not None for cost in costs.values()):
        told = [
            f"{number_text(round(cost))} {currency} {_TERMS[term]}" for term, cost in costs.items() if cost is not None
        ]
        said.append(f"It costs {', '.join(told)}, for each month of {money['hours_of_a_month']:g} hours ({listed}).")
    hour = money["pay_as_you_go"]["per_hour"]
    if hour is None:
        return said
    if month is None:
        said.append(
            f"Paying for the tokens instead (pay-as-you-go) costs {number_text(hour)} {currency} for an hour of this load{_even(money)}."
        )
        return said
    said.append(
        f"Paying for the tokens instead (pay-as-you-go) costs {number_text(round(month['pay_as_you_go']))} {currency} for "
        f"{number_text(month['hours'])} hours of this load a month."
    )
    if (cheapest := month["cheapest"]) is not None:
        term = "" if cheapest["term"] is None else f", {_TERMS[cheapest['term']]}"
        said.append(
            f"The cheapest of all ways is {_PLANS[cheapest['plan']]}{term}: {number_text(round(cheapest['total']))} {currency} a month."
        )
    return said


def _even(money: Answer) -> str:
    """From how many hours of the load on PTUs are the cheaper way, by the cheapest term."""
    least = {term: hours for term, hours in money["ptu"]["break_even_hours"].items() if hours is not None}
    term = min(least, key=lambda term: float(least[term]), default=None)
    if term is None:
        return ""
    hours, most = least[term], money["hours_of_a_month"]
    if hours > most:
        return f": less than these PTUs however they are paid, even for all {most:g} hours of a month"
    return f": more than these PTUs {_TERMS[term]} from {number_text(round(hours))} such hours a month on"


def _stands_on(answer: Answer) -> list[str]:
    """What would make it another size."""
    said = []
    share, best = answer["formula"]["cached_share"], answer["recommended"]
    none = next((row for row in answer["cached"] if row["source"] == "none"), None)
    uncached = None if none is None else none["ptu"].get(answer["type"])
    if share and uncached is not None and uncached != best:
        said.append(
            f"That counts on {share_text(share)} of the prompt tokens coming from the cache: without it the formula asks for {uncached:,} PTU."
        )
    if answer["by"] == "simulation":
        said.append(emptiness(answer))
    return said


def emptiness(answer: Answer) -> str:
    """Why few refusals in a simulation are no promise."""
    depth = (answer["assumptions"]["simulated"] or {}).get("depth")
    if depth is None:
        return ""
    return (
        f"It was simulated with a bucket that begins empty and holds {duration_text(depth)} of the capacity (an assumption: Azure "
        "publishes no figure), so that a short overload is not refused; a longer one is."
    )


# --- which rate -------------------------------------------------------------------------------------------------------


def of_capacity(answer: Answer) -> list[str]:
    """Which rate, by what that is said, and what it is of the published capacity."""
    result, found = answer["result"], answer["capacity"]
    said = []
    if result is None:
        said.append("No rate is known that the target sustains under these rules.")
    else:
        size = f" of {answer['target']['ptu']:,} PTU" if answer["target"].get("ptu") else ""
        how = "95 % interval " if result["by"] == "curve" else "between "
        said.append(
            f"The deployment{size} sustains {number_text(result['rpm'])} calls a minute of this workload under its rules "
            f"({how}{number_text(result['low'])} to {number_text(result['high'])})."
        )
        said.append(_crossed(answer))
    if found is not None and found["of_published"] is not None:
        least = "at least " if found["at_least"] else ""
        said.append(
            f"Its capacity is {least}{share_text(found['of_published'])} of the {by_whom(found['source'])} one."
        )
    return [sentence for sentence in said if sentence]


def _crossed(answer: Answer) -> str:
    """Why the rate is not simply the highest that passed."""
    result = answer["result"]
    if result["by"] != "curve":
        return "It is the highest rate that passed below the lowest that did not."
    rates = [step for step in answer["steps"] if step["kind"] == "rate"]
    above = [step["rate"] for step in rates if step["passed"] and step["rate"] > result["rpm"]]
    below = [step["rate"] for step in rates if not step["passed"] and step["rate"] < result["rpm"]]
    said = "The rate is where the curve through all measured steps crosses the limit."
    if not above and not below:
        return said
    odd = [f"{number_text(rate)} passed" for rate in above] + [f"{number_text(rate)} did not" for rate in below]
    return f"{said} Near it chance decides whether a single step passes: {', '.join(odd)}."


def not_shown(answer: Answer) -> list[str]:
    """What a search does not show."""
    said = []
    if answer["target"]["kind"] == "simulated":
        said.append(
            "A real deployment: this one was simulated, from published capacities and from assumptions about what is not published."
        )
    said.append(
        "Other sizes of calls: a rate is that of this workload, whose calls have their own sizes and output limits."
    )
    said.append(
        "Peaks: each step offers one rate throughout; a load of the same mean that rises and falls is refused more."
    )
    said.append("Other hours and days, and whoever else calls the deployment meanwhile.")
    if answer["not_judged"]:
        said.append(f"What was not judged: {', '.join(clean(rule, 80) for rule in answer['not_judged'])}.")
    return said

"""What a load costs per month as far as prices are known: the money of `ptubench size --json`. Pure.

Nothing unknown is guessed: where a price is missing the number is None and `why` has the sentence. A verdict needs to know how
many hours of the load a month has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptubench.ptu import money
from ptubench.ptu.capacity import Capacity
from ptubench.ptu.money import Mix
from ptubench.ptu.prices import Prices, PtuPrice
from ptubench.ptu.sizing import TYPES, Demand, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be paid for."""

    demand: Demand
    one: Capacity
    """Of a single PTU."""
    model: str
    type: str
    """`global`, `datazone` or `regional`."""
    hours: float | None
    """Of this load per month; None where nobody said."""


def bill(case: Case, prices: Prices, *, ptu: int | None, sizes: Sequence[int]) -> dict[str, Any]:
    """All that can be said of money.

    Args:
        case: the load and the deployment type.
        prices: the table to go by.
        ptu: the size to be judged; None where none is recommended.
        sizes: deployable sizes that a mixed plan may use.

    Returns:
        currency, prices (`list prices` or `your prices`), dated, type, hours_of_a_month.
        pay_as_you_go{per_hour (of this load), per_million_tokens, source, why}.
        ptu{size, per_hour, per_month{hour, month, year}, break_even_hours{…}, source, why}; terms as in `money.TERMS`.
        month{hours, pay_as_you_go, ptu{…}, mix{…}, cheapest}: None without `case.hours`.
    """
    price = prices.ptu.get(case.type)
    minutes, as_you_go = _as_you_go(case, prices)
    return {
        "currency": prices.currency,
        "prices": prices.called,
        "dated": prices.dated.isoformat(),
        "type": case.type,
        "hours_of_a_month": money.HOURS,
        "pay_as_you_go": as_you_go,
        "ptu": _ptu(ptu, price, as_you_go["per_hour"], case.type, prices),
        "month": None
        if case.hours is None
        else _month(case, case.hours, price, minutes=minutes, hour=as_you_go["per_hour"], ptu=ptu, sizes=sizes),
    }


def cost(ptu: int, prices: Prices, type_: str) -> dict[str, Any] | None:
    """{per_hour, per_month{hour, month, year}} of a deployment; None where nothing is known of the type's price."""
    price = prices.ptu.get(type_)
    return None if price is None else _paid(ptu, price)


def _paid(ptu: int, price: PtuPrice) -> dict[str, Any]:
    return {"per_hour": None if price.hour is None else price.hour * ptu, "per_month": money.per_month(ptu, price)}


def _as_you_go(case: Case, prices: Prices) -> tuple[Floats | None, dict[str, Any]]:
    """Money for each minute on Standard, and what is said of it."""
    said: dict[str, Any] = {"per_hour": None, "per_million_tokens": None, "source": None, "why": None}
    price, factor = prices.of_model(case.model), prices.standard.get(case.type)
    if price is None:
        return None, said | {"why": _lacks(prices, f"tokens of `{case.model}`")}
    if factor is None:
        return None, said | {"why": _lacks(prices, f"Standard deployments of type {case.type}")}
    of_type = "" if factor == 1 else f", times {factor:g} for {TYPES[case.type]}"
    said["source"] = f"{prices.currency} per million tokens: {price.told} ({price.source}){of_type}"
    minutes = money.as_you_go(case.demand, price, factor)
    if minutes is None:
        return None, said | {"why": _lacks(prices, f"price for cached tokens of `{case.model}`")}
    hour = money.per_hour(minutes, case.demand)
    tokens = case.demand.tokens_per_hour
    return minutes, said | {"per_hour": hour, "per_million_tokens": hour / tokens * 1e6 if tokens else None}


def _lacks(prices: Prices, what: str) -> str:
    """That a table says nothing of something, and what to do."""
    if prices.called == "list prices":
        return f"the list prices of {prices.dated.isoformat()} have no {what}; give --prices FILE"
    return f"{prices.called} of {prices.dated.isoformat()} have no {what}; add it to the file of --prices"


def _ptu(size: int | None, price: PtuPrice | None, hour: float | None, type_: str, prices: Prices) -> dict[str, Any]:
    """The deployment by itself, and from how many hours of the load on it is the cheaper way."""
    said: dict[str, Any] = {
        "size": size,
        "per_hour": None,
        "per_month": dict.fromkeys(money.TERMS),
        "break_even_hours": dict.fromkeys(money.TERMS),
        "source": None if price is None else price.source,
        "why": None,
    }
    if price is None:
        return said | {"why": _lacks(prices, f"PTUs of type {type_}")}
    if size is None:
        return said | {"why": "no size is recommended"}
    paid = _paid(size, price)
    hours = {term: money.break_even(month, hour) for term, month in paid["per_month"].items()}
    return said | paid | {"break_even_hours": hours}


def _month(
    case: Case,
    hours: float,
    price: PtuPrice | None,
    *,
    minutes: Floats | None,
    hour: float | None,
    ptu: int | None,
    sizes: Sequence[int],
) -> dict[str, Any]:
    """The month that was asked about: every way to pay for it, and the cheapest."""
    units = dict.fromkeys(money.TERMS) if price is None else money.per_month(1, price)
    alone = {term: None if unit is None or ptu is None else unit * ptu for term, unit in units.items()}
    mixes = {
        term: None
        if unit is None or minutes is None
        else money.best_mix(case.demand, minutes, case.one, hours=hours, sizes=sizes, ptu_month=unit)
        for term, unit in units.items()
    }
    whole = None if hour is None else hour * hours
    return {
        "hours": hours,
        "pay_as_you_go": whole,
        "ptu": alone,
        "mix": {term: None if mix is None else _told(mix) for term, mix in mixes.items()},
        "cheapest": _cheapest(whole, alone, mixes),
    }


def _told(mix: Mix) -> dict[str, Any]:
    return {
        "ptu": mix.ptu,
        "ptu_cost": mix.ptu_cost,
        "diverted_share": mix.diverted,
        "diverted_cost": mix.diverted_cost,
        "total": mix.total,
    }


def _cheapest(
    as_you_go: float | None, alone: dict[str, float | None], mixes: dict[str, Mix | None]
) -> dict[str, Any] | None:
    """{plan, term, ptu, total} of the cheapest way; None where pay-as-you-go or PTUs have no price to compare.

    A mix without PTUs is pay-as-you-go, and one that diverts nothing is PTUs alone: neither counts as a mix.
    """
    if as_you_go is None or not any(cost is not None for cost in alone.values()):
        return None
    ways: list[dict[str, Any]] = [{"plan": "pay_as_you_go", "term": None, "total": as_you_go}]
    ways += [{"plan": "ptu", "term": term, "total": cost} for term, cost in alone.items() if cost is not None]
    ways += [
        {"plan": "mix", "term": term, "total": mix.total}
        for term, mix in mixes.items()
        if mix is not None and mix.ptu and mix.diverted
    ]
    return min(ways, key=lambda way: float(way["total"]))

"""What a load costs by list price: PTUs for a month, tokens as you go, and a mix of both. Pure arithmetic.

PTUs are paid for every hour that the deployment exists, tokens only when they are used. A month has 730 hours. Sources of
prices are `ptu.prices`; hourly billing by the minute from creation to deletion and reservations per deployment type:
Azure AI documentation, provisioned-throughput-billing (2026-05-22).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptubench.ptu.capacity import Capacity
from ptubench.ptu.prices import Price, PtuPrice
from ptubench.ptu.sizing import Demand, Floats

HOURS = 730.0
"""Of a month, as Azure's price pages reckon: 365 · 24 / 12."""
TERMS = {"hour": "by the hour", "month": "1-month reservation", "year": "1-year reservation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """PTUs for the base of a load, Standard for what is above; money per month."""

    ptu: int
    """0: all of it pay-as-you-go."""
    ptu_cost: float
    diverted: float
    """Share of the load, in normalized tokens, that goes to Standard."""
    diverted_cost: float

    @property
    def total(self) -> float:
        """Money per month."""
        return self.ptu_cost + self.diverted_cost


def per_month(ptu: int, price: PtuPrice) -> dict[str, float | None]:
    """Money per month for so many PTUs by each term of `TERMS`, around the clock; None where the price is not known."""
    units = {
        "hour": None if price.hour is None else price.hour * HOURS,
        "month": price.month,
        "year": None if price.year is None else price.year / 12,
    }
    return {term: None if unit is None else unit * ptu for term, unit in units.items()}


def as_you_go(demand: Demand, price: Price, factor: float) -> Floats | None:
    """Money for each minute of a load on a Standard deployment; None if cached tokens have no known price.

    Args:
        demand: minute by minute.
        price: of the model on Global Standard.
        factor: what the deployment type's tokens cost relative to that.
    """
    found = price.of(demand.prompt, demand.cached, demand.completion)
    return None if found is None else found * factor


def per_hour(minutes: Floats, demand: Demand) -> float:
    """Money for an hour of a load, from that of its minutes."""
    return float(minutes.sum()) * demand.scale / demand.minutes * 60


def break_even(month: float | None, hour: float | None) -> float | None:
    """Hours of a load per month from which PTUs for `month` are cheaper than Standard at `hour`.

    More than `HOURS` means never. None where either is not known, or the load costs nothing.
    """
    return None if month is None or not hour else month / hour


def best_mix(
    demand: Demand, money: Floats, one: Capacity, *, hours: float, sizes: Sequence[int], ptu_month: float
) -> Mix:
    """The cheapest of 0 PTU and `sizes` where what is above them, minute by minute, goes to Standard.

    A minute's calls share its fate evenly: no bucket smooths it, and output limits reserve nothing.

    Args:
        demand: minute by minute.
        money: what each minute would cost on Standard (`as_you_go`).
        one: the capacity of a single PTU.
        hours: of this load per month.
        sizes: deployable ones, ascending.
        ptu_month: money per PTU and month.
    """
    tokens = demand.normalized(one)
    capacity = one.tpm * (1.0 if demand.lasts is None else demand.lasts)
    scale = hours * 60 / demand.minutes * demand.scale
    whole = float(tokens.sum())

    def mixed(ptu: int) -> Mix:
        over = np.maximum(tokens - ptu * capacity, 0.0)
        share = np.divide(over, tokens, out=np.zeros_like(over), where=tokens > 0)
        diverted = float(over.sum()) / whole if whole else 0.0
        return Mix(
            ptu=ptu,
            ptu_cost=ptu * ptu_month,
            diverted=diverted,
            diverted_cost=float((money * share).sum()) * scale,
        )

    # Each PTU takes over no more than the one before it, so that from the cheapest size on the total only rises.
    best = bisect_left(range(len(sizes) - 1), True, key=lambda at: mixed(sizes[at + 1]).total >= mixed(sizes[at]).total)
    return min((mixed(ptu) for ptu in (0, *sizes[best : best + 1])), key=lambda mix: mix.total)

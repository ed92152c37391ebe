"""What the tokens of a window would cost by list price, where who answered is billed per token.

Standard deployments are, and so is what the service spills to. PTUs are paid by the hour, whatever they answer.
"""

from typing import Any

from ptubench.ptu import prices


def no_cost() -> dict[str, Any]:
    """The cost of what is not billed per token."""
    return {"total": None, "per_million_tokens": None, "currency": prices.CURRENCY, "source": None, "why": None}


def cost(tpm: dict[str, Any], seconds: float, model: str | None) -> dict[str, Any]:
    """{total, per_million_tokens, currency, source, why}; `why` says why there is no number.

    Args:
        tpm: tokens per minute in the window (`rates.tpm`).
        seconds: length of the window.
        model: who answered, by the name that was typed or that answers carry.
    """
    result = no_cost()
    price = prices.find(model) if model is not None else None
    if price is None:
        return result | {"why": prices.unknown(model)}
    result["source"] = prices.source(price)
    if not tpm["total"]:
        return result | {"why": "no tokens were told"}
    total = price.of(tpm["prompt"], tpm["cached"] or 0.0, tpm["completion"])
    if total is None:
        return result | {"why": f"the price of cached tokens of `{model}` is not known, and some were cached"}
    return result | {"total": total * seconds / 60, "per_million_tokens": total / tpm["total"] * 1e6}

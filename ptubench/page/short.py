"""What a run says, in a few plain sentences: how much the deployment took, how fast, what was refused, what it costs.

A summary in, sentences out. Every figure stands in the summary, or is a list price.
"""

from collections.abc import Mapping
from typing import Any

from ptubench.page.charts.parts import count_text
from ptubench.page.facts import first_read
from ptubench.page.model import Fact
from ptubench.ptu import bill
from ptubench.ptu.capacity import by_whom
from ptubench.ptu.prices import Prices
from ptubench.ptu.sizing import TYPES
from ptubench.report.latency import in_unit
from ptubench.report.text import clean
from ptubench.units import duration_text, number_text, share_text

Summary = Mapping[str, Any]

_MANY = 0.3
"""Share from which "one call in three" says less than a percentage."""
_SHARES = {"p50": "half", "p95": "95 of 100"}
_AFTERWARDS = {
    "none": "whoever does not try again gets an error",
    "retry": "they were tried again after a wait",
    "divert": "a second deployment was asked instead",
}


def in_short(summary: Summary, prices: Prices) -> list[str]:
    """The sentences, in the order of a page; no figures where they must not be used."""
    if summary["validity"]["verdict"] == "invalid":
        return [
            "The client did not measure what it was asked to: the figures below are shown to find out why, and for nothing else."
        ]
    if not summary["metrics"]["rpm"]["offered"]:
        return ["No call was due in the window, so there is nothing to say of the deployment."]
    said = (
        _ended(summary["run"]),
        _took(summary),
        _idle(summary),
        _fast(summary),
        _refused(summary),
        _failed(summary),
        cost(summary, prices),
    )
    return [sentence for sentence in said if sentence]


def terms(summary: Summary) -> list[Fact]:
    """What the words of the headline figures mean, for who has never read them."""
    first, known = first_read(summary), summary["target"]["capacity"]
    said = {}
    if first != "e2e":
        until = "the first output that is not reasoning" if first == "ttfo" else "the first piece of the answer"
        said[first.upper()] = f"time from sending a call to {until}"
    said["E2E"] = "time from sending a call to the end of its answer"
    said["p50, p95"] = "half of the calls, and 95 of 100, are at most that slow"
    if known:
        said["PTU"] = "provisioned throughput unit, in which capacity is bought"
        said["Normalized tokens"] = (
            f"what PTUs count: a token of the answer counts as {known['output_weight']:g} of the prompt"
        )
    said["Refused"] = "answered 429, too many requests, or left to another deployment"
    return [Fact(label=label, text=text) for label, text in said.items()]


def cost(summary: Summary, prices: Prices) -> str:
    """What the deployment costs by list price, or what its tokens do; empty where nobody knows."""
    target, billed = summary["target"], summary["metrics"]["cost"]
    if billed["total"] is not None:
        currency = clean(billed["currency"], 10)
        return (
            f"At list prices the tokens of the window cost {number_text(billed['total'])} {currency}, which is "
            f"{number_text(billed['per_million_tokens'])} {currency} per million tokens."
        )
    if target.get("ptu") is None or target.get("type") == "standard":
        return ""
    dated = f"{prices.called} of {prices.dated.isoformat()}, used or not"
    if (paid := bill.cost(target["ptu"], prices, str(target.get("type")))) is not None:
        month = paid["per_month"]["month"]
        reserved = "" if month is None else f", or {number_text(round(month))} a month where reserved for a month"
        return f"{target['ptu']:,} PTU {TYPES[target['type']]} cost {_money(paid, prices)} an hour{reserved} ({dated})."
    costs = {title: bill.cost(target["ptu"], prices, name) for name, title in TYPES.items()}
    said = [f"{_money(paid, prices)} {title}" for title, paid in costs.items() if paid is not None and paid["per_hour"]]
    return f"An hour of {target['ptu']:,} PTU costs {', '.join(said)} ({dated})." if said else ""


def hourly(target: Mapping[str, Any], prices: Prices) -> float | None:
    """What a deployment costs by the hour; None where its size or type, or the price, is not known."""
    paid = None if target.get("ptu") is None else bill.cost(target["ptu"], prices, str(target.get("type")))
    return None if paid is None else paid["per_hour"]


def _money(paid: Mapping[str, Any], prices: Prices) -> str:
    return f"{number_text(paid['per_hour'])} {prices.currency}"


def _ended(told: Mapping[str, Any]) -> str:
    if told["ended"] == "completed":
        return ""
    start, end = told["window_s"]
    return f"The run ended early ({clean(told['ended'], 20)}): what follows is of {duration_text(round(max(0.0, end - start), 1))} only."


def _took(summary: Summary) -> str:
    """Calls and tokens a minute."""
    rpm, tpm, target = (*(summary["metrics"][name] for name in ("rpm", "tpm")), summary["target"])
    took = f"Of {number_text(rpm['offered'])} calls a minute, the deployment took {number_text(rpm['admitted'])}"
    if tpm["of_published"] is not None:
        return (
            f"{took}: {number_text(round(tpm['normalized']))} normalized tokens a minute, {share_text(tpm['of_published'])} of the "
            f"{by_whom(target['capacity']['source'])} capacity of {target['ptu']:,} PTU."
        )
    return f"{took}: {number_text(round(tpm['total']))} tokens a minute." if tpm["total"] else f"{took}."


def _idle(summary: Summary) -> str:
    """That it took more than it can go on taking, where it did (`analysis.notes`)."""
    if "idle_bucket" not in {note["code"] for note in summary["notes"]}:
        return ""
    return "That is more than it sustains: it had been idle, and a deployment that was absorbs an overload for a while."


def _fast(summary: Summary) -> str:
    """The two latencies that are read first."""
    metrics, first = summary["metrics"], first_read(summary)
    if not metrics[first]["of"]:
        return ""
    named = dict.fromkeys((first, "e2e"))
    said = [_within(metrics[name], name) for name in named if _within(metrics[name], name)]
    return f"Of the calls that it took, {'; '.join(said)}." if said else ""


def _within(distribution: Mapping[str, Any], name: str) -> str:
    """How long half of the calls took, and 95 of 100, as far as that is known."""
    begun = name != "e2e"
    told = [at for at in _SHARES if distribution[at] is not None]
    times = [in_unit(distribution[at], "s") for at in told]
    said = [f"{_SHARES[at]} within {time}" for at, time in zip(told[1:], times[1:], strict=True)]
    if told:
        said.insert(
            0, f"{_SHARES[told[0]]} {'began to answer' if begun else 'were answered in full'} within {times[0]}"
        )
    never = [_SHARES[at] for at in _SHARES if at in distribution["unanswered"]]
    if never:
        did, all_of_it = ("did", "began to answer") if begun else ("were", "were answered in full")
        said.append(f"fewer than {never[0]} ever {did if told else all_of_it}")
    return f"{' and '.join(said)} ({name.upper()})" if said else ""


def _refused(summary: Summary) -> str:
    """What was refused, and what that means for who calls."""
    refused, requests = summary["metrics"]["refused"], summary["metrics"]["requests"]
    offered = requests["total"] - requests["unsent"]
    if not refused["count"]:
        return f"It refused none of {count_text(offered)}."
    policy = summary["workload"].get("throttling", {}).get("on_429", "none")
    often = f", one call in {round(1 / refused['ratio']):,}" if refused["ratio"] < _MANY else ""
    if requests["spilled"] >= refused["count"]:
        return f"It refused {share_text(refused['ratio'])}{often}: Azure let another deployment answer them."
    found = "" if policy == "none" else f", and {requests['ok']:,} of {offered:,} calls were answered in full"
    return f"It refused {share_text(refused['ratio'])} (429){often}: {_AFTERWARDS[policy]}{found}."


def _failed(summary: Summary) -> str:
    failed = summary["metrics"]["failed"]
    if not failed["count"]:
        return ""
    kinds = sorted(failed["by_kind"], key=lambda kind: -failed["by_kind"][kind])
    return f"{share_text(failed['ratio'])} failed otherwise ({', '.join(clean(kind, 30) for kind in kinds[:3])})."

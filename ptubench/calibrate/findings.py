"""What a measured run tells of its deployment, with intervals, and what it can't tell, a sentence each.

From the run alone: the published table gives only the weights of tokens. In: a run's columns. Out: figures that take the
place of assumed ones when a size is looked for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptubench.analysis import rates, saturation
from ptubench.analysis import requests as per_request
from ptubench.analysis.columns import Attempts, Run, select
from ptubench.analysis.ledger import Ledger, ledger, refusals, reserved
from ptubench.analysis.metrics import due
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import Requests
from ptubench.analysis.saturation import AtLeast
from ptubench.calibrate import fit
from ptubench.calibrate.drained import Drained, drained
from ptubench.calibrate.fit import Found
from ptubench.calibrate.speed import FEWEST, Speed, speed
from ptubench.ptu.capacity import Capacity, capacity
from ptubench.units import share_text

_SCATTERED = 1.0  # seconds by which 429s are off their line that no rounding explains
_UNTOLD = 0.01  # share of the admitted calls without usage from which on it is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A figure is None where the run can't tell it; `unknown` says why."""

    model: str | None
    ptu: int | None
    published: Capacity | None
    """What the table says of the deployment."""
    capacity: Found | None
    """Normalized tokens a minute, by what was admitted while 429s came; by retry-after, where they came in short stretches."""
    by_retry_after: Found | None
    """The same by the arithmetic of retry-after: the check of the former."""
    agrees: bool | None
    """Whether they come to the same."""
    at_least: AtLeast | None
    """Where the capacity is not told."""
    ratio: Found | None
    """What a completion token counts as."""
    ratio_used: float | None
    """By which `capacity` is reckoned: the published one, unless the run contradicts it or another was typed."""
    depth: Found | None
    """Seconds of capacity that fill the bucket."""
    refusals: int
    """That were looked at for the capacity."""
    speed: Speed
    output_of_asked: Found | None
    """Completion tokens per token asked for, of the calls that were answered."""
    cached_share: Found | None
    """Of the prompt tokens."""
    unknown: tuple[str, ...]

    @property
    def tpm_per_ptu(self) -> Found | None:
        """Normalized tokens a minute of one PTU."""
        return None if self.capacity is None or self.ptu is None else self.capacity.times(1 / self.ptu)


def findings(run: Run, *, window: Window, ratio: float | None = None) -> Findings:
    """Read a run.

    Args:
        run: whole; for the capacity all of it counts, also before the window.
        window: that of its summary, for latencies, lengths and the cached share.
        ratio: what a completion token counts as, where somebody typed it; None for what the table says, or the run.
    """
    target = run.head.target
    own = select(run.attempts, ~run.attempts.diverted)
    everything = per_request.requests(run.attempts, run.drops, streams=run.head.workload.stream)
    measured = due(everything, window)
    answered = measured.select(measured.by_target & measured.ok)
    published = _published(target, ratio)
    account, found, why = None, None, _no_account(target, published)
    if published is not None and not why:
        account = ledger(own, published.weights)
        found = drained(own, published.weights, typed=ratio is not None)
    sustained = None if found is None else found.admitted or found.by_retry_after
    at_least = None
    if found is None and not why:
        served = select(own, ~own.spilled)
        at_least = saturation.though_idle(run, served, published, load_end=window[1])
        why = _not_told(at_least, len(refusals(own).at))
    fast = speed(answered, _levels(answered, account, found))
    output, cached = _output(answered), _cached(answered)
    return Findings(
        model=_text(target.get("model")),
        ptu=None if published is None else _ptu(target),
        published=published,
        capacity=None if sustained is None else sustained.times(60),
        by_retry_after=None if found is None or found.by_retry_after is None else found.by_retry_after.times(60),
        agrees=None if found is None else found.agrees,
        at_least=at_least,
        ratio=None if found is None else found.ratio,
        ratio_used=None if found is None else found.ratio_used,
        depth=None if found is None else found.depth,
        refusals=0 if found is None else found.refusals,
        speed=fast,
        output_of_asked=output,
        cached_share=cached,
        unknown=(
            *([why] if why else ()),
            *(_of_account(own, found, _ptu(target)) if found is not None else ()),
            *_of_speed(fast, known_level=found is not None and found.depth is not None),
            *(() if output is not None else ("output lengths: none were asked for, or no answer told its own",)),
            *(() if cached is not None else ("cached share: no answer told how much of its prompt was cached",)),
        ),
    )


def _published(target: dict[str, Any], ratio: float | None) -> Capacity | None:
    """By the table, whatever the size; a run that does not say how many PTUs it had still tells of their sum."""
    try:
        return capacity(
            target.get("model"),
            _ptu(target) or 1,
            ratio=target.get("ratio") if ratio is None else ratio,
            tpm_per_ptu=target.get("tpm_per_ptu"),
        )
    except (AttributeError, TypeError):
        return None  # a head that was edited by hand


def _ptu(target: dict[str, Any]) -> int | None:
    ptu = target.get("ptu")
    return ptu if isinstance(ptu, int) and ptu > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _no_account(target: dict[str, Any], published: Capacity | None) -> str:
    """Why the deployment's account can't be read at all; empty where it can."""
    if target.get("type") == "standard":
        return "capacity: the run was on a Standard deployment, which has a quota and no PTUs"
    if published is None:
        return "capacity: the run does not say which model it was on, so that its tokens can't be weighed; run with --model"
    return ""


def _not_told(at_least: AtLeast, count: int) -> str:
    came = "no 429 came" if not count else f"{count} 429s, or the stretches in which they came, are too few"
    return (
        f"capacity: {came}, so that it is only known to be at least {at_least.text}; drive the deployment to its limit for some minutes, "
        "such as with load: {utilization: 120%}"
    )


def _levels(answered: Requests, account: Ledger | None, found: Drained | None) -> Any:
    """The level of the bucket when each request was sent, as a share of its depth."""
    if account is None or found is None or found.depth is None or found.by_retry_after is None:
        return None
    drain = found.by_retry_after.value
    return account.level(answered.sent, drain=drain, ratio=found.ratio_used) / (drain * found.depth.value)


def _of_account(own: Attempts, found: Drained, size: int | None) -> list[str]:
    """What a saturated run does not tell, and how far its capacity is to be believed."""
    said = []
    admitted = rates.admitted(own) & own.by_target & (own.status < 400)
    untold = float(np.count_nonzero(admitted & ~rates.told(own))) / max(1, int(np.count_nonzero(admitted)))
    if size is None:
        said.append("capacity of one PTU: the run does not say how many it had; run with --ptu")
    if untold > _UNTOLD:
        said.append(
            f"{share_text(untold)} of the admitted calls told no usage: the capacity may be higher by about that"
        )
    if found.agrees is False or (found.scatter or 0.0) > _SCATTERED:
        said.append(
            "the retry-after of the 429s does not fit what was charged: others were calling, and the deployment takes more "
            "than is found, or the service reckons otherwise"
        )
    if not reserved(own):
        said.append(
            "output ratio and depth: some calls had no output limit, and what is reserved for these is not published"
        )
        return said
    if found.by_retry_after is None:
        said.append("output ratio and depth: the 429s did not say how long to wait")
        return said
    if found.ratio is None:
        said.append("output ratio: the calls are too much alike in their mix of prompt and completion")
    if found.depth is None:
        said.append("depth of the bucket: 429s came at once, so that it was not empty before, or the load was uneven")
    return said


def _of_speed(found: Speed, *, known_level: bool) -> list[str]:
    said = []
    if found.latency is None:
        said.append(f"time to first token: fewer than {FEWEST} answers showed it (streamed, without hidden reasoning)")
    else:
        if found.prefill is None:
            said.append("TTFT by prompt length: the prompts are too much alike; it is taken as that of the run's own")
        if found.load is None:
            said.append(
                "TTFT by load: the bucket was about as full all the while; it is taken as that of the run"
                if known_level
                else "TTFT by load: how full the bucket was is not known; what is assumed of its growth stands"
            )
    if found.tbt is None:
        said.append(f"time between tokens: fewer than {FEWEST} answers showed it")
    return said


def _output(answered: Requests) -> Found | None:
    """Completion tokens, without reasoning, to what was asked for."""
    asked = answered.of_last("completion_asked")
    got = answered.completion_tokens - np.nan_to_num(answered.reasoning_tokens)
    both = ~np.isnan(asked) & ~np.isnan(got)
    return fit.of_sums(got[both], asked[both])


def _cached(answered: Requests) -> Found | None:
    prompt, cached = answered.of_last("prompt_tokens"), answered.of_last("cached_tokens")
    both = ~np.isnan(prompt) & ~np.isnan(cached)
    return fit.of_sums(cached[both], prompt[both])


def plain(found: Findings) -> dict[str, Any]:
    """The findings as JSON: {value, ci95} or null for each."""
    fast = found.speed
    figures = {
        "capacity_tpm": found.capacity,
        "capacity_tpm_by_retry_after": found.by_retry_after,
        "tpm_per_ptu": found.tpm_per_ptu,
        "ratio": found.ratio,
        "depth_s": found.depth,
        "latency_s": fast.latency,
        "prefill": fast.prefill,
        "load": fast.load,
        "ttft_spread": fast.spread,
        "tbt_s": fast.tbt,
        "tbt_spread": fast.tbt_spread,
        "output_of_asked": found.output_of_asked,
        "cached_share": found.cached_share,
    }
    at_least = found.at_least
    return {
        "model": found.model,
        "ptu": found.ptu,
        "published": None
        if found.published is None
        else {
            "tpm": None if found.ptu is None else found.published.tpm,
            "tpm_per_ptu": found.published.tpm_per_ptu,
            "ratio": found.published.weights.output,
            "source": found.published.source,
        },
        "found": {
            name: None if one is None else {"value": one.value, "ci95": [one.low, one.high]}
            for name, one in figures.items()
        },
        "agrees": found.agrees,
        "ratio_used": found.ratio_used,
        "at_least": None if at_least is None else {"rpm": at_least.rpm, "tpm_normalized": at_least.tpm_normalized},
        "refusals": found.refusals,
        "answers": fast.answers,
        "unknown": list(found.unknown),
    }

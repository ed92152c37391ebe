"""What the run of `--from` puts in the place of what is published or assumed: a run file in, plain data out.

What was typed comes before what was measured, and that before what the workload file, the table or nobody says.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import msgspec

from ptubench.analysis.gather import load
from ptubench.analysis.summary import summary_of
from ptubench.calibrate.findings import Findings, findings
from ptubench.errors import UsageError
from ptubench.ptu import catalogue
from ptubench.ptu.capacity import Capacity
from ptubench.secret import shown
from ptubench.sim.options import SimOptions

_SLOWEST = -NormalDist().inv_cdf(0.01)
"""Standard deviations below the middle that 99 % of the calls exceed: a target speed is that one."""
_OTHER_LOAD = ("short_answers", "prompt_tokens", "cached_share")
"""Why a run can be invalid and still tell of its deployment: its calls were not those that were asked for."""
LEFT_OUT = "not separable from the base latency, left out"
_AT_ONCE = 1e9
"""Prompt tokens a second where their number had no effect that could be told."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run, as far as sizes go."""

    file: str
    """Its name, without folders."""
    summary: Mapping[str, Any]
    findings: Findings

    @property
    def source(self) -> str:
        """Where a figure of it comes from."""
        return f"measured in {self.file}"

    @property
    def ratio(self) -> float | None:
        """By which its capacity is reckoned; None where that is not known."""
        return self.findings.ratio_used if self.tpm_per_ptu is not None else None

    @property
    def tpm_per_ptu(self) -> float | None:
        """Normalized tokens a minute of one PTU; None where the run can't tell."""
        found = self.findings.tpm_per_ptu
        return None if found is None else found.value

    @property
    def judges_latency(self) -> bool:
        """Whether simulated latencies are those that were measured."""
        return self.findings.speed.latency is not None and self.findings.speed.tbt is not None


def read(path: Path, *, model: str, ratio: float | None) -> Measured:
    """Read a run for a size.

    Args:
        path: of the run file.
        model: that a size is looked for.
        ratio: what a completion token counts as, where it was typed.

    Raises:
        UsageError: no run file; one that can't be believed, told no tokens, or is of another model.
    """
    run = load(path)
    summary = summary_of(run)
    tpm, validity = summary["metrics"]["tpm"], summary["validity"]
    if not tpm["prompt"] or tpm["cached"] is None:
        raise UsageError(
            f"--from {path}: no answer in its window told its tokens, so that nothing can be learned from it"
        )
    invalid = [
        one["text"] for one in validity["reasons"] if one["level"] == "invalid" and one["code"] not in _OTHER_LOAD
    ]
    if invalid:
        raise UsageError(f"--from {path}: that run is invalid ({invalid[0]}); measure again")
    found = findings(run, window=tuple(summary["run"]["window_s"]), ratio=ratio)
    if found.model is not None and _name(found.model) != _name(model):
        raise UsageError(
            f"--from {path}: the run was on {shown(found.model)}, and the size is looked for of {shown(model)}; what one "
            "model does says nothing of another"
        )
    return Measured(file=path.name, summary=summary, findings=found)


def capacity_of(one: Capacity, measured: Measured | None) -> Capacity:
    """The same capacity of a single PTU, saying that it was measured where it was.

    Args:
        one: with the measured figures, if there are any.
        measured: the run that they are from; None where they are not from one.
    """
    if measured is None or measured.tpm_per_ptu is None:
        return one
    return msgspec.structs.replace(one, source=measured.source)


def assumed(options: SimOptions, measured: Measured, *, typed: Collection[str]) -> SimOptions:
    """The simulated deployment as the run found it; `typed` are the keys that stand as they are."""
    return msgspec.structs.replace(
        options, **{name: value for name, value in _found(measured.findings).items() if name not in typed}
    )


def sources(options: SimOptions | None, measured: Measured | None, *, typed: Collection[str]) -> dict[str, str]:
    """By parameter of the simulated deployment where its value comes from, for those that were typed or measured."""
    if options is None:
        return {}
    if measured is None:
        said = {}
    else:
        found = measured.findings
        said = dict.fromkeys(_found(found), measured.source) | dict.fromkeys(_left_out(found), LEFT_OUT)
    return said | dict.fromkeys(typed, "as typed")


def _left_out(of: Findings) -> list[str]:
    """Parameters whose effect is inside the latency that was measured."""
    told = {"prefill": of.speed.prefill, "load": of.speed.load}
    return [name for name, one in told.items() if one is None and name in _found(of)]


def _found(of: Findings) -> dict[str, float]:
    """Parameters of a simulated deployment that the run tells.

    One spread stands for first tokens and speed, so it is the larger: percentiles above the middle are not too low.
    """
    known: dict[str, float] = {} if of.depth is None else {"depth": round(of.depth.value, 2)}
    fast = of.speed
    spreads = [one.value for one in (fast.spread, fast.tbt_spread) if one is not None]
    if spreads:
        known["jitter"] = min(max(spreads), 2.0)
    if fast.latency is not None:
        known["latency"] = max(0.0, fast.latency.value)
        known["prefill"] = _AT_ONCE if fast.prefill is None else fast.prefill.value
        if fast.load is not None:
            known["load"] = fast.load.value
        elif of.depth is not None:
            known["load"] = 0.0  # a bucket that was full all the while has slowed what was measured
    if fast.tbt is not None:
        known["tps"] = math.exp(-_SLOWEST * known["jitter"]) / fast.tbt.value
    return known


def _name(model: str) -> str:
    row = catalogue.find(model)
    return model.casefold() if row is None else row.name

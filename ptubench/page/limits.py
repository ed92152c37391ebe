"""What a run does not show: a table of conditions, each with the sentence that is true where it holds.

A run and its summary in, sentences out. Every figure is the summary's.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ptubench.analysis.azure import last
from ptubench.analysis.columns import Run
from ptubench.compare.unlike import kind_of
from ptubench.page.facts import first_read
from ptubench.ptu.capacity import by_whom
from ptubench.record import Resource
from ptubench.samples import NEEDED
from ptubench.units import duration_text, share_text
from ptubench.workload.model import ClosedLoop, Fixed

_LONG_S = 600.0
"""Seconds: runs should last ten minutes or more, until the share of 429s is steady (Azure documentation, provisioned-get-started)."""


class _Told(NamedTuple):
    """What the conditions read."""

    run: Run
    summary: Mapping[str, Any]

    @property
    def target(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.summary["target"]
        return found

    @property
    def metrics(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.summary["metrics"]
        return found

    @property
    def simulated(self) -> bool:
        return kind_of(self.summary) != "real"

    @property
    def real_ptu(self) -> bool:
        """A deployment on Azure that may be provisioned."""
        return self.target["kind"] == "azure" and self.target.get("type") != "standard" and not self.simulated

    @property
    def load_s(self) -> float:
        """How long load was offered, warm-up included: what `duration` of a workload means."""
        return float(self.summary["run"]["window_s"][1])

    @property
    def asked_azure(self) -> bool:
        return any(isinstance(line, Resource) and line.error is None for line in self.run.azure)

    @property
    def notes(self) -> set[str]:
        return {note["code"] for note in self.summary["notes"]}


def limits(run: Run, summary: Mapping[str, Any]) -> list[str]:
    """The sentences that hold for a run."""
    told = _Told(run, summary)
    return [sentence(told) if callable(sentence) else sentence for holds, sentence in _LIMITS if holds(told)]


def _synthetic(told: _Told) -> bool:
    return any(kind.messages is None for kind in told.run.head.workload.classes)


def _one_size(told: _Told) -> bool:
    kinds = told.run.head.workload.classes
    return len(kinds) == 1 and isinstance(kinds[0].prompt, Fixed)


def _caches(told: _Told) -> bool:
    return bool(told.metrics["tpm"]["cached"]) or any(
        kind.cached or kind.messages for kind in told.run.head.workload.classes
    )


def _of_headline(told: _Told) -> int:
    return int(told.metrics[first_read(told.summary)]["of"])


def _first_withheld(told: _Told) -> str:
    name = next(name for name in ("p50", "p90", "p95", "p99") if _of_headline(told) < NEEDED[name])
    return f"Rare slow answers: {name} needs {NEEDED[name]:,} measured calls, and this run has {_of_headline(told):,}."


def _unanswered(told: _Told) -> str:
    distribution = told.metrics["e2e"]
    return f"How slow the slowest were: {distribution['of'] - distribution['count']:,} admitted calls were never answered in full."


def _short(told: _Told) -> str:
    return (
        f"The long run: load was offered for {duration_text(round(told.load_s))}. A deployment that was idle takes more for a while "
        "than it sustains; runs of ten minutes or more show what lasts."
    )


def _one_time(told: _Told) -> str:
    when = str(told.summary["run"]["started_at"])[:16].replace("T", " ")
    return f"Other hours and days, and how runs differ among themselves: this is one run, begun {when} UTC."


def _one_place(told: _Told) -> str:
    regions = ", ".join(told.summary["network"].get("region") or {})
    return f"Other regions and clients: all calls came from one machine{f' and were answered in {regions}' if regions else ''}."


def _unsaved(told: _Told) -> str:
    share = share_text(told.metrics["tpm"]["of_published"])
    by = by_whom(told.target["capacity"]["source"])
    return (
        f"The most it takes: nothing was refused at {share} of the {by} capacity; `ptubench capacity` searches for it."
    )


_LIMITS: Iterable[tuple[Callable[[_Told], bool], str | Callable[[_Told], str]]] = (
    (
        lambda told: told.simulated,
        (
            "A real deployment: this one was simulated, from published capacities and from assumptions about what is not "
            "published. Latency and the depth of the bucket are among the assumptions."
        ),
    ),
    (
        lambda told: told.summary["run"]["clock"] == "virtual",
        "A client and a network: the run took place on a virtual clock, and nothing of it is late.",
    ),
    (
        lambda told: told.summary["validity"]["verdict"] == "invalid",
        "What was asked for: the verdict is invalid, and no figure of this page should be used.",
    ),
    (lambda told: told.summary["run"]["ended"] != "completed", "The planned load: the run ended before it."),
    (lambda told: told.load_s < _LONG_S, _short),
    (
        lambda told: "idle_bucket" in told.notes,
        "A rate that it sustains: the deployment had been idle and absorbed a part of the load (see the notes).",
    ),
    (
        lambda told: told.metrics["refused"]["count"] == 0 and told.metrics["tpm"]["of_published"] is not None,
        _unsaved,
    ),
    (
        lambda told: told.target["capacity"] is None and told.target.get("type") != "standard",
        "How much of the capacity was used: model and size of the deployment are not known.",
    ),
    (
        lambda told: told.real_ptu and last(told.run, "run") is None,
        "Whether others used the deployment meanwhile, and what Azure counted: Azure Monitor was not asked.",
    ),
    (
        lambda told: told.real_ptu and not told.asked_azure,
        "Whether the deployment is what was typed: Azure Resource Manager was not asked (--resource).",
    ),
    (lambda told: not told.simulated, _one_place),
    (lambda _: True, _one_time),
    (
        _synthetic,
        (
            "Your own prompts: the text was synthetic, of the sizes that the workload gives. Content filters and caches may "
            "treat real text otherwise, and its answers have other lengths."
        ),
    ),
    (
        _one_size,
        "A mix of sizes: every prompt had the same size; where long and short ones share the PTUs, they are refused and wait differently.",
    ),
    (lambda told: not _caches(told), "What prompt caching saves: no two prompts had a long beginning in common."),
    (
        lambda told: "limit_equals_length" in told.notes,
        "What a higher output limit does: the answers used their whole limit, so nothing was reserved in vain.",
    ),
    (
        lambda told: told.metrics["throttled"]["count"] > 0 and told.run.head.workload.throttling.on_429 == "none",
        "What an application that retries would see: a 429 was counted and not repeated.",
    ),
    (
        lambda told: isinstance(told.run.head.workload.load, ClosedLoop),
        "An overload: a closed loop waits for answers, so a slow deployment is asked less.",
    ),
    (lambda told: _of_headline(told) < NEEDED["p99"], _first_withheld),
    (lambda told: told.metrics["e2e"]["count"] < told.metrics["e2e"]["of"], _unanswered),
)
"""When it holds, and what is said then; in the order of a page."""

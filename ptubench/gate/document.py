"""The check document: runs judged by rules and against a baseline, as plain data (docs/checks.md).

`ptubench check --json` prints it, and every other format is made of it. Whatever can't be judged fails and says why.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptubench import __version__
from ptubench.analysis import checks
from ptubench.analysis.gather import load
from ptubench.compare import unlike
from ptubench.compare.side import Side, side
from ptubench.errors import Exit, UsageError
from ptubench.gate import alike, change, pooled, regression
from ptubench.gate.pool import Against, Pool
from ptubench.gate.regression import Regression
from ptubench.ptu import prices
from ptubench.secret import shown

SCHEMA_VERSION = 1

Document = dict[str, Any]
Say = Callable[[str], None]

_VERDICTS = ("invalid", "degraded", "valid")
_TARGET = ("kind", "endpoint", "deployment", "model", "model_served", "type", "ptu")
_RULE = ("rule", "metric", "unit", "op", "measured", "limit", "ci95", "passed", "why", "default")


def of_summary(summary: Mapping[str, Any], *, strict: bool = False) -> Document:
    """The document of one run as it was summarized: its own checks, and no baseline.

    Args:
        summary: of `analysis.summary`.
        strict: whether a degraded run is as bad as an invalid one.
    """
    rows = [_rule_row(row, []) for row in summary["checks"]]
    return of_repeats(_document([_run(summary)], None, [], rows, strict=strict), strict=strict)


def of_repeats(document: Document, *, strict: bool = False, stopped: bool = False) -> Document:
    """The same document for whoever has just made its runs: where a signal stopped them, the exit code says so.

    Args:
        document: of these runs.
        strict: as it was made with.
        stopped: whether there are fewer of them than were asked for; the last one says so too if it was cut short.
    """
    last = document["runs"][-1]
    by_signal = (stopped or last["ended"] in ("stopped", "aborted")) and not last["by_rule"] and last["ended"] != "lost"
    return _ended(document, Exit.STOPPED if by_signal else exit_code(document, strict=strict))


def exit_code(document: Document, *, strict: bool = False) -> Exit:
    """Of stored runs, of several reasons the gravest: not measured as asked, a check failed.

    Args:
        document: with `runs`, `checks` and `verdict`.
        strict: whether a degraded run is as bad as an invalid one.
    """
    bad = ("invalid", "degraded") if strict else ("invalid",)
    # Half a measurement is none, however good that half is; one that a rule ended has failed that rule.
    partial = any(run["ended"] != "completed" and not run["by_rule"] for run in document["runs"])
    if partial or document["verdict"] in bad:
        return Exit.INVALID
    return Exit.GOOD if all(row["passed"] for row in document["checks"]) else Exit.CHECK


def _ended(document: Document, code: Exit) -> Document:
    """With its exit code: what was not measured as asked has not passed either, however its rules stand."""
    return document | {"passed": code == Exit.GOOD, "exit_code": int(code)}


def check(
    paths: Sequence[Path],
    *,
    rules: Sequence[str] = (),
    baseline: Sequence[Path] = (),
    regressions: Sequence[str] = (),
    force: bool = False,
    strict: bool = False,
    say: Say = lambda _: None,
) -> Document:
    """Judge stored runs; several are repeats, and judged as one.

    Args:
        paths: run files of one workload.
        rules: beside those of the runs' workloads.
        baseline: run files to hold them against.
        regressions: how much worse than the baseline they may be.
        force: whether to hold runs against a baseline of another workload or place.
        strict: whether a degraded run is as bad as an invalid one.
        say: is told what is being done.

    Raises:
        UsageError: a rule or a file can't be read, or runs that must not be judged together.
    """
    for text in rules:
        checks.parse(text, where="--check")
    held = [regression.parse(text, where="--regression") for text in regressions]
    if bool(held) != bool(baseline):
        raise UsageError(
            "--regression: needs a run to hold it against; add --baseline RUN"
            if held
            else "--baseline: alone says nothing; add --regression 'METRIC: TOLERANCE', such as 'ttft.p95: 10%'"
        )
    for path in baseline:
        if not path.exists():
            raise UsageError(
                f"--baseline {shown(path, most=200)}: is not there yet; `ptubench report RUN --slim` makes it of a good run, "
                "until then leave --baseline and --regression out"
            )
    return judge(
        read(paths, say),
        rules,
        read(baseline, say),
        held,
        force=force,
        strict=strict,
        say=say,
    )


def read(paths: Sequence[Path], say: Say = lambda _: None) -> list[Side]:
    """Run files, each ready to be judged. Raises `UsageError` where one can't be read."""
    table, found = prices.shipped(), []
    for path in paths:
        say(f"reading {shown(path, most=120)}")
        found.append(side(load(path), table))
    return found


def judge(
    runs: Sequence[Side],
    rules: Sequence[str] = (),
    baseline: Sequence[Side] = (),
    regressions: Sequence[Regression] = (),
    *,
    force: bool = False,
    strict: bool = False,
    say: Say = lambda _: None,
) -> Document:
    """The same of runs in memory. Raises as `check`."""
    alike.check_named_once([*runs, *baseline])
    alike.check_repeats(runs, force=force)
    if baseline:
        alike.check_repeats(baseline, force=force)
        alike.check_baseline(runs, baseline, force=force)
    say("judging")
    pool = Pool(tuple(runs))
    rows, notes = _judged(pool, rules), alike.notes(runs, baseline)
    if baseline:
        against = Against(Pool(tuple(baseline)), pool)
        rows += [change.row(one, against) for one in regressions]
        if against.unpaired_because is not None:
            notes += [
                f"requests can't be paired, so only a larger change can be told from chance: {against.unpaired_because}"
            ]
    return _document(
        [_run(one.summary) for one in runs],
        [_run(one.summary) for one in baseline] or None,
        notes + pooled.doubts(rows),
        rows,
        strict=strict,
    )


def _document(
    runs: list[dict[str, Any]],
    baseline: list[dict[str, Any]] | None,
    notes: list[str],
    rows: list[dict[str, Any]],
    *,
    strict: bool,
) -> Document:
    verdict = next(word for word in _VERDICTS if word in {run["verdict"] for run in runs})
    found = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "ptubench", "version": __version__},
        "runs": runs,
        "baseline": baseline,
        "notes": notes,
        "checks": rows,
        "verdict": verdict,
    }
    return _ended(found, exit_code(found, strict=strict))


def _run(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the document says of a run."""
    run, validity, requests = summary["run"], summary["validity"], summary["metrics"]["requests"]
    return {
        **{name: run[name] for name in ("file", "id", "label", "started_at")},
        "workload": summary["workload"]["name"],
        "workload_hash": run["workload_hash"],
        "seed": run["seed"],
        "kind": unlike.kind_of(summary),
        "target": {name: summary["target"].get(name) for name in _TARGET},
        "requests": requests["total"] - requests["unsent"],
        "verdict": validity["verdict"],
        "reasons": validity["reasons"],
        "ended": run["ended"],
        "by_rule": run["aborted"] is not None,
        "lasted_s": run["duration_s"],
        "planned_s": summary["workload"]["duration"],
    }


def _judged(pool: Pool, more: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the rules, those of the workloads and `more`, on all requests together."""
    summaries = [one.summary for one in pool.sides]
    if len(summaries) == 1:
        return [_rule_row(row, []) for row in checks.rows(summaries[0], more)]
    own = dict.fromkeys(text for summary in summaries for text in summary["workload"].get("checks", ()))
    aborted = next(filter(None, (summary["run"]["aborted"] for summary in summaries)), None)
    joint = {"workload": {**summaries[0]["workload"], "checks": tuple(own)}}
    rows = checks.rows({**joint, "run": {"aborted": aborted}, "metrics": pool.metrics}, more)
    alone = [checks.rows({**joint, "run": {"aborted": None}, "metrics": one["metrics"]}, more) for one in summaries]
    told = [{row["rule"]: row["measured"] for row in of} for of in alone]
    return [_rule_row(row, [of.get(row["rule"]) for of in told]) for row in rows]


def _rule_row(row: Mapping[str, Any], by_run: list[float | None]) -> dict[str, Any]:
    """A row of the document from one of `checks.judge`."""
    told = {name: row.get(name) for name in _RULE}
    beside = dict.fromkeys((*change.PARTS, "baseline", "relative"))
    return {**told, "kind": "rule", **beside, "by_run": by_run, "spread": pooled.spread(by_run)}

"""Check documents by what a test is about, everything else filled in (`gate.document`)."""

from typing import Any

RULE = {
    "rule": "ttft.p95 <= 800ms",
    "kind": "rule",
    "metric": "ttft.p95",
    "unit": "s",
    "op": "<=",
    "measured": 0.62,
    "limit": 0.8,
    "ci95": [0.58, 0.7],
    "passed": True,
    "why": None,
    "baseline": None,
    "change": None,
    "low": None,
    "high": None,
    "relative": None,
    "by_run": [],
    "spread": None,
}
FAILED = {**RULE, "measured": 1.02, "ci95": [0.98, 1.05], "passed": False}
UNMEASURED = {**RULE, "measured": None, "ci95": None, "passed": False, "why": "not measured"}
REGRESSION = {
    **RULE,
    "rule": "ttft.p95: 10%",
    "kind": "regression",
    "measured": 0.92,
    "limit": 0.88,
    "ci95": None,
    "passed": False,
    "baseline": 0.8,
    "change": 0.12,
    "low": 0.09,
    "high": 0.15,
    "relative": {"change": 0.15, "low": 0.11, "high": 0.19},
}
RUN = {
    "file": "results/2026-11-23T030000Z-chat.jsonl.gz",
    "id": "a1b2c3",
    "label": None,
    "started_at": "2026-11-23T03:00:00.123+00:00",
    "workload": "chat",
    "workload_hash": "0" * 64,
    "seed": 0,
    "kind": "real",
    "target": {
        "kind": "azure",
        "endpoint": "https://contoso.openai.azure.com",
        "deployment": "gpt-prod",
        "model": "gpt-4.1",
        "model_served": "gpt-4.1-2025-04-14",
        "type": "global",
        "ptu": 120,
    },
    "requests": 405,
    "verdict": "valid",
    "reasons": [],
    "ended": "completed",
    "by_rule": False,
    "lasted_s": 600.0,
    "planned_s": 600.0,
}
STOPPED = {"ended": "stopped", "lasted_s": 10.3, "planned_s": 35.0}
"""What the document says of a run that was stopped before its end."""
REASON = {"code": "lag", "level": "degraded", "text": "calls were taken up late: p99 7.2 ms"}


def document(*checks: dict[str, Any], **of_run: Any) -> dict[str, Any]:
    """A document with these checks of one run; keyword arguments change the run."""
    run = {**RUN, **of_run}
    passed = all(row["passed"] for row in checks)
    return {
        "schema_version": 1,
        "tool": {"name": "ptubench", "version": "0.1.0"},
        "runs": [run],
        "baseline": [RUN] if any(row["kind"] == "regression" for row in checks) else None,
        "notes": [],
        "checks": list(checks),
        "verdict": run["verdict"],
        "passed": passed,
        "exit_code": 4 if run["verdict"] == "invalid" else 0 if passed else 3,
    }

"""Plausible summaries (design §5): a factory for tests of everything that reads one."""

import copy
import math
from typing import Any

import msgspec

from ptubench.samples import NEEDED, PERCENTILES
from ptubench.sim.options import SimOptions
from ptubench.workload.model import Class, Fixed, Lognormal, OpenLoop, Stage, Workload

WORKLOAD = Workload(
    name="demo",
    description="60 %, 110 %, 60 % of a simulated deployment",
    classes=(Class(prompt=Lognormal(mean=1000, p95=3000), completion=Fixed(tokens=200)),),
    load=OpenLoop(
        stages=(Stage(value=10, seconds=10), Stage(value=20, seconds=10), Stage(value=10, to=5, seconds=10)),
    ),
    duration=30,
    warmup=3,
    checks=("ttft.p95 <= 1s", "refused.ratio <= 1%"),
)


def distribution(unit: str = "s", middle: float = 0.1, *, count: int = 400, of: int | None = None) -> dict[str, Any]:
    """Log-normal by its median; percentiles that the sample can't support are withheld, those beyond it unanswered."""
    of = count if of is None else of
    z = {"p50": 0.0, "p90": 1.28, "p95": 1.645, "p99": 2.33, "p999": 3.09}
    unanswered = [name for name, share in PERCENTILES.items() if of >= NEEDED[name] and math.ceil(share * of) > count]
    percentiles = {
        name: middle * math.exp(0.3 * score) if of >= NEEDED[name] and name not in unanswered else None
        for name, score in z.items()
    }
    return {
        "unit": unit,
        "count": count,
        "of": of,
        "mean": middle * 1.05 if count else None,
        "std": middle * 0.3 if count else None,
        "min": middle * 0.5 if count else None,
        "max": middle * 3 if count else None,
        **percentiles,
        "unanswered": unanswered,
        "ci95": {name: value and [value * 0.95, value * 1.05] for name, value in percentiles.items()},
    }


def timeline(seconds: int = 30) -> list[dict[str, Any]]:
    """Load that rises by half for the middle third, and 429s in the second half of it."""
    rows = []
    for t in range(seconds):
        busy = seconds / 3 <= t < seconds * 2 / 3
        throttled = 8 if seconds / 2 <= t < seconds * 2 / 3 else 0
        sent = 20 if busy else 11
        rows.append(
            {
                "t_s": t,
                "width_s": 1,
                "offered": sent,
                "sent": sent,
                "ok": sent - throttled,
                "throttled": throttled,
                "failed": 0,
                "cut": 0,
                "dropped": 0,
                "diverted": 0,
                "spilled": 0,
                "prompt_tokens": (sent - throttled) * 1000.0,
                "cached_tokens": 0.0,
                "completion_tokens": (sent - throttled) * 200.0,
                "in_flight": 30.0,
            }
        )
    return rows


def metrics() -> dict[str, Any]:
    """What was measured in the window."""
    return {
        "ttft": distribution(middle=0.102, count=358, of=360),
        "ttfo": distribution(middle=0.102, count=358, of=360),
        "ttft_scheduled": distribution(middle=0.104, count=358, of=400),
        "tbt": distribution(middle=0.0125, count=357),
        "tps": distribution("tokens/s", 80, count=357),
        "tps_e2e": distribution("tokens/s", 76, count=357),
        "gap": distribution(middle=0.0123, count=71_400) | {"ci95": None, "events_per_token": 0.98},
        "e2e": distribution(middle=2.6, count=357, of=360),
        "e2e_scheduled": distribution(middle=2.61, count=357, of=400),
        "lag": distribution(middle=0.0004, count=400),
        "connect": distribution(middle=0.0009, count=20),
        "retry_after": distribution(middle=1.4, count=40),
        "reject": distribution(middle=0.0021, count=40),
        "lane_wait": distribution(count=0),
        "waited": distribution(count=0),
        "prompt_tokens": distribution("tokens", 960, count=357),
        "completion_tokens": distribution("tokens", 200, count=357),
        "requests": {
            "total": 400,
            "ok": 357,
            "throttled": 40,
            "failed": 2,
            "cut": 1,
            "dropped": 0,
            "unsent": 0,
            "retried": 0,
            "diverted": 0,
            "spilled": 0,
            "gave_up": 0,
        },
        "attempts": {"total": 400, "throttled": 40, "throttled_ratio": 0.1},
        "refused": {"count": 40, "ratio": 0.1, "ci95": [0.072, 0.134]},
        "throttled": {"count": 40, "ratio": 0.1, "ci95": [0.072, 0.134], "first_s": 15.2, "by_cause": {"capacity": 40}},
        "failed": {"count": 2, "ratio": 0.005, "ci95": [0.001, 0.018], "by_kind": {"broken_stream": 1, "http_503": 1}},
        "slo": {"ratio": None, "ci95": None},
        "finish": {"stop": 12, "length": 345},
        "rpm": {"offered": 888.9, "admitted": 800.0, "completed": 793.3},
        "tpm": {
            "prompt": 801_200.0,
            "cached": 0.0,
            "completion": 158_700.0,
            "reasoning": 0.0,
            "total": 959_900.0,
            "normalized": 1_436_000.0,
            "per_ptu": 2872.0,
            "of_published": 0.957,
            "unknown_requests": 1,
        },
        "utilization": {
            "estimated": {"mean": 0.957, "peak_minute": None},
            "monitor": None,
            "simulated": {"mean": None, "peak_minute": None, "peak_level": 1.02},
        },
        "cost": {"total": None, "per_million_tokens": None, "currency": "USD", "source": None, "why": None},
        "asked": {
            "prompt_tokens": {"asked": 1001.3, "got": 999.8},
            "cached_tokens": {"asked": 0.0, "got": 0.0},
            "completion_tokens": {"asked": 200.0, "got": 199.2},
            "limit": 200.0,
        },
        "in_flight": {"mean": 31.4, "max": 55},
    }


def summary() -> dict[str, Any]:
    """A fresh summary of a simulated demo run, to be changed at will."""
    return copy.deepcopy(
        {
            "schema_version": 1,
            "tool": {"name": "ptubench", "version": "0.1.0"},
            "run": {
                "label": None,
                "id": "20261122T203000Z-demo",
                "started_at": "2026-11-22T20:30:00Z",
                "seed": 0,
                "salt": "20261122T203000Z-demo",
                "workload_hash": "9f2c4d",
                "file": "results/20261122T203000Z-demo.jsonl",
                "duration_s": 30.0,
                "window_s": [3.0, 30.0],
                "warmup": {"rule": "fixed", "start_s": 3.0, "reason": "fixed", "text": "", "at_least": None},
                "ended": "completed",
                "aborted": None,
                "clock": "real",
            },
            "workload": msgspec.to_builtins(WORKLOAD),
            "target": {
                "kind": "simulated",
                "endpoint": "http://127.0.0.1:40123",
                "url": "http://127.0.0.1:40123/openai/v1/chat/completions",
                "deployment": "gpt-4.1",
                "model": "gpt-4.1",
                "model_served": "gpt-4.1-2025-04-14",
                "type": "global",
                "ptu": 500,
                "ptu_source": "--simulate",
                "capacity": {
                    "tpm": 1_500_000.0,
                    "tpm_per_ptu": 3000.0,
                    "output_weight": 4.0,
                    "source": "catalogue of 2026-09-23",
                },
                "api": "chat",
                "client": "timed",
                "spillover": None,
                "divert_to": None,
                "divert_probe": None,
                "reasoning": False,
                "reasoning_effort": None,
                "left_out": [],
                "simulate": msgspec.to_builtins(SimOptions(model="gpt-4.1", ptu=500)),
            },
            "network": {
                "address": "127.0.0.1",
                "private": True,
                "proxy": None,
                "round_trip_ms": 0.1,
                "first_connect_ms": 0.2,
                "first_tls_ms": None,
                "connect_ms": {"p50": 0.9, "p95": 1.2},
                "tls_ms": {"p50": None, "p95": None},
                "region": {},
                "place": None,
            },
            "metrics": metrics(),
            "groups": {},
            "timeline": timeline(),
            "latency": [
                {"t_s": t, "width_s": 3, "count": 33, "ttft_p50": 0.1 + 0.01 * (t > 12), "ttft_p95": 0.17}
                for t in range(0, 30, 3)
            ],
            "validity": {
                "verdict": "valid",
                "reasons": [],
                "loop_lag": {"p50": 0.0002, "p99": 0.0014},
                "cpu_share": 0.21,
                "workers": 1,
                "nodes": [],
            },
            "monitor": None,
            "checks": [
                {
                    "rule": "ttft.p95 <= 1s",
                    "metric": "ttft.p95",
                    "op": "<=",
                    "unit": "s",
                    "measured": 0.167,
                    "limit": 1.0,
                    "ci95": [0.158, 0.175],
                    "passed": True,
                    "why": None,
                    "default": False,
                },
                {
                    "rule": "refused.ratio <= 1%",
                    "metric": "refused.ratio",
                    "op": "<=",
                    "unit": "share",
                    "measured": 0.1,
                    "limit": 0.01,
                    "ci95": [0.072, 0.134],
                    "passed": False,
                    "why": None,
                    "default": False,
                },
            ],
            "notes": [
                {
                    "code": "limit_equals_length",
                    "text": "The answers used their whole output limit: the reservation is the best case.",
                }
            ],
        }
    )

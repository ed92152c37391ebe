"""What each way of handling a 429 makes of the same load: the table of `docs/throttling.md`.

Simulated deployments at 80, 100 and 150 % of their capacity, on the virtual clock: the same table on any machine, within
a minute.

    python benchmarks/policies.py             prints the table
    python benchmarks/policies.py --write     puts it into the page
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from ptubench.sim import options as sim_options
from ptubench.virtual import run as virtual
from ptubench.workload.read import decode
from ptubench.workload.resolve import resolve

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "throttling.md"
BEGIN, END = "<!-- made by benchmarks/policies.py -->", "<!-- end -->"
DEPLOYMENT = "gpt-4.1:300,depth=10s,level=full"
SECOND = "gpt-4.1:300,latency=1.5,tps=40"
"""Slower, and large enough for whatever is diverted."""
LOADS = (0.8, 1.0, 1.5)
POLICIES = ("none", "retry", "divert")
WORKLOAD = {
    "name": "policies",
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "duration": "21m",
    "warmup": "1m",
    "drain": "60s",
    "throttling": {"on_429": "none", "divert_to": {"simulate": SECOND}},
}
HEADER = (
    *("load", "policy", "ok", "refused", "calls to the target per request", "gave up"),
    *("TTFT p50", "TTFT p95", "due → done p50", "due → done p95", "diverted, due → done p95"),
)


def main() -> None:
    """Run all of them, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/throttling.md")
    write = parser.parse_args().write
    rows = [row(load, policy, measured(load, policy)) for load, policy in product(LOADS, POLICIES)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADER, ("---",) * len(HEADER), *rows))
    print(table)
    if write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


def measured(load: float, policy: str) -> dict[str, Any]:
    """The summary of one run; all of them have the same arrivals for each load."""
    options = sim_options.parse(DEPLOYMENT)
    text = json.dumps({**WORKLOAD, "load": {"utilization": f"{load:.0%}"}})
    workload = resolve(decode(text, "policies", ROOT, options={"on_429": policy}), options.capacity)
    return virtual.summary(virtual.Trial(workload=workload, options=options))


def row(load: float, policy: str, summary: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    metrics = summary["metrics"]
    requests, total = metrics["requests"], metrics["requests"]["total"]
    diverted = summary["groups"].get("diverted", {}).get("e2e_scheduled", {})
    return (
        f"{load:.0%}",
        f"`{policy}`",
        share(requests["ok"] / total),
        share(metrics["refused"]["ratio"]),
        f"{metrics['attempts']['total'] / total:.2f}",
        share(requests["gave_up"] / total),
        seconds(metrics["ttft"], "p50"),
        seconds(metrics["ttft"], "p95"),
        seconds(metrics["e2e_scheduled"], "p50"),
        seconds(metrics["e2e_scheduled"], "p95"),
        seconds(diverted, "p95"),
    )


def share(value: float) -> str:
    """A percentage."""
    return f"{value:.1%}"


def seconds(distribution: dict[str, Any], percentile: str) -> str:
    """One percentile in seconds; what was never answered is said so."""
    value = distribution.get(percentile)
    if value is not None:
        return f"{value:.2f} s"
    return "unanswered" if percentile in distribution.get("unanswered", ()) else "–"


if __name__ == "__main__":
    main()

"""Whether the words of `ptubench compare` can be trusted: how often it finds what is not there, and misses what is.

    python benchmarks/compare.py [--pairs 200]

Pairs of runs of 2,000 measured requests each, Poisson arrivals, prompts of mean 1,000 and p95 3,000 tokens, on simulated
deployments on the virtual clock:

- same requests: only the simulator's seed differs, so requests are paired and nothing else differs;
- 10 % slower: the same, and the second deployment takes 10 % longer to the first token;
- other requests: arrivals and sizes are drawn anew as well, so nothing is paired; nothing differs;
- overloaded: other requests on a deployment that takes 85 % of them, with a shallow and a deep bucket; nothing differs.

A false word is `better` or `worse` where nothing differs; at a 5 % level one in twenty is right. Intervals are Wilson's
95 % binomial ones. About ten minutes for 200 pairs on two cores.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import msgspec

from measure import CORES, Figure, conclude, say, table
from ptubench.analysis.stats import wilson
from ptubench.compare.runs import BETTER, WORSE, pair, rows
from ptubench.compare.side import Side, side
from ptubench.load.plan import Plan, make_plan
from ptubench.ptu import prices
from ptubench.sim import options as sim_options
from ptubench.virtual.run import Trial, gathered
from ptubench.workload.model import Class, Fixed, Lognormal, OpenLoop, Stage, Workload

HEADLINES = ("ttft.p50", "ttft.p95", "ttft.p99", "e2e.p95", "tps.p50", "refused.ratio", "rpm.completed", "tpm.total")
AMPLE = "gpt-4.1:175"
SHALLOW = "gpt-4.1:120,depth=10s,level=full"
DEEP = "gpt-4.1:120,depth=60s,level=full"
SLOWER = 1.1
SAME, SLOW, OTHER, OVER_10, OVER_60 = CASES = (
    "same requests",
    "10 % slower",
    "other requests",
    "overloaded, depth 10 s",
    "overloaded, depth 60 s",
)
WORKLOAD = Workload(
    name="pairs",
    classes=(Class(prompt=Lognormal(mean=1000, p95=3000), completion=Fixed(tokens=200)),),
    load=OpenLoop(stages=(Stage(value=4, seconds=560),)),
    duration=560,
    warmup=60,
)


def run(luck: int, deployment: str, *, slower: float = 1.0, seed: int = 0) -> Side:
    """One run; `luck` is the simulator's seed, `seed` the workload's."""
    options = sim_options.parse(deployment)
    options = msgspec.structs.replace(
        options, seed=luck, latency=options.latency * slower, prefill=options.prefill / slower
    )
    workload = msgspec.structs.replace(WORKLOAD, seed=seed)
    return side(gathered(Trial(workload=workload, options=options, plan=plan(seed))), prices.shipped())


@cache
def plan(seed: int) -> Plan:
    """When the requests of a seed are due."""
    return make_plan(msgspec.structs.replace(WORKLOAD, seed=seed))


def cases(number: int) -> Iterator[tuple[str, Side, Side]]:
    """The pairs of one round."""
    first, second = 2 * number, 2 * number + 1
    base = run(first, AMPLE)
    yield SAME, base, run(second, AMPLE)
    yield SLOW, base, run(second, AMPLE, slower=SLOWER)
    for name, deployment in ((OTHER, AMPLE), (OVER_10, SHALLOW), (OVER_60, DEEP)):
        yield name, run(first, deployment, seed=first + 1), run(second, deployment, seed=second + 1)


def words(number: int) -> list[tuple[str, str, str]]:
    """Case, metric and word of each comparison of one round."""
    return [
        (name, row["name"], row["word"])
        for name, first, second in cases(number)
        for row in rows(pair(first, second), 1, HEADLINES)
    ]


def main() -> None:
    """Compare them all, and say how often each word came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200, help="pairs of each case; default 200")
    pairs = parser.parse_args().pairs
    found: Counter[tuple[str, str, str]] = Counter()
    with ProcessPoolExecutor(len(CORES)) as pool:
        for done, result in enumerate(pool.map(words, range(pairs)), start=1):
            found.update(result)
            if done % 20 == 0:
                say(f"  {done} of {pairs} pairs")

    def count(case: str, metric: str) -> int:
        return found[case, metric, BETTER] + found[case, metric, WORSE]

    def told(times: int) -> str:
        low, high = wilson(times, pairs)
        return f"{times / pairs:.1%} ({low:.1%} to {high:.1%})"

    shown = [(metric, *(told(count(case, metric)) for case in CASES)) for metric in HEADLINES]
    false, slow = count(SAME, "ttft.p95"), found[SLOW, "ttft.p95", WORSE]
    conclude(
        "Comparisons",
        [
            Figure("false words on TTFT p95, off 5 %", abs(false / pairs - 0.05) * 100, 3, " points", told(false)),
            Figure("10 % slower on TTFT p95, not found", (1 - slow / pairs) * 100, 10, " %", f"found: {told(slow)}"),
        ],
        f"Share of {pairs} pairs called better or worse, with its binomial interval. Only `{SLOW}` has a difference, in "
        "`ttft` (and a little in `e2e`).",
        table(("metric", *CASES), shown),
    )


if __name__ == "__main__":
    main()

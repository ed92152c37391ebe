"""What ptubench costs beside the load: `--help`, the time of a run beyond its load, the size of an environment.

    python benchmarks/startup.py [--no-install]

- overhead of a run: wall time of the whole `ptubench run`, less its duration and its drain. The stub answers
  within 20 ms, so the probe call is inside, and a service's own time is not.
- installed size: a fresh virtual environment with `pip install` of this tree, as `du` counts it, pip itself and
  byte code included.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Figure, conclude, middle, number, ptubench, run, say, spread, stub, table, watch

WORKLOAD = """\
name: startup
prompt_tokens: 32
completion_tokens: 10
load:
  rate: 20/s
duration: 5s
warmup: 1s
"""
LARGEST = 8


def help_seconds(times: int) -> Figure:
    """Wall time of `ptubench --help`, after one to fill the caches."""
    done = [watch(ptubench("--help")) for _ in range(times + 1)][1:]
    assert all(one.code == 0 for one in done)
    walls = [one.wall_s for one in done]
    return Figure("`ptubench --help`", middle(walls), 0.4, " s", spread(walls))


def overhead(times: int) -> Figure:
    """What a run takes beyond its duration and its drain."""
    values = []
    for _ in range(times):
        with stub(tokens=10, rate=1000, ttft=0.01) as target:
            done = run(WORKLOAD, target)
        load_and_drain = max(done.end.finished, done.head.workload.duration)
        values.append(done.wall_s - load_and_drain)
        say(f"  run of {done.head.workload.duration:g} s, load and drain {load_and_drain:.2f} s: {done.wall_s:.2f} s")
    return Figure("a run beyond duration and drain", middle(values), 2.0, " s", spread(values))


def installed() -> tuple[Figure, str]:
    """Size of a fresh environment in MB (10^6 bytes), and its largest packages."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "venv"
        say("  installing into a fresh environment")
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        python = str(place / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
        done = subprocess.run(pip, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"pip could not install it: {done.stderr}")
        packages = next(place.glob("lib/python*/site-packages"))
        sizes = sorted(((_megabytes(path), path.name) for path in packages.iterdir()), reverse=True)
        total = _megabytes(place)
    rows = [(f"`{name}`", number(size)) for size, name in sizes[:LARGEST]]
    return Figure("a fresh environment", total, 160.0, " MB"), table(("largest in it", "MB"), rows)


def _megabytes(path: Path) -> float:
    said = subprocess.run(["du", "-s", "--block-size=1000", path], check=True, capture_output=True, text=True)
    return int(said.stdout.split()[0]) / 1000


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-install", action="store_true", help="leave the installed size out (it needs the network)")
    options = parser.parse_args()
    say("startup.py: --help, a short run, a fresh environment")
    figures = [help_seconds(9), overhead(3)]
    details = []
    if not options.no_install:
        size, largest = installed()
        figures.append(size)
        details.append(largest)
    conclude("Startup and size", figures, *details)


if __name__ == "__main__":
    main()

"""Run every benchmark in turn and print the results; `make bench`.

    python benchmarks/all.py [--readme] [--quick] [NAME ...]

With `--readme` the results replace those of the same name in README.md, with date, machine and versions. The machine must
be otherwise idle: about an hour and a half for all of them. Ends with 1 if a figure missed its target or could not be measured.
`peers/run.py`, which installs other tools, has a README of its own.
"""

import argparse
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from measure import CORES, HERE, say

PROGRAMS = {
    "truth": ("--quick",),
    "streams": ("--rounds", "1", "--duration", "6", "--warmup", "3"),
    "streams_many": ("--rounds", "1", "--duration", "6", "--warmup", "3"),
    "streams_tls": ("--rounds", "1", "--duration", "6", "--warmup", "3"),
    "open_loop": ("--rounds", "1", "--duration", "8"),
    "short_answers": ("--duration", "10s"),
    "startup": ("--no-install",),
    "virtual": (),
    "capacity": ("--seeds", "1", "--hours", "6", "--searches", "10", "--no-http"),
    "calibration": ("--seeds", "5", "--sizes", "1", "--minutes", "0"),
    "million": ("--rounds", "1", "--attempts", "100000"),
    "usage": ("--rounds", "1", "--days", "3"),
    "compare": ("--pairs", "2"),
    "scaling": ("--rounds", "1", "--duration", "4"),
    "kills": ("--rounds", "2"),
    "soak": ("--duration", "20s"),
    "gate": ("--pairs", "2", "--groups", "1"),
}
"""Each with the options that make it quick, to see that it works; such figures say little."""
COMMANDS = {
    "streams_many": ("streams", "--streams", "1500", "2000", "--peers"),
    "streams_tls": ("streams", "--tls", "--streams", "400", "--peers", "aiohttp"),
    "short_answers": ("short_answers", "--duration", "10m"),
}
"""The program and its options where they are not the name alone."""
LAST = "<!-- further results come here -->"
PACKAGES = ("uvloop", "httptools", "msgspec", "numpy", "aiohttp", "httpx2")
BEGIN, END = "<!-- {}: written by all.py -->", "<!-- end of {} -->"
"""Around the results of a program in README.md, which stand in the order in which they first came."""


def machine() -> str:
    """What was measured on, and with what."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(CORES)} cores of {cpus[0] if cpus else platform.machine()}, "
        f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}; "
        f"ptubench {version('ptubench')}, {versions}."
    )


def keep(name: str, told: str) -> None:
    """Write the results of one program into README.md, in place of its last ones."""
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    begin, end = BEGIN.format(name), END.format(name)
    if begin not in text:
        text = text.replace(LAST, f"{begin}\n{end}\n\n{LAST}")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    readme.write_text("\n\n".join((before + begin, told, f"*{machine()}*", end + after)), encoding="utf-8")


def main() -> None:
    """Run them, print what they print, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("programs", nargs="*", metavar="NAME", help=f"some of {', '.join(PROGRAMS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that they work")
    parser.add_argument("--readme", action="store_true", help="write the results into README.md")
    options = parser.parse_args()
    if unknown := set(options.programs) - set(PROGRAMS):
        parser.error(f"unknown name {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    if options.readme and options.quick:
        parser.error("--readme: takes no quick results; leave --quick away")
    failed = []
    print(machine())
    for name in options.programs or PROGRAMS:
        say(f"== {name}")
        program, *words = COMMANDS.get(name, (name,))
        command = [sys.executable, str(HERE / f"{program}.py"), *words, *(PROGRAMS[name] if options.quick else ())]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(f"\n{done.stdout.strip()}", flush=True)
        if done.returncode:
            failed.append(name)
        if options.readme:
            keep(name, done.stdout.strip() or f"### {name}\n\nIt gave no result.")
    if failed:
        raise SystemExit(f"missed or void: {', '.join(failed)}")


if __name__ == "__main__":
    main()

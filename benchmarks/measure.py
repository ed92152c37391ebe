"""What the benchmark programs share: a stub on one core, a client on another, what both wrote down, and tables.

Every load goes to this machine's loopback. Progress goes to stderr, results to stdout, as Markdown tables that
`all.py` puts into the README. Linux only: it pins processes and reads /proc.
"""

import json
import os
import pty
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ptubench import record
from ptubench.results import store

HERE = Path(__file__).parent
ROOT = HERE.parent
CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE, STUB_CORE = CORES[0], CORES[-1]
VOID_TRIES = 3
"""How often a measurement whose stub fell behind is taken before it is called void."""


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


# --- the stub ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stub:
    """A running stub. Times of its log are readings of `time.perf_counter`."""

    port: int
    ca_file: Path | None = None
    """Who has signed its certificate; None without TLS."""

    @property
    def endpoint(self) -> str:
        """For `--endpoint`."""
        return f"{self._origin}/v1"

    @property
    def _origin(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://127.0.0.1:{self.port}"

    def stats(self) -> dict[str, Any]:
        """Offered against delivered so far."""
        stats: dict[str, Any] = json.loads(self._get("/stats"))
        return stats

    def log(self, *, stamps: bool = False) -> dict[str, dict[str, Any]]:
        """Each request by the name that its answer carried in `x-request-id`; with the time of every event if asked for."""
        rows = map(json.loads, self._get("/log?stamps" if stamps else "/log").splitlines())
        return {row["id"]: row for row in rows}

    def _get(self, path: str) -> bytes:
        trusting = ssl.create_default_context(cafile=self.ca_file)
        getting = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        )
        with getting.open(f"{self._origin}{path}", timeout=60) as answer:
            content: bytes = answer.read()
        return content


@contextmanager
def stub(*, tokens: int = 100, rate: float = 50.0, ttft: float = 0.1, tls: bool = False) -> Iterator[Stub]:
    """A stub on its own core, until the block ends. `rate` in events a second and stream, `ttft` in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        program: list[object] = [HERE / "stub.py"]
        ca_file = None
        if tls:
            ca_file, pem = _certificate(Path(folder))
            program = [HERE / "stub_tls.py", "--pem", pem]
        command = [sys.executable, *program, "--cpu", STUB_CORE, "--tokens", tokens, "--rate", rate, "--ttft", ttft]
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Stub(json.loads(process.stdout.readline())["port"], ca_file)
        finally:
            process.stdin.close()  # it ends with its stdin
            process.stdout.read()
            process.wait(10)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A file with an authority's certificate, and one with a certificate of loopback that it has signed, and its key."""
    import trustme  # noqa: PLC0415 - of the extra `dev`

    authority, ca_file, pem = trustme.CA(), folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    return ca_file, pem


# --- ptubench ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One `ptubench run`: what its file says, and what it took as a process."""

    head: record.Head
    attempts: list[record.Attempt]
    ticks: list[record.Tick]
    end: record.End
    wall_s: float

    def measured(self) -> list[record.Attempt]:
        """Attempts scheduled in the window."""
        start, end = self.head.window
        return [attempt for attempt in self.attempts if start <= attempt.scheduled < end]

    def seconds(self) -> list[record.Tick]:
        """Ticks that lie in the window as a whole."""
        start, end = self.head.window
        return [tick for tick in self.ticks if start <= tick.t and tick.t + 1 <= end]


@dataclass(frozen=True)
class Watched:
    """A process that has ended. `peak_mb` is the most memory it held itself, without its children."""

    code: int
    wall_s: float
    peak_mb: float
    output: str = field(repr=False)


def ptubench(*arguments: object) -> list[str]:
    """The command line of this environment's ptubench."""
    return [sys.executable, "-m", "ptubench", *map(str, arguments)]


def watch(command: Sequence[str], *, cores: Iterable[int] = CORES, terminal: bool = False) -> Watched:
    """Run a command to its end on these cores.

    Args:
        command: program and arguments.
        cores: where it may run, its children included.
        terminal: give it a terminal of 120 columns as stderr, so that it draws its live view.
    """
    errors = subprocess.PIPE
    master = -1
    if terminal:
        master, errors = pty.openpty()
    env = without_targets() | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))  # inherited: nothing of the child runs elsewhere, not even its start
    started = time.perf_counter()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=env, cwd=tempfile.gettempdir())
    finally:
        os.sched_setaffinity(0, own)
    if terminal:
        os.close(errors)
    texts: list[bytes] = []
    drawn = threading.Thread(target=_drain, args=(master if terminal else process.stderr.fileno(), texts))  # type: ignore[union-attr]
    drawn.start()
    peak: list[int] = [0]
    memory = threading.Thread(target=_remember_peak, args=(process, peak))
    memory.start()
    assert process.stdout is not None
    output = process.stdout.read()
    process.wait()
    wall = time.perf_counter() - started
    drawn.join()
    memory.join()
    if terminal:
        os.close(master)
    return Watched(process.returncode, wall, peak[0] / 1024, (output + b"".join(texts)).decode(errors="replace"))


def run(
    workload: str,
    target: Stub,
    *,
    options: Sequence[str] = (),
    cores: Iterable[int] = CORES,
    terminal: bool = False,
) -> Run:
    """`ptubench run` of a workload (YAML text) on a stub.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "workload.yaml"
        file.write_text(workload, encoding="utf-8")
        where = ("--endpoint", target.endpoint, "--deployment", "stub", "--results", folder)
        where += ("--ca-file", str(target.ca_file)) if target.ca_file else ()
        done = watch(ptubench("run", file, *where, *options), cores=cores, terminal=terminal)
        files = list(Path(folder).glob("*.jsonl"))
        # 4: ptubench finds its own measurement invalid, which is for the figures to show.
        if done.code not in (0, 4) or len(files) != 1:
            say(done.output)
            raise SystemExit(f"ptubench run ended with {done.code}")
        lines = list(store.lines(files[0]))
    head, end = lines[0], lines[-1]
    assert isinstance(head, record.Head)
    assert isinstance(end, record.End)
    return Run(
        head=head,
        attempts=[line for line in lines if isinstance(line, record.Attempt)],
        ticks=[line for line in lines if isinstance(line, record.Tick)],
        end=end,
        wall_s=done.wall_s,
    )


def without_targets() -> dict[str, str]:
    """The environment without what names a target, a key or a proxy."""
    meant = ("AZURE_", "OPENAI_")
    return {n: value for n, value in os.environ.items() if not (n.startswith(meant) or n.lower().endswith("_proxy"))}


def _drain(descriptor: int, texts: list[bytes]) -> None:
    """Read to the end: a terminal that nobody reads would stop its program. Its end is an error on Linux."""
    try:
        while data := os.read(descriptor, 65536):
            texts.append(data)
    except OSError:
        pass


def _remember_peak(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    """Note the process's high-water mark (kB) until it ends; `ru_maxrss` would mix in ours and its children's."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            marks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        except OSError:
            return
        peak[0] = max([peak[0], *map(int, marks)])
        time.sleep(0.02)


# --- figures ----------------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """One measured figure beside its target, which is the most that it may be. None: it could not be measured."""

    what: str
    measured: float | None
    limit: float
    unit: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """PASS, FAIL or VOID."""
        if self.measured is None:
            return "VOID"
        return "PASS" if self.measured <= self.limit else "FAIL"

    def row(self) -> tuple[str, ...]:
        """Its row of the final table."""
        value = "-" if self.measured is None else f"{number(self.measured)}{self.unit}"
        return (self.what, f"≤ {self.limit:g}{self.unit}", value, self.verdict, self.note)


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value with at least `share` of all at or below it."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def middle(values: Iterable[float]) -> float | None:
    """The median; None of nothing."""
    known = list(values)
    return median(known) if known else None


def spread(values: Sequence[float]) -> str:
    """Smallest and largest of several rounds."""
    return f"rounds {number(min(values))} to {number(max(values))}" if len(values) > 1 else "one round"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _busy() -> tuple[float, float, float]:
    """The clock; CPU seconds of the whole machine; those of this program and of its children that have ended."""
    ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return time.perf_counter(), (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


_BEGAN = _busy()


def others() -> float:
    """Cores that other programs kept busy since this one began: noise in its figures."""
    clock, machine, own = (now - then for now, then in zip(_busy(), _BEGAN, strict=True))
    return max(0.0, machine - own) / clock


def conclude(title: str, figures: Sequence[Figure], *details: str) -> None:
    """Print the results, and end with 1 if a figure failed or could not be measured."""
    print(f"### {title}\n")
    print(f"Meanwhile other programs kept {others():.2f} of {len(CORES)} cores busy.\n")
    for detail in details:
        print(f"{detail}\n")
    print(table(("figure", "target", "measured", "verdict", "note"), (figure.row() for figure in figures)))
    print()
    raise SystemExit(0 if all(figure.verdict == "PASS" for figure in figures) else 1)


def unvoided(what: str, measure: Callable[[], tuple[dict[str, Any], Any]]) -> Any:
    """Measure until the stub has delivered; None when it did not in `VOID_TRIES` tries.

    Args:
        what: for the progress line.
        measure: returns the stub's statistics and the result.
    """
    for _ in range(VOID_TRIES):
        stats, result = measure()
        share = f"delivered {stats['delivered']:.1%}, late p99 {stats['late_p99'] * 1e3:.1f} ms"
        if not stats["void"]:
            say(f"  {what}: stub {share}")
            return result
        say(f"  {what}: VOID, stub {share}, {stats['cpu_s']:.1f} s of CPU")
    return None

"""One load on this machine's loopback: the client's own account beside that of the server that answered.

The load is a run like any other: `engine.run` with its workers and its parent, at the flat-out server (`sim.flat_out`) in
processes of their own. What is read is how far the first content's stamp lies behind the server's own, and how late
requests were taken up.
"""

import contextlib
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from ptubench import loop, record
from ptubench.engine.children import cores
from ptubench.engine.reach import Aim
from ptubench.engine.run import Order, run
from ptubench.errors import MeasurementLost
from ptubench.load.plan import make_plan
from ptubench.results import store
from ptubench.sim.flat_tls import PEM
from ptubench.target.model import TargetOptions
from ptubench.target.resolve import resolve_target
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Workload

TTFT_ERROR, LAG = 0.05, 0.005
"""What makes a load truthful, in seconds: both are p99."""
CPU = 0.8
"""Share of a core that the busiest worker may take in the last second: what holds for a second with more does not for ten minutes.
From there on a run's own verdict is `degraded` (`analysis.limits`)."""
DELIVERED = 0.98
"""Share of its events that the server must have written within a gap of their due time, by its own log."""
TTFT, SPEED = 0.1, 50.0
"""Of the server's answers: seconds to the first content, events a second of each stream."""
PROMPT = 1000
"""Tokens of each request: its text is made, and sent, by the worker that is measured."""
_DRAIN = 0.3
_SETTLE = 0.1
_PATIENCE = 10.0  # seconds for a server to begin, and to write its log


@dataclass(frozen=True)
class Shape:
    """What the answers of a load are like."""

    name: str
    tokens: int
    """Content events of an answer, one token each."""

    @property
    def e2e(self) -> float:
        """Seconds from a request's arrival to its last content."""
        return TTFT + (self.tokens - 1) / SPEED


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load and what became of it. Rates per second, times in seconds."""

    shape: str
    tls: bool
    """Whether it went over https, as to Azure."""
    workers: int
    servers: int
    calls: float
    """Calls a second: what was asked for, and sent."""
    events: float
    """Content events a second: calls by tokens of an answer."""
    streams: float
    """Calls under way at once: rate by the time that an answer takes (Little)."""
    ttft_error_p50: float | None
    ttft_error_p99: float | None
    """First content as the client stamped it − as the server wrote it; None when it never came."""
    lag_p99: float | None
    """How late requests were taken up; None when some were never sent."""
    delivered: float
    """Share of its events that the server wrote in time."""
    cpu: float
    """CPU of the busiest worker in the last second: share of a core."""
    outcome: str
    """`ok`, `client` (it was late, or had no core to spare) or `server` (the client was on time, and the server was not)."""


class _Log(msgspec.Struct):
    """A request as the server saw it."""

    id: str
    first: float | None


class _Stats(msgspec.Struct):
    """What a server owed, and wrote in time."""

    due: int
    in_time: int


@dataclass
class _Servers:
    """What the servers said once they had ended."""

    port: int = 0
    first: dict[str, float] = field(default_factory=dict)
    """When the first content of each request was written."""
    due: int = 0
    in_time: int = 0


def servers_for(workers: int) -> int:
    """How many server processes feed so many workers: more than they need, and at most half of the cores."""
    if sys.platform != "linux":
        return 1  # elsewhere the system does not spread connections over those who share a port
    return max(1, min(workers + 1, cores() // 2))


def play(shape: Shape, calls: float, *, tls: bool, workers: int, window: float) -> Step:
    """Put a load on for a moment and see how truthful it was.

    Args:
        shape: of the answers.
        calls: rate, per second.
        tls: over https instead of plain http.
        workers: processes that make the load.
        window: seconds that are measured at least, after the load is at its full height; it ends with a full second.

    Raises:
        MeasurementLost: servers or workers did not begin, or the temporary folder can't be written.
        KeyboardInterrupt: a signal stopped it.
    """
    load = _load(shape, calls, window)
    with _passing() as folder:
        with _serving(shape, servers_for(workers), Path(folder), tls=tls) as servers, _no_proxy():
            outcome = loop.run(run(_order(load, Path(folder), servers.port, tls=tls, workers=workers)))
        if outcome.ended != "completed" or outcome.file is None:
            raise KeyboardInterrupt
        return _read(list(store.lines(outcome.file)), shape, calls, servers, tls=tls)


@contextlib.contextmanager
def _no_proxy() -> Iterator[None]:
    """The environment names no proxy, which would stand between this machine and itself."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before


def _passing() -> tempfile.TemporaryDirectory[str]:
    """A folder that vanishes after the block."""
    try:
        return tempfile.TemporaryDirectory(prefix="ptubench-")
    except OSError as exc:
        raise MeasurementLost(f"no temporary folder can be written ({exc.strerror}); name one with TMPDIR") from None


def _load(shape: Shape, calls: float, window: float) -> Workload:
    """The workload of a step: evenly spaced calls, measured once as many streams are open as there will ever be."""
    warmup = shape.e2e + _SETTLE
    duration = float(math.ceil(warmup + window))
    return Workload(
        name="doctor",
        classes=(Class(prompt=Fixed(tokens=PROMPT), completion=Fixed(tokens=shape.tokens)),),
        load=OpenLoop(stages=(Stage(value=calls, seconds=duration),), arrivals="constant"),
        duration=duration,
        warmup=warmup,
        max_in_flight=1_000_000,
        drain=_DRAIN,
    )


def _order(workload: Workload, folder: Path, port: int, *, tls: bool, workers: int) -> Order:
    """A run of it on the server at a port."""
    endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    options = TargetOptions(endpoint=endpoint, deployment="flat-out", auth="none")
    target = resolve_target(options, {}, {}, workload_name=workload.name, entra=False)
    return Order(
        workload=workload,
        plan=make_plan(workload),
        aim=Aim(target=target, headers={}, credential=None),
        divert_to=None,
        salt=None,
        label=None,
        place=None,
        workers=workers,
        folder=folder,
        compress=False,
        ca_file=str(PEM) if tls else None,
        say=lambda _: None,
        watch=lambda _: None,
    )


@contextlib.contextmanager
def _serving(shape: Shape, count: int, folder: Path, *, tls: bool) -> Iterator[_Servers]:
    """Flat-out servers on one port until the block ends; what they wrote down is known after it."""
    servers = _Servers()
    logs = [folder / f"server-{number}.log" for number in range(count)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, log in enumerate(logs):
            started.append(_started(shape, servers.port, log, name=f"s{number}-", share=count > 1, tls=tls))
            servers.port = servers.port or _heard(started[0])  # which the others share
        for process in started[1:]:
            _heard(process)
        yield servers
        for process, log in zip(started, logs, strict=True):
            _add(servers, process, log)
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _started(shape: Shape, port: int, log: Path, *, name: str, share: bool, tls: bool) -> subprocess.Popen[bytes]:
    options = {"--port": port, "--ttft": TTFT, "--tokens": shape.tokens, "--rate": SPEED, "--log": log, "--name": name}
    words = [str(word) for pair in options.items() for word in pair]
    return subprocess.Popen(  # noqa: S603 - our own module
        [
            sys.executable,
            "-P",
            "-m",
            f"ptubench.sim.{'flat_tls' if tls else 'flat_out'}",
            *words,
            *(["--share"] if share else []),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the parent
    )


def _heard(process: subprocess.Popen[bytes]) -> int:
    """The port that a server listens on by now."""
    assert process.stdout is not None  # noqa: S101 - asked for
    try:
        return msgspec.json.decode(process.stdout.readline(), type=dict[str, int])["port"]
    except (msgspec.DecodeError, KeyError):
        raise MeasurementLost("the server that the client is measured against did not start") from None


def _add(servers: _Servers, process: subprocess.Popen[bytes], log: Path) -> None:
    """End a server, and take over what it wrote down."""
    try:
        said, _ = process.communicate(timeout=_PATIENCE)  # closes its stdin, with which it ends
        stats = msgspec.json.decode(said, type=_Stats)
        rows = msgspec.json.Decoder(_Log).decode_lines(log.read_bytes())
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        raise MeasurementLost("the server that the client is measured against left no log") from None
    servers.first.update({row.id: row.first for row in rows if row.first is not None})
    servers.due += stats.due
    servers.in_time += stats.in_time


def _read(lines: Sequence[record.Line], shape: Shape, calls: float, servers: _Servers, *, tls: bool) -> Step:
    """A run file beside the servers' log."""
    head = lines[0]
    assert isinstance(head, record.Head)  # noqa: S101 - the run has just been written
    start, end = head.window
    attempts = [line for line in lines if isinstance(line, record.Attempt) and start <= line.scheduled < end]
    unsent = any(isinstance(line, record.Dropped) for line in lines)
    errors = [_error(attempt, head.clock_start, servers.first) for attempt in attempts]
    lags = [math.inf] if unsent else [attempt.taken - attempt.scheduled for attempt in attempts]
    delivered = servers.in_time / servers.due if servers.due else 1.0
    p99, lag = _percentile(errors, 99), _percentile(lags, 99)
    cpu = max((line.cpu for line in lines if isinstance(line, record.Tick) and line.t + 1 == end), default=0.0)
    late = not (p99 < TTFT_ERROR and lag < LAG and cpu <= CPU)
    return Step(
        shape=shape.name,
        tls=tls,
        workers=head.workers,
        servers=servers_for(head.workers),
        calls=calls,
        events=round(calls * shape.tokens, 1),
        streams=round(calls * shape.e2e, 1),
        ttft_error_p50=_finite(_percentile(errors, 50)),
        ttft_error_p99=_finite(p99),
        lag_p99=_finite(lag),
        delivered=round(delivered, 4),
        cpu=cpu,
        outcome="client" if late else "ok" if delivered >= DELIVERED else "server",
    )


def _error(attempt: record.Attempt, zero: float, first: dict[str, float]) -> float:
    """Seconds by which the client's stamp of the first content lies behind the server's; infinite where it never came."""
    written = first.get(attempt.headers.get("x-request-id", ""))
    if attempt.first_content is None or written is None:
        return math.inf
    return zero + attempt.first_content - written


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent, method="inverted_cdf")) if values else math.inf


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None

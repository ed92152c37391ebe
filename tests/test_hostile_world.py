"""A full disk, a clock that is set back, too few descriptors, servers that drip or answer too early: a sentence and a marked file."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

import running
from ptubench import loop, record
from ptubench.analysis.summary import summarize
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.engine import keys
from ptubench.results import store
from ptubench.sim.script import document
from ptubench.workload.model import Timeouts
from running import WORKLOAD, endpoint
from servers import CHAT, background, script_server
from simulated import simulated

resource = pytest.importorskip("resource", reason="not on Windows")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits a process the Linux way")
CLOCK = """
import glob, os, time
_real = time.time
time.time = lambda: _real() - 3600.0 * any(map(os.path.getsize, glob.glob({files!r})))
"""
"""A clock that is set back as soon as a run file has its head."""


@dataclass(frozen=True)
class Ended:
    """A run that is over, however it ended."""

    code: int
    said: str
    summary: dict[str, Any]
    lines: list[record.Line]

    @property
    def attempts(self):
        return [line for line in self.lines if isinstance(line, record.Attempt)]


def run(folder, *options, limits=(), env=None, **keys):
    """`ptubench run` with limits set by `setrlimit`, and what it left."""
    workload = folder / "workload.yaml"
    workload.write_text(json.dumps({**WORKLOAD, "duration": "1s", **keys}))

    def limited():
        for what, most in limits:
            resource.setrlimit(what, (most, most))

    done = subprocess.run(
        [sys.executable, "-m", "ptubench", "run", workload, "--results", folder / "results", *options],
        preexec_fn=limited,
        env=running.environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=running.PATIENCE,
        check=False,
    )
    files = list((folder / "results").glob("*.jsonl"))

    assert len(files) == 1, done.stderr
    (file,) = files
    return Ended(done.returncode, done.stderr, summarize(file), list(store.lines(file)))


def reasons(ended):
    """The sentences of the verdict by their codes."""
    return {reason["code"]: reason["text"] for reason in ended.summary["validity"]["reasons"]}


def test_a_disk_that_fills_up_is_a_sentence_and_what_was_written_stays(tmp_path):
    with simulated(tmp_path, ptu=1000) as sim:
        ended = run(
            tmp_path,
            *endpoint(sim.url),
            limits=[(resource.RLIMIT_FSIZE, 20_000)],
            env={"PYTHONDONTWRITEBYTECODE": "1"},  # else compiled modules would be cut too, and stay
            load={"rate": "200/s"},
            duration="20s",
        )
        later = sim.admitted

    assert ended.code == 4
    assert re.search(
        r"error: \S*\.jsonl: the run's records can't be written any more \(File too large\); what was written before stays "
        r"readable; make room, or choose another folder with `--results DIR`$",
        " ".join(ended.said.split()),
    )
    assert ended.summary["run"]["ended"] == "killed"
    assert ended.summary["validity"]["verdict"] == "invalid"
    assert 20 < len(ended.attempts) < 100
    assert later < 2000  # of 4,000: the load ended with the disk


def test_a_wall_clock_that_is_set_back_changes_no_figure(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        CLOCK.format(files=str(tmp_path / "results/*"))
    )  # of each process
    with simulated(tmp_path, ptu=1000) as sim:
        ended = run(tmp_path, *endpoint(sim.url), env={"PYTHONPATH": str(tmp_path / "site")}, duration="2s")

    requests = ended.summary["metrics"]["requests"]
    assert ended.code in (0, 4), ended.said  # 4: a busy machine is late
    assert (requests["total"], requests["ok"]) == (80, 80)
    assert ended.summary["run"]["ended"] == "completed"
    assert ended.summary["run"]["duration_s"] == 2.0
    assert "was set back by 3600 s during the run" in reasons(ended)["clock_set"]
    assert all(a.scheduled <= a.taken <= a.sent <= a.first_content <= a.end < 60 for a in ended.attempts)


def test_too_few_descriptors_are_failures_with_a_name_and_no_valid_run(tmp_path):
    with simulated(tmp_path, ptu=10_000, latency=1.0) as sim:
        ended = run(
            tmp_path,
            *endpoint(sim.url),
            limits=[(resource.RLIMIT_NOFILE, 100)],
            load={"concurrency": 200},
        )

    failures = ended.summary["metrics"]["failed"]["by_kind"]
    assert ended.code == 4
    assert set(failures) == {"no_socket"}
    assert ended.summary["metrics"]["requests"]["ok"] >= 50
    assert "ulimit -n" in reasons(ended)["no_socket"]


def test_a_server_that_drips_meets_the_total_limit(tmp_path):
    def drip(_ask):
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000000\r\n\r\n"
        for _ in range(1000):
            yield 0.1
            yield b":"

    limits = {"connect": "5s", "first_byte": "5s", "idle": "5s", "total": "1s"}
    with script_server(drip) as server:
        ended = run(tmp_path, *endpoint(server.base), load={"rate": "20/s", "arrivals": "constant"}, timeouts=limits)

    assert ended.code in (3, 4)
    assert ended.summary["run"]["ended"] == "completed"
    assert ended.summary["metrics"]["failed"]["by_kind"] == {"total_timeout": 20}


EARLY = document(413, b'{"error":{"code":"too_large","message":"the body is too large"}}')


async def too_early(reader, writer):
    """Answers when it has the headers, and closes with the body unread, so that the rest of it is met by a reset."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(EARLY)
    await writer.drain()
    writer.close()


def test_a_run_whose_long_prompts_are_answered_before_they_are_out_says_what_was_answered(tmp_path):
    with background() as thread, thread.listening(asyncio.start_server(too_early, "127.0.0.1", 0)) as port:
        ended = run(
            tmp_path,
            *endpoint(f"http://127.0.0.1:{port}"),
            load={"rate": "10/s", "arrivals": "constant"},
            prompt_tokens=100_000,
        )

    failures = ended.summary["metrics"]["failed"]["by_kind"]
    assert ended.code in (3, 4)  # 4: a busy machine is late
    assert "too_large: the body is too large" in ended.said  # the probe's
    assert failures == {"http_413": 10}
    assert {attempt.error for attempt in ended.attempts} == {"too_large: the body is too large"}


@pytest.mark.parametrize("runner", [asyncio.run, loop.run], ids=["asyncio", "the loop of the workers"])
def test_an_answer_that_comes_before_the_request_is_out_is_read(runner):
    async def two(url):
        client = make_client(
            "timed",
            url=url,
            api="chat",
            headers={},
            timeouts=Timeouts(connect=9, first_byte=9, idle=9, total=30),
            stream=True,
            ca_file=None,
            env={},
            max_connections=10,
        )
        exchanges = [Exchange(), Exchange()]
        for exchange in exchanges:
            await client.send(b" " * 20_000_000, exchange)  # more than the buffers of a connection take
        await client.close()
        return exchanges

    with background() as thread, thread.listening(asyncio.start_server(too_early, "127.0.0.1", 0)) as port:
        exchanges = runner(two(f"http://127.0.0.1:{port}{CHAT}"))

    assert [(e.failure, e.error, e.resent) for e in exchanges] == [
        ("http_413", "too_large: the body is too large", False)
    ] * 2


def test_a_token_is_renewed_in_time_though_the_wall_clock_was_set_back():
    now, asked = 0.0, []

    def wall():
        return 1.8e9 + now - (3600.0 if now > 60 else 0.0)

    async def ask():
        asked.append(now)
        return {"authorization": "Bearer x"}, wall() + 3600

    async def sleep(seconds):
        nonlocal now
        now += seconds
        if now > 7200:
            raise asyncio.CancelledError

    async def kept():
        held = keys.Keys({}, ask, lambda _: None, wall=wall, clock=lambda: now, sleep=sleep)
        await held.renew()
        with contextlib.suppress(asyncio.CancelledError):
            await held.keep(lambda _: None)

    asyncio.run(kept())

    assert asked == [0.0, 3300.0, 6600.0]  # five minutes before the end of each

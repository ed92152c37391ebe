"""`ptubench doctor`: the most that this machine drives truthfully, kept for later runs, and what it means in PTUs."""

import json
import math
import os
import re
import ssl
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
from goldens import golden, shown
from ptubench import record
from ptubench.doctor import document, machine, others, reach, step, stored
from ptubench.doctor.limit import search
from ptubench.doctor.machine import Pace
from ptubench.doctor.reach import Asked, Cost
from ptubench.doctor.step import Shape, Step
from ptubench.load.plan import make_plan
from ptubench.ptu import catalogue
from ptubench.report import doctor as report
from ptubench.sim.flat_tls import PEM
from ptubench.workload.model import Class, ClosedLoop, Fixed, OpenLoop, Stage, Workload
from runs import head, ok, tick

QUICK = Pace(window=0.2, narrow=0, budget=0.0)

# --- the search


def with_cores(monkeypatch, count):
    """As many cores as the machine shall have."""
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(count), raising=False)


def found(limit, *, start=600.0, least=1.0, most=40_000.0, narrow=3, budget=100, **more):
    """What a search finds of a machine that passes up to `limit`, and all that it tried."""
    tried = []

    def play(load):
        tried.append(load)
        return load

    result = search(
        play,
        lambda load: load <= limit,
        start=start,
        least=least,
        most=most,
        narrow=narrow,
        enough=lambda: len(tried) >= budget,
        **more,
    )
    return result, tried


@given(st.floats(min_value=2, max_value=30_000), st.integers(0, 5))
def test_the_search_finds_the_limit_of_a_machine(limit, narrow):
    result, tried = found(limit, narrow=narrow)

    assert result.best <= limit < result.worst
    assert result.worst / result.best <= 2**2**-narrow * (1 + 1e-9)
    assert len(tried) <= 4 + math.log2(600) + narrow


@given(st.floats(min_value=2, max_value=30_000), st.integers(1, 20))
def test_a_search_whose_time_is_up_says_what_passed_until_then(limit, budget):
    result, tried = found(limit, budget=budget)

    assert len(tried) <= budget
    assert result.best == max((load for load in tried if load <= limit), default=None)
    assert result.worst == min((load for load in tried if load > limit), default=None)


def test_a_machine_that_passes_nothing_has_no_limit_and_one_that_passes_all_was_not_at_its_own():
    assert found(0.5)[0].best is None
    assert found(math.inf)[0].worst is None


def test_a_load_that_fails_once_has_not_failed():
    hiccups = iter([True, False])
    result = search(
        lambda load: load <= 1000 and next(hiccups, True),
        lambda passed: passed,
        start=200,
        least=1,
        most=400,
        narrow=3,
        enough=lambda: False,
    )

    assert result.worst is None


def test_a_load_that_failed_for_a_reason_is_not_tried_again():
    assert found(1000)[1].count(1200) == 2
    assert found(1000, doubtful=lambda _: False)[1].count(1200) == 1


# --- what it costs, and what that means

rates = st.floats(min_value=1, max_value=1e5)


def takes(calls, events):
    """A machine that does so many calls, or so many events, a second."""
    return Cost(call=1 / calls, event=1 / events, most_calls=calls, most_events=events)


@given(rates, rates, rates, rates)
def test_what_was_just_bearable_takes_all_there_is_and_no_more_than_that(a, b, c, d):
    many, few = (min(a, b), max(c, d)), (max(a, b), min(c, d))
    cost = reach.cost(many, few)

    assert cost.call >= 0
    assert cost.event >= 0
    assert max(cost.share(*many), cost.share(*few)) == pytest.approx(1, rel=1e-6)


def test_a_call_and_an_event_cost_what_solves_both():
    cost = reach.cost((100, 5000), (400, 4000))

    assert (cost.call, cost.event) == (pytest.approx(1 / 1600), pytest.approx(3 / 16000))


def test_nothing_reaches_beyond_what_was_seen():
    cost = reach.cost((100, 5000), (400, 4000))

    assert cost.share(10, 5000) == 1
    assert cost.share(800, 10) == 2


@pytest.mark.parametrize("model", machine.MODELS)
def test_ptus_are_as_many_as_their_chat_calls_fill_the_machine(model):
    cost = takes(2000, 60_000)
    row = reach.ptu_row(catalogue.find(model), cost, workers=1, files=None)
    increment = catalogue.find(model).sizes["global"][1]

    assert row["ptu"] % increment == 0
    assert row["events"] == pytest.approx(200 * row["calls"], rel=0.01)
    assert cost.share(row["calls"], row["events"]) <= 1.001
    assert cost.share(row["calls"], row["events"]) * (row["ptu"] + increment) / row["ptu"] > 0.999


def test_the_ptus_of_a_model_by_the_published_figures():
    row = reach.ptu_row(catalogue.find("gpt-4.1"), takes(math.inf, 50_000), workers=1, files=None)

    # 3,000 tokens a minute and PTU, 1,000 + 4 · 200 a call: 1/36 calls a second; 250 calls a second have 50,000 tokens.
    assert (row["ptu"], row["calls"], row["streams"]) == (9000, 250, 250 * (1 + 200 / 80))


def test_each_stream_needs_a_file():
    model = catalogue.find("gpt-4.1")
    row = reach.ptu_row(model, takes(math.inf, 50_000), workers=2, files=164)

    assert 190 < row["streams"] <= 200


@pytest.mark.parametrize(
    ("workers", "expected"),
    [(1, 1.0), (2, 1.0), (3, 0.8), (4, 0.6), (8, 0.6)],
)
def test_the_share_of_a_load_is_the_best_that_a_measurement_proves(workers, expected):
    measured = [(1, takes(100, math.inf)), (4, takes(1000 / 6, math.inf))]

    assert reach.share(Asked(100, 0, 0), workers, measured) == pytest.approx(expected)


def workload(load, **more):
    kind = Class(prompt=Fixed(tokens=100), completion=Fixed(tokens=200))
    return Workload(name="w", classes=(kind,), load=load, duration=60.0, warmup=0.0, **more)


def test_a_load_asks_for_its_busiest_seconds_and_tokens():
    plan = make_plan(workload(OpenLoop(stages=(Stage(value=10, seconds=30), Stage(value=50, seconds=30)))))
    asked = reach.asked(plan, "gpt-4.1")

    assert asked.calls == pytest.approx(50, rel=0.2)
    assert asked.events == pytest.approx(200 * asked.calls)
    assert asked.streams == pytest.approx(asked.calls * (1 + 200 / 80))


def test_lanes_ask_for_as_many_calls_as_they_can_make():
    asked = reach.asked(make_plan(workload(ClosedLoop(concurrency=100))), None)

    assert asked == (20, 4000, 100)


# --- a step


def test_a_step_reads_the_client_beside_the_server():
    numbers = range(100)
    attempts = [ok(n, 2 + n / 100, taken=2 + n / 100 + 0.001, headers={"x-request-id": f"s0-{n}"}) for n in numbers]
    zero = head(window=(2.0, 3.0)).clock_start
    servers = step._Servers(due=100, in_time=99)
    servers.first = {f"s0-{n}": zero + attempts[n].first_content - n / 1e4 for n in numbers}
    seen = step._read([head(window=(2.0, 3.0)), *attempts], Shape("streams", 50), 100.0, servers, tls=False)

    assert (seen.calls, seen.events, seen.streams) == (100, 5000, pytest.approx(108))
    assert seen.ttft_error_p99 == pytest.approx(0.0098, abs=1e-4)
    assert seen.lag_p99 == pytest.approx(0.001)
    assert seen.outcome == "ok"


@pytest.mark.parametrize(
    ("changes", "delivered", "outcome"),
    [
        ({}, 1.0, "ok"),
        ({}, 0.9, "server"),
        ({"lag": 0.006}, 1.0, "client"),
        ({"lag": 0.006}, 0.9, "client"),
        ({"error": 0.06}, 1.0, "client"),
        ({"answered": False}, 1.0, "client"),
        ({"dropped": True}, 1.0, "client"),
        ({"cpu": 0.85}, 1.0, "client"),
        ({"cpu": 0.75}, 1.0, "ok"),
    ],
)
def test_a_step_fails_where_the_client_was_late_and_is_no_limit_of_its_where_the_server_was(
    changes, delivered, outcome
):
    lag, error = changes.get("lag", 0.001), changes.get("error", 0.001)
    attempt = ok(0, 2.0, taken=2.0 + lag, headers={"x-request-id": "s0-0"})
    made = head(window=(2.0, 3.0))
    servers = step._Servers(due=1000, in_time=int(1000 * delivered))
    if changes.get("answered", True):
        servers.first = {"s0-0": made.clock_start + attempt.first_content - error}
    lines = [made, attempt, tick(2, cpu=changes.get("cpu", 0.5))]
    if changes.get("dropped"):
        lines.append(record.Dropped(index=1, scheduled=2.5, worker=0, name=""))

    assert step._read(lines, Shape("calls", 10), 1.0, servers, tls=False).outcome == outcome


@pytest.mark.parametrize("tls", [False, True])
def test_a_real_load_of_several_workers_is_measured_against_the_logs_of_several_servers(tls, monkeypatch):
    with_cores(monkeypatch, 4)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # which would be in the way
    monkeypatch.setenv("NO_PROXY", "ours.example")
    seen = step.play(Shape("calls", 2), 50.0, tls=tls, workers=2, window=0.3)

    assert (seen.tls, seen.workers, seen.servers) == (tls, 2, 2 if sys.platform == "linux" else 1)
    assert "no_proxy" not in os.environ
    assert seen.ttft_error_p50 >= 0
    assert seen.lag_p99 >= 0
    assert 0 < seen.delivered <= 1
    assert seen.outcome in ("ok", "client", "server")


def test_the_certificate_of_the_server_is_for_this_machine_alone_and_outlasts_us():
    strict = ssl.create_default_context(cafile=str(PEM))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    (known,) = (found for found in strict.get_ca_certs() if found["serialNumber"] == "01" and "ptubench" in str(found))

    assert known["subjectAltName"] == (("IP Address", "127.0.0.1"),)
    assert known["notAfter"].endswith(" 2100 GMT")
    assert not any("ptubench" in str(found) for found in ssl.create_default_context().get_ca_certs())


# --- the whole machine, faked


def as_if(limit_calls, limit_events):
    """A machine on which calls and events take what they take, over TLS twice as much, and nothing else."""

    def play(shape, calls, *, tls, workers, window):
        taken = (1 + tls) * (calls / limit_calls + calls * shape.tokens / limit_events)
        return made_step(
            shape, calls, tls=tls, workers=workers, cpu=0.8 * taken, outcome="ok" if taken <= 1 else "client"
        )

    return play


def made_step(shape, calls, *, tls=False, workers=1, cpu=0.75, outcome="ok"):
    return Step(
        shape=shape.name,
        tls=tls,
        workers=workers,
        servers=1,
        calls=calls,
        events=calls * shape.tokens,
        streams=calls * shape.e2e,
        ttft_error_p50=0.0002,
        ttft_error_p99=0.0008,
        lag_p99=0.0021,
        delivered=1.0,
        cpu=cpu,
        outcome=outcome,
    )


@pytest.fixture
def fast(monkeypatch):
    """Two cores, and a machine that is known: 2,000 calls or 80,000 events a second."""
    with_cores(monkeypatch, 2)
    monkeypatch.setattr(others, "since", lambda _: 0.1)
    for module in (machine, stored):
        monkeypatch.setattr(module, "open_files", lambda: None)
    monkeypatch.setattr(step, "play", as_if(2000, 80_000))


def test_what_calls_and_events_cost_is_found(fast):
    said = []
    measured = machine.measure(model="gpt-4.1", say=said.append)
    plain, tls = measured["workers"]

    assert (plain["tls"], tls["tls"]) == (False, True)
    assert 1 / plain["cost"]["call"] == pytest.approx(2000, rel=0.25)
    assert 1 / plain["cost"]["event"] == pytest.approx(80_000, rel=0.25)
    assert 2 / tls["cost"]["call"] == pytest.approx(2000, rel=0.5)
    assert 2 / tls["cost"]["event"] == pytest.approx(80_000, rel=0.5)
    assert said[0] == (
        "one worker: 832 streams, 40,000 events and 400 calls a second: on time (TTFT error p99 0.8 ms, lag p99 2.1 ms, 56.0 % of a core)"
    )
    assert said[-1].startswith("one worker over TLS: ")
    assert len(said) <= 20


def test_ptus_are_those_of_targets_over_tls(fast):
    measured = machine.measure(model="gpt-4.1", say=lambda _: None)
    (row,) = measured["ptu"]
    best = measured["workers"][1]["streams"]["best"]

    assert row["events"] <= best["events"] < measured["workers"][0]["streams"]["best"]["events"]


def test_nothing_is_tried_over_tls_where_plain_http_had_nothing_on_time(fast, monkeypatch):
    tried = []

    def play(shape, calls, *, tls, workers, window):
        tried.append(tls)
        return made_step(shape, calls, tls=tls, outcome="client")

    monkeypatch.setattr(step, "play", play)
    measured = machine.measure(model=None, say=lambda _: None)

    assert not any(tried)
    assert measured["workers"][1]["streams"] == {"best": None, "worst": None}
    assert measured["ptu"] == []


def test_more_cores_are_measured_too(fast, monkeypatch):
    with_cores(monkeypatch, 8)
    measured = machine.measure(model=None, say=lambda _: None)

    assert [(crew["workers"], crew["tls"]) for crew in measured["workers"]] == [
        (1, False),
        (1, True),
        (7, False),
        (7, True),
    ]
    assert len(measured["ptu"]) == 2 * len(machine.MODELS)


def test_no_load_is_begun_beyond_the_budget(fast, monkeypatch):
    began, now = [], [0.0]

    def play(shape, calls, *, tls, workers, window):
        began.append((shape.name, tls, now[0]))
        now[0] += 3
        return made_step(shape, calls, outcome="ok")

    monkeypatch.setattr(step, "play", play)
    machine.measure(model=None, say=lambda _: None, pace=Pace(window=1, narrow=3, budget=20), clock=lambda: now[0])

    assert began[-1][2] < 20
    assert list(dict.fromkeys((name, tls) for name, tls, _ in began)) == [
        (name, tls) for tls in (False, True) for name in ("streams", "calls")
    ]


def test_what_the_target_took_of_the_minute_is_not_there_for_the_machine():
    assert Pace(window=1, narrow=1, budget=50).less(10).budget == 40
    assert Pace(window=1, narrow=1, budget=50).less(45).budget == 25


@pytest.mark.parametrize(
    ("outcome", "said", "over_tls"),
    [
        ("server", "fell behind before the client did: it is at least so much", "fell behind before the client did"),
        (
            "client",
            "no load that was tried was on time",
            "not tried, as no load that was tried over plain http was on time",
        ),
    ],
)
def test_the_document_says_what_the_limit_was_not(fast, monkeypatch, outcome, said, over_tls):
    limit = 700 if outcome == "server" else 0

    def play(shape, calls, *, tls, workers, window):
        return made_step(shape, calls, tls=tls, outcome="ok" if calls <= limit else outcome)

    monkeypatch.setattr(step, "play", play)
    measured = machine.measure(model=None, say=lambda _: None)
    notes = document.whole(None, measured, model=None, kept=None)["notes"]

    assert [said in note for note in notes[1:3]] == [True, True]
    assert [over_tls in note for note in notes[3:]] == [True, True]
    assert ["over TLS" in note for note in notes] == [False, False, False, True, True]


def test_a_busy_machine_and_few_files_are_said(fast, monkeypatch):
    monkeypatch.setattr(others, "since", lambda _: 1.23)
    monkeypatch.setattr(machine, "open_files", lambda: 1024)
    measured = machine.measure(model="gtp-4.1", say=lambda _: None)
    notes = document.whole({"passed": True}, measured, model="gtp-4.1", kept=None)["notes"]

    assert notes[0].startswith("meanwhile other programs kept 1.2 cores busy: this machine drives more")
    assert notes[1] == "a worker may have 1,024 files open, and each stream is one: raise the hard limit (ulimit -Hn)"
    assert notes[-1] == "no PTUs are counted: `gtp-4.1` is not in the catalogue; did you mean `gpt-4.1`?"
    assert measured["ptu"] == []


# --- the command


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs a command line without any target: its exit code, and what it printed to either stream."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "OPENAI_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def ptubench(*arguments):
        code = running.call(*arguments)
        return code, *capsys.readouterr()

    return ptubench


def test_the_whole_doctor_really(call, monkeypatch):
    monkeypatch.setattr(machine, "PACE", QUICK)
    monkeypatch.setattr(machine, "SHAPES", (Shape("streams", 6), Shape("calls", 2)))
    with_cores(monkeypatch, 2)
    code, out, err = call("doctor", "--json")
    found = json.loads(out)
    plain, _ = found["machine"]["workers"]

    enough = any(crew["cost"] for crew in found["machine"]["workers"])

    assert (code, found["exit_code"], found["target"]) == (*[0 if enough else 4] * 2, None)
    assert found["notes"][0].startswith("no target was named: --endpoint")
    assert all(plain[name]["best"] or plain[name]["worst"] for name in ("streams", "calls"))
    assert err.count("one worker: ") == 2
    assert err.count("one worker over TLS: ") == sum(plain[name]["best"] is not None for name in ("streams", "calls"))
    assert (found["stored"] is not None) == enough
    assert not enough or json.loads(Path(found["stored"]).read_text()) == found["machine"]


@pytest.mark.parametrize("on_time", [(), ("calls",)])
def test_where_too_little_was_on_time_that_is_the_exit_code_and_the_last_measurement_stays(
    call, fast, monkeypatch, on_time
):
    call("doctor")
    (file,) = stored.place(os.environ).parent.iterdir()
    before = file.read_text()

    def play(shape, calls, **_):
        return made_step(shape, calls, outcome="ok" if shape.name in on_time and calls < 1000 else "client")

    monkeypatch.setattr(step, "play", play)
    code, out, err = call("doctor", "--json")
    found = json.loads(out)

    assert (code, found["exit_code"], found["stored"]) == (4, 4, None)
    assert "warning: the measurement is not kept: too few loads were on time" in err
    assert file.read_text() == before


def test_the_table_says_up_to_how_many_ptus(fast):
    measured = machine.measure(model=None, say=lambda _: None)
    measured["machine"] = {"host": "vm-3", "cores": 2, "system": "Linux-6.1", "ptubench": "0.1.0", "python": "3.12.1"}
    whole = document.whole(None, measured, model=None, kept="/cache/ptubench/doctor-vm-3.json")
    text = shown(report.machine(whole))

    assert text == golden("doctor", text)


def test_no_figure_of_many_workers_is_cut_at_80_columns(fast, monkeypatch):
    with_cores(monkeypatch, 64)
    monkeypatch.setattr(
        step,
        "play",
        lambda shape, calls, *, tls, workers, **_: made_step(
            shape, calls, tls=tls, workers=workers, outcome="server" if calls > 2000 else "ok"
        ),
    )
    measured = machine.measure(model=None, say=lambda _: None)
    text = shown(report.machine(document.whole(None, measured, model=None, kept=None)), width=80)

    assert "63 workers, plain http" in text
    assert ": server behind\n" in text
    assert "…" not in text


def test_a_measurement_that_cant_be_kept_is_said(call, fast, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    code, out, err = call("doctor", "--json")

    assert code == 0
    assert json.loads(out)["stored"] is None
    assert "warning: the measurement is not kept: stored measurement " in err


def test_a_wrong_option_is_no_measurement(call):
    code, _, err = call("doctor", "--endpoint", "http://127.0.0.1:1/v1", "--deployment", "d", "--auth", "magic")

    assert (code, err) == (2, "error: --auth: `magic` is not one of auto, key, token, entra, none\n")


def test_a_machine_without_a_temporary_folder_is_told_so(call, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    code, out, err = call("doctor", "--json")

    assert (code, out) == (4, "")
    assert err == "error: no temporary folder can be written (No such file or directory); name one with TMPDIR\n"


@pytest.mark.parametrize("option", ["--simulate", "--ptu", "--ratio", "--trust-target"])
def test_an_option_of_a_target_that_would_do_nothing_is_none(option, call):
    code, _, err = call("doctor", option, "1")

    assert (code, err.startswith(f"error: No such option: {option}")) == (2, True)


def test_ctrl_c_ends_it(call, fast, monkeypatch):
    def play(shape, calls, *, tls, workers, window):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "play", play)

    assert call("doctor")[0] == 130


# --- what a run hears of it

RUN = ("run", "chat", "--simulate", "gpt-4.1:50", "--dry-run")


def test_a_run_is_told_when_it_asks_for_more_than_was_measured(call, fast):
    call("doctor")
    code, _, err = call(*RUN, "--rate", "1000/s", "--duration", "2m", "--set", "load.arrivals=constant")

    assert code == 0
    assert re.fullmatch(
        r"warning: this load asks for about 3,500 streams, 200,000 events and 1,000 calls a second, [34]\.\d times the most that one "
        r"worker did truthfully on this machine \(`ptubench doctor`, 20\d\d-\d\d-\d\d\): lateness of the client would pass for latency; "
        r"lower the rate, or spread it over several machines with --on\n",
        err,
    )


def test_more_workers_are_the_way_out_where_they_are_enough(call, fast, monkeypatch):
    with_cores(monkeypatch, 8)

    def play(shape, calls, *, tls, workers, window):
        return as_if(2000 * workers, 80_000 * workers)(shape, calls, tls=tls, workers=workers, window=window)

    monkeypatch.setattr(step, "play", play)
    call("doctor")
    rate = ("--rate", "1000/s", "--duration", "2m")

    assert "; use --workers 7\n" in call(*RUN, *rate)[2]
    assert call(*RUN, *rate, "--workers", "7")[2] == ""


def test_a_run_hears_nothing_of_loads_that_were_measured(call, fast):
    call("doctor")

    assert call(*RUN)[2] == ""


def test_a_run_of_more_streams_than_files_is_told_so_whether_measured_or_not(call, monkeypatch):
    monkeypatch.setattr(stored, "open_files", lambda: 1024)
    lanes = ("--set", "load={concurrency: 2000}")

    assert (
        "about 2,000 streams at once, and a worker may have 1,024 files open, of which each stream is one"
        in call(*RUN, *lanes)[2]
    )
    assert call(*RUN, *lanes, "--workers", "3")[2] == ""
    assert call(*RUN, *lanes, "--set", "max_in_flight=900")[2] == ""


AZURE = (
    "run",
    "chat",
    "--endpoint",
    "https://r.openai.azure.com",
    "--deployment",
    "d",
    "--model",
    "gpt-4.1",
    "--dry-run",
)


def test_a_load_over_tls_is_held_against_what_was_measured_over_tls(call, fast, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-secret-of-ours")
    call("doctor", "--model", "gpt-4.1")
    steady = ("--rate", "200/s", "--duration", "2m", "--set", "load.arrivals=constant")

    assert call(*RUN, *steady)[2] == ""
    assert re.search(r", 1\.[3-6] times the most that one worker did", call(*AZURE, *steady)[2])


def test_a_load_within_the_precision_of_the_limit_is_no_alarm(call, fast):
    call("doctor")
    (file,) = stored.place(os.environ).parent.iterdir()
    kept = json.loads(file.read_text())
    kept["workers"][0]["cost"] = {"call": 0.0, "event": 0.0, "most_calls": 100.0, "most_events": 1e9}
    file.write_text(json.dumps(kept))
    steady = ("--duration", "2m", "--set", "load.arrivals=constant")

    assert call(*RUN, *steady, "--rate", "109/s")[2] == ""
    assert ", 1.2 times the most" in call(*RUN, *steady, "--rate", "120/s")[2]


def test_a_measurement_of_a_busy_machine_is_kept_only_where_there_is_no_quiet_one(call, fast, monkeypatch):
    loads = ("--rate", "1000/s", "--duration", "2m")
    monkeypatch.setattr(others, "since", lambda _: 1.0)
    call("doctor")
    busy = call(*RUN, *loads)[2]
    monkeypatch.setattr(others, "since", lambda _: 0.1)
    call("doctor")
    quiet = call(*RUN, *loads)[2]
    monkeypatch.setattr(others, "since", lambda _: 1.0)
    code, out, err = call("doctor", "--json")

    assert ", when other programs kept the machine busy): " in busy
    assert "; run `ptubench doctor` again when they do not, or lower the rate" in busy
    assert "busy" not in quiet
    assert (code, json.loads(out)["stored"]) == (0, None)
    assert "stays, from when other programs left the machine alone" in err
    assert call(*RUN, *loads)[2] == quiet


def test_other_programs_are_counted_and_not_our_own():
    began = others.moment()
    while time.monotonic() < began.clock + 0.2:
        pass

    assert 0 <= others.since(began) <= max(os.cpu_count(), others.moment().load or 0) + 0.5


_ONES = {"call": 1, "event": 1, "most_calls": 1, "most_events": 1}


@pytest.mark.parametrize(
    "changed",
    [
        {"measured_at": "\x1b[2J"},
        {"workers": [{"workers": 0, "tls": False, "cost": None}]},
        {"workers": [{"workers": 1, "tls": False, "cost": _ONES | {"most_calls": 0}}]},
        {"workers": [{"workers": 1, "tls": False, "cost": _ONES | {"call": -1}}]},
        {"deep": "DEEP"},
        None,
    ],
)
def test_a_stored_measurement_that_cant_be_one_says_nothing(call, fast, changed):
    call("doctor")
    (file,) = stored.place(os.environ).parent.iterdir()
    if changed is None:
        file.unlink()
        os.mkfifo(file)  # nobody ever writes to it
    else:
        text = json.dumps(json.loads(file.read_text()) | changed)
        file.write_text(text.replace('"DEEP"', "[" * 100_000 + "]" * 100_000))

    assert call(*RUN, "--rate", "1000/s", "--duration", "2m")[2] == ""


def test_a_search_goes_no_further_than_the_files_of_a_worker(fast, monkeypatch):
    monkeypatch.setattr(machine, "open_files", lambda: 264)
    measured = machine.measure(model=None, say=lambda _: None)

    for crew in measured["workers"]:
        for name in ("streams", "calls"):
            assert crew[name]["best"]["streams"] <= 200.1


@pytest.mark.parametrize("what", ["nothing", "another machine", "nonsense", "nothing passed"])
def test_a_run_hears_nothing_where_nothing_is_known(call, fast, monkeypatch, what):
    call("doctor")
    (file,) = stored.place(os.environ).parent.iterdir()
    kept = json.loads(file.read_text())
    if what == "nothing":
        file.unlink()
    elif what == "another machine":
        kept["machine"]["cores"] += 1
        file.write_text(json.dumps(kept))
    elif what == "nonsense":
        file.write_text('{"workers": 3')
    else:
        for crew in kept["workers"]:
            crew["cost"] = None
        file.write_text(json.dumps(kept))

    assert call(*RUN, "--rate", "1000/s", "--duration", "2m")[2] == ""


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/ptubench"),
        ({"HOME": "/h"}, "/h/.cache/ptubench"),
        ({"LOCALAPPDATA": "/l", "HOME": "/h"}, "/l/ptubench"),
    ],
)
def test_the_measurement_is_kept_in_the_users_cache(env, folder):
    assert str(stored.place(env).parent) == folder
    assert stored.place({}) is None

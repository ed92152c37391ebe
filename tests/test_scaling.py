"""Many machines: `run --on` against a real Dask scheduler and workers, each a process, on loopback."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import dask
import distributed
import msgspec
import numpy as np
import pytest
import trustme

import running
from clusters import AHEAD, cluster, until
from ptubench.cli.main import main
from ptubench.engine import cluster as engine_cluster
from ptubench.engine import node
from ptubench.engine import run as engine_run
from ptubench.engine.children import spawn
from ptubench.engine.keys import Keys
from ptubench.engine.messages import Config, Destination
from ptubench.engine.reach import Aim
from ptubench.engine.shard import Shard
from ptubench.errors import MeasurementLost, TargetRefused, UsageError
from ptubench.record import Attempt, Lost
from ptubench.results import store
from ptubench.sim.script import Pace
from ptubench.target.model import Target
from runs import WORKLOAD
from servers import Authority, healthy_server, script_server

pytestmark = pytest.mark.alone

ANSWER = Pace(tokens=2, ttft=0.05)
POISSON = {"load": {"rate": "90/s", "arrivals": "poisson"}, "duration": "2s", "seed": 4}
LONG = {"load": {"rate": "40/s", "arrivals": "constant"}, "duration": "60s"}
KEY = "KEY_OF_THIS_TEST"
ELSEWHERE = "KEY_OF_THE_PARENT_ONLY"
OWN = "what only the parent has in a file"
SECRET = "sesame-6d1f0"
PATIENCE = 40
TO = Destination(
    url="http://127.0.0.1:1/v1", api="chat", body_model="m", limit_field="max_tokens", headers={}, connections=0
)
CONFIG = msgspec.json.encode(
    Config(workload=WORKLOAD, salt="s", worker=0, workers=1, target=TO, divert_to=None, ca_file=None, max_in_flight=1)
)
TARGET = Target(
    kind="openai", style="openai", endpoint="http://127.0.0.1:1/v1", url="http://127.0.0.1:1/v1/chat/completions"
)


@dataclass
class World:
    """What the runs of this file left: they share a cluster and a server, each under a path of its own."""

    addresses: list[str]
    ahead: list[int]
    """The truth about the clock of the Dask worker at each."""
    log: list
    runs: dict[str, running.Run] = field(default_factory=dict)
    stopped: dict = field(default_factory=dict)
    """Of the runs that were ended: folder, exit code and, by our clock, when."""
    refused: tuple[int, str] = (0, "")
    """Of the run whose key no node has: exit code, and what was said."""
    stopped_lines: list = field(default_factory=list)
    """The file of the run that was stopped by a signal."""
    lost: list = field(default_factory=list)
    """The file of the run that lost a node."""
    logs: str = ""
    """What Dask's own processes wrote."""

    def asked(self, path):
        """The requests that came for one run, the probe first."""
        return [played.ask for played in self.log if f"/{path}/" in played.ask.path]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """All runs of this file; again, if the machine was so busy that a node did not hear of its parent in time."""
    return running.calmly(lambda: everything(tmp_path_factory.mktemp("scaling")), undisturbed)


def undisturbed(found):
    """Whether only that node was lost that was killed."""
    ends = [found.runs["two"].end, found.stopped_lines[-1], found.runs["lost"].end]
    return [len(end.lost_workers) for end in ends] == [0, 0, 1]


def everything(folder):
    """Most of what is tested here, at once; then a run that loses one of its nodes."""
    os.environ[KEY] = SECRET  # the nodes inherit it as well
    try:
        with script_server(running.numbered(ANSWER)) as server, cluster(folder / "dask", 2) as dask:
            found = World(dask.addresses(), dask.ahead, server.log)
            many_at_once(found, folder, server.base, dask)
            lose_a_worker(found, folder, server.base, dask)
            found.logs = "".join(path.read_text() for path in (folder / "dask").glob("*.log"))
            return found
    finally:
        del os.environ[KEY]


def start(folder, base, name, *options, **keys):
    """A run whose target is the server, under a path of its own."""
    target = ("--endpoint", f"{base}/{name}/v1", "--deployment", "gpt-4.1", "--api-style", "openai")
    key = () if "--key-env" in options else ("--key-env", KEY)
    return running.start(folder / name, *target, *key, "--salt", "same", *options, **keys)


def in_this_process(folder, base, name, *options):
    """The exit code of such a run and what it said: no process of its own, where none is measured."""
    workload = folder / "refused.yaml"
    workload.write_text(json.dumps(running.WORKLOAD))
    target = ("--endpoint", f"{base}/{name}/v1", "--deployment", "gpt-4.1", "--api-style", "openai")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = running.call("run", workload, "--results", folder / "refused", *target, *options)
    return code, said.getvalue()


def many_at_once(found, folder, base, dask):
    on = ("--on", dask.address)
    own = folder / "own.jsonl"
    own.write_text(json.dumps([{"role": "user", "content": OWN}]))
    messages = {"messages": {"file": str(own)}, "prompt_tokens": None, "completion_tokens": None, "output_limit": 4}
    orphan = start(folder, base, "orphan", *on, **LONG)
    stopped = start(folder, base, "stopped", *on, **LONG, **messages)
    both = {"two": start(folder, base, "two", *on, **POISSON), "one": start(folder, base, "one", **POISSON)}
    os.environ[ELSEWHERE] = SECRET  # the nodes were there before it
    found.refused = in_this_process(folder, base, "refused", *on, "--key-env", ELSEWHERE)
    del os.environ[ELSEWHERE]
    for name, run, end in (("orphan", orphan, signal.SIGKILL), ("stopped", stopped, signal.SIGINT)):
        until(lambda name=name: len(found.asked(name)) > 20, (run.folder / "stderr").read_text)
        ended = time.perf_counter()
        run.process.send_signal(end)
        found.stopped[name] = (run.folder, run.process.wait(PATIENCE), ended)
    found.stopped_lines = lines(stopped.folder)
    found.runs |= {name: run.finish() for name, run in both.items()}


def lose_a_worker(found, folder, base, dask):
    run = start(folder, base, "lost", "--on", dask.address, **{**LONG, "duration": "2s"})
    until(lambda: len(found.asked("lost")) > 20, (run.folder / "stderr").read_text)
    dask.workers[1].kill()
    found.runs["lost"] = run.finish()
    found.lost = lines(run.folder)


def lines(folder):
    (path,) = (folder / "results").iterdir()
    return list(store.lines(path))


# --- the load -----------------------------------------------------------------------------------------------------------


def test_two_nodes_send_what_one_machine_sends(world):
    two, one = world.runs["two"], world.runs["one"]
    bodies = {name: sorted(ask.body for ask in world.asked(name)[1:]) for name in ("two", "one")}

    assert [a.index for a in two.attempts] == list(range(two.head.planned))
    assert [(a.scheduled, a.prompt_asked) for a in two.attempts] == [
        (a.scheduled, a.prompt_asked) for a in one.attempts
    ]
    assert bodies["two"] == bodies["one"]


def test_each_node_sends_its_share(world):
    assert all(attempt.worker == attempt.index % 2 for attempt in world.runs["two"].attempts)


def test_each_request_of_the_plan_arrives_once_and_none_before_it_is_due(world):
    run = world.runs["two"]
    arrived = {str(number): played.ask.arrived for number, played in enumerate(world.log)}
    late = [arrived[a.headers["x-request-id"]] - run.clock(a.scheduled) for a in run.attempts]
    lag = [attempt.taken - attempt.scheduled for attempt in run.attempts]
    # What the clocks of two nodes leave open.
    unsure = max(node.uncertainty_s for node in run.head.nodes)

    assert len(world.asked("two")) == run.head.planned + 1  # the probe
    assert min(lag) >= 0
    assert all(after >= said - unsure for after, said in zip(late, lag, strict=True))


def test_the_union_of_what_two_nodes_send_is_as_irregular_as_it_should_be(world):
    # By when each was due that arrived: how late a busy machine let them leave is measured, and another thing.
    arrived = {str(number) for number, played in enumerate(world.log) if "/two/" in played.ask.path}
    due = [a.scheduled for a in world.runs["two"].attempts if a.headers["x-request-id"] in arrived]
    counts = np.histogram(due, bins=45, range=(0, 2))[0]

    # Two standard deviations are 0.43; the same arrivals from each node would give 2.
    assert 0.5 < np.var(counts, ddof=1) / np.mean(counts) < 1.6


def test_the_summary_is_that_of_one_machine(world):
    two, one = (world.runs[name].metrics for name in ("two", "one"))

    noise = sum(of["ttft"]["p90"] - of["ttft"]["p50"] for of in (two, one))
    late = max(of["lag"]["p90"] for of in (two, one))  # of two seconds, that part may come after the window

    assert two["requests"] == one["requests"]
    for count in ("prompt", "completion", "total"):
        assert two["tpm"][count] == pytest.approx(one["tpm"][count], rel=0.05 + noise + late)
    assert two["ttft"]["p50"] == pytest.approx(one["ttft"]["p50"], abs=0.02 + noise)
    assert min(two["ttft"]["min"], one["ttft"]["min"]) >= ANSWER.ttft


def test_the_clocks_of_the_nodes_are_compared(world):
    head, end = world.runs["two"].head, world.runs["two"].end

    truth = dict(zip(world.addresses, world.ahead, strict=True))

    assert [node.worker for node in head.nodes] == [0, 1]
    assert {node.name for node in head.nodes} == truth.keys()
    assert all(abs(node.ahead_s - truth[node.name]) <= node.uncertainty_s for node in head.nodes)
    assert len(end.drift_s) == 2


def test_a_node_whose_clock_is_another_one_begins_with_the_others_and_its_times_are_ours(world):
    if not any(world.ahead):
        pytest.skip("this kernel gives no time namespace to processes")
    run = world.runs["two"]

    # What is not laid on our clock is more than an hour off.
    assert max(attempt.end for attempt in run.attempts) < AHEAD / 2
    assert max(tick.t for tick in run.ticks) < AHEAD / 2
    assert max(map(abs, run.end.drift_s)) < AHEAD / 2


# --- secrets ------------------------------------------------------------------------------------------------------------


def test_each_node_proves_itself_with_the_key_of_its_own_environment(world):
    assert {ask.headers["authorization"] for ask in world.asked("two")} == {f"Bearer {SECRET}"}


def test_no_secret_goes_through_the_scheduler_or_into_a_log(world):
    assert SECRET not in world.logs
    assert "Run out-of-band function 'begin'" in world.logs


# --- the ends -----------------------------------------------------------------------------------------------------------


def test_when_the_parent_is_killed_the_nodes_stop(world):
    _, _, killed = world.stopped["orphan"]
    asked = world.asked("orphan")

    assert max(ask.arrived for ask in asked) < killed + 4
    assert len(asked) < 600  # of 2,400


def test_a_signal_stops_the_nodes_in_good_order(world):
    _, code, _ = world.stopped["stopped"]
    *_, last = world.stopped_lines
    attempts = [line for line in world.stopped_lines if isinstance(line, Attempt)]

    assert code == 130
    assert last.ended == "stopped"
    assert last.lost_workers == ()
    assert len(attempts) + last.unsent == 2400
    assert len(attempts) == len(world.asked("stopped")) - 1


def test_a_lost_node_costs_its_share_and_is_said(world):
    run = world.runs["lost"]
    (lost,) = run.end.lost_workers
    gone = run.head.nodes[lost].name
    others = [i for i in range(run.head.planned) if i % 2 != lost]
    (reason,) = (r for r in run.summary["validity"]["reasons"] if r["code"] == "lost_worker")

    assert run.code == 4
    assert {a.index for a in run.attempts} >= set(others)
    assert run.end.missing == run.head.planned - len(run.attempts) > 0
    assert run.metrics["requests"]["total"] == run.head.planned
    assert gone in reason["text"]
    assert f"{run.end.missing:,} of their requests" in reason["text"]
    assert f"on node {gone} was lost" in run.said


def test_what_was_due_when_a_node_was_lost_is_recorded_as_such(world):
    run = world.runs["lost"]
    (lost,) = run.end.lost_workers
    owed = [line for line in world.lost if isinstance(line, Lost)]
    told = {line.index for line in owed} | {attempt.index for attempt in run.attempts}

    assert {line.worker for line in owed} <= {lost}
    assert len(told) == len(owed) + len(run.attempts)
    assert len(owed) + run.end.unsent == run.end.missing
    assert run.metrics["requests"]["cut"] == len(owed)


def test_no_request_of_a_lost_node_is_sent_again(world):
    asked = world.asked("lost")[1:]

    assert len({ask.body for ask in asked}) == len(asked)
    assert len(asked) <= world.runs["lost"].head.planned


# --- what travels, and what is refused before any load ------------------------------------------------------------------


def test_the_messages_of_a_workload_go_to_the_nodes(world):
    bodies = [json.loads(ask.body) for ask in world.asked("stopped")[1:]]

    assert {body["messages"][0]["content"] for body in bodies} == {OWN}


def test_a_key_that_a_node_does_not_have_is_named_with_the_node(world):
    code, said = world.refused

    assert code == 2
    assert said.startswith(f"error: node {min(world.addresses)}: ")
    assert ELSEWHERE in said
    assert len(said.splitlines()) == 1
    assert world.asked("refused") == []


def test_no_scheduler_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine_cluster, "_CONNECT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    code, said = command(tmp_path, monkeypatch, capsys, "--on", nobody)

    assert code == 2
    assert said.startswith(f"error: --on {nobody}: no connection to a Dask scheduler there (")
    assert len(said.splitlines()) == 1


def test_a_listener_that_says_nothing_is_no_scheduler(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine_cluster, "_CONNECT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, said = command(tmp_path, monkeypatch, capsys, "--on", f"tcp://127.0.0.1:{silent.getsockname()[1]}")

    assert code == 2
    assert "no connection to a Dask scheduler there (" in said
    assert len(said.splitlines()) == 1


def test_certificates_of_another_authority_are_named_as_what_to_look_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine_cluster, "_CONNECT", 2.0)
    ours, own = trustme.CA(), tmp_path / "own.pem"
    own.write_bytes(ours.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
    ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    files = {"ca-file": tmp_path / "ca.pem", "client.cert": own, "client.key": own}
    with (
        healthy_server(tls=Authority().serving()) as server,
        dask.config.set({f"distributed.comm.tls.{name}": str(file) for name, file in files.items()}),
    ):
        code, said = command(tmp_path, monkeypatch, capsys, "--on", f"tls://127.0.0.1:{server.port}")

    assert code == 2
    assert "; see that the certificates of Dask's TLS settings here and there are of one authority" in said
    assert len(said.splitlines()) == 1


def test_the_first_bytes_of_a_server_of_something_else_are_told_as_what_they_are():
    read_as_a_length = int.from_bytes(b"HTTP/1.1", "little")
    with pytest.raises(MemoryError) as raised:
        np.empty(read_as_a_length, dtype="u1")

    assert engine_cluster._first_line(raised.value) == "what answers is something else"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Dask's configuration lacks the authorities or the client's certificate"),
        (
            {"ca-file": "/nowhere/ca.pem", "client.cert": "/nowhere/cert.pem"},
            "Dask's certificates can't be used ([Errno 2] No such file or directory)",
        ),
    ],
)
def test_certificates_that_are_not_there_are_one_sentence(tmp_path, monkeypatch, capsys, settings, said):
    with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in settings.items()}):
        found = command(tmp_path, monkeypatch, capsys, "--on", "tls://127.0.0.1:1")

    assert found == (
        2,
        f"error: --on tls://127.0.0.1:1: {said}; correct Dask's TLS settings (docs/scaling.md)\n",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--on", "scheduler:8786"),
            "--on scheduler:8786: not the address of a Dask scheduler; write tcp://HOST:8786, or tls://HOST:8786",
        ),
        (
            ("--on", "tcp://h:1", "--workers", "2"),
            "--workers: each Dask worker is one process that makes load; leave it out, and start more of them",
        ),
        (
            ("--on", "tcp://h:1", "--simulate", "gpt-4.1:50"),
            "--on: a simulated deployment of the run listens on this machine only; start one that all nodes reach with `ptubench simulate --host`, and name it with --endpoint",
        ),
    ],
)
def test_what_a_cluster_can_not_do_is_said_at_once(tmp_path, monkeypatch, capsys, options, said):
    assert command(tmp_path, monkeypatch, capsys, *options) == (2, f"error: {said}\n")


def command(folder, monkeypatch, capsys, *options):
    """`ptubench run` in this process: exit code and standard error."""
    workload = folder / "w.yaml"
    workload.write_text(json.dumps(running.WORKLOAD))
    target = ("--endpoint", "http://127.0.0.1:1/v1", "--deployment", "m", "--auth", "none")
    monkeypatch.setattr(sys, "argv", ["ptubench", "run", str(workload), "--results", str(folder), *target, *options])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


def test_other_versions_are_refused_by_name():
    with pytest.raises(UsageError) as other:
        engine_cluster.check_versions({"tcp://b:1": "0.9", "tcp://a:1": "1.0"}, "1.0")
    with pytest.raises(UsageError) as none:
        engine_cluster.check_versions({"tcp://b:1": PackageNotFoundError("ptubench")}, "1.0")
    with pytest.raises(UsageError, match=r"^node tcp://b:1: does not answer; see its log"):
        engine_cluster.check_versions({"tcp://a:1": "1.0", "tcp://b:1": TimeoutError()}, "1.0")

    assert str(other.value) == "node tcp://b:1: has ptubench 0.9, and here is 1.0; install the same version everywhere"
    assert (
        str(none.value) == "node tcp://b:1: ptubench is not installed there; install ptubench[dask] 1.0 on every node"
    )


class Half:
    """A connection to a cluster of which one node hangs and one is gone."""

    async def run(self, function, *told, **how):
        (name,) = how["workers"]
        if name == "hangs":
            await asyncio.get_running_loop().create_future()
        return {name: OSError("gone") if name == "gone" else function(*told)}


def test_a_node_that_hangs_or_is_gone_keeps_nobody_waiting_and_is_told_from_the_others():
    asked = engine_cluster._asked(Half(), ["gone", "hangs", "well"], 0.05, str.upper, "x")
    gone, hangs, well = asyncio.run(asked).values()

    assert type(gone) is OSError
    assert type(hangs) is TimeoutError
    assert well == "X"


@pytest.mark.parametrize("fault", [TimeoutError(), OSError("the comm was closed")])
def test_a_scheduler_that_is_lost_before_the_load_is_one_sentence(fault):
    async def ask():
        async with engine_cluster._answering(PATIENCE):
            raise fault

    with pytest.raises(MeasurementLost, match=r"^the Dask scheduler was lost before the load began; "):
        asyncio.run(ask())


def test_a_loopback_address_is_refused_where_a_node_is_another_machine():
    aim = Aim(target=TARGET, headers={}, credential=None)
    near, far = Shard("tcp://a:1", print), Shard("tcp://b:1", print)
    near.facts, far.facts = node.facts(), msgspec.structs.replace(node.facts(), place="another")

    engine_cluster._check([near], [aim])
    with pytest.raises(UsageError, match="is another machine on node tcp://b:1 than here"):
        engine_cluster._check([near, far], [aim])


def test_a_share_is_begun_once_whoever_asks_again():
    task = node.Task(token="again", parent="p", target=TARGET, divert_to=None, clouds_said=(False, False), files={})
    node._begun.add("again")
    try:
        answer = asyncio.run(node.begin(msgspec.msgpack.encode(task), None))
    finally:
        node._begun.discard("again")

    assert "twice" in msgspec.msgpack.decode(answer, type=node.Facts).problem


def test_a_node_that_does_not_reach_the_target_is_refused_by_name():
    with pytest.raises(TargetRefused) as refused:
        engine_run._check_ways(("tcp://a:1", "tcp://b:1"), [3, 0], "https://t/v1")

    assert str(refused.value) == (
        "node tcp://b:1: can't open a connection to https://t/v1; see network, proxy and DNS there, or leave the node out"
    )


def test_only_a_node_itself_adds_its_secrets_and_its_files_to_what_its_process_is_told(tmp_path):
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("certificates")
    aim = Aim(target=TARGET, headers={"authorization": SECRET}, credential=None)
    told = engine_cluster._task("token", "parent", WORKLOAD, [aim], str(ca_file))
    workload, travelling = engine_cluster.travelling(WORKLOAD, str(ca_file))
    to = Destination(url="u", api="chat", body_model="m", limit_field="max_tokens", headers={}, connections=1)
    config = Config(
        workload=workload, salt="s", worker=0, workers=1, target=to, divert_to=None, ca_file=travelling, max_in_flight=1
    )
    task = msgspec.msgpack.decode(told, type=node.Task)
    serving = node._Serving(task, None, None, [Keys({"authorization": "its own"}, None, print)], [])
    configured = msgspec.json.decode(serving._configure(msgspec.json.encode(config)), type=Config)
    travelled = Path(configured.ca_file)
    content = travelled.read_text()
    serving._clear()

    assert SECRET.encode() not in told
    assert configured.target.headers == {"authorization": "its own"}
    assert (travelled.name, content) == (travelling, "certificates")
    assert not travelled.parent.exists()


def test_a_node_hands_each_sign_of_life_on_to_its_process():
    said = iter([("alive", None), ("line", CONFIG), ("alive", None), ("line", b"go"), ("end", None)])
    heard = []

    class Inbox:
        async def get(self):
            return next(said)

    class Child:
        def write(self, line):
            heard.append(line)

    task = node.Task(token="t", parent="p", target=TARGET, divert_to=None, clouds_said=(False, False), files={})
    serving = node._Serving(task, None, Child(), [Keys({}, None, print)], [])
    asyncio.run(serving._hear(Inbox(), None))
    config, *rest = heard

    assert msgspec.json.decode(config, type=Config).silence == node.SILENCE
    assert rest == [b"{}\n", b"go"]


def test_a_node_whose_parent_the_scheduler_has_lost_ends_without_waiting_for_silence(monkeypatch):
    monkeypatch.setattr(node, "SILENCE", 1000)

    class Mute:
        """A queue, or a process, that says nothing."""

        async def get(self):
            await asyncio.get_running_loop().create_future()

        async def put(self, what):
            pass

        read = get

    async def lose():
        orphaned = asyncio.Event()
        heard = node.told_of("remove-client", orphaned.set)
        task = node.Task(token="t", parent="p", target=TARGET, divert_to=None, clouds_said=(False, False), files={})
        serving = node._Serving(task, None, Mute(), [Keys({}, None, print)], [])
        handing = asyncio.create_task(serving._hand_over(None, Mute(), Mute(), orphaned))
        heard((0.0, {"action": "add-client", "client": "p"}))
        await asyncio.sleep(0)
        watched = not handing.done() and not orphaned.is_set()
        heard((1.0, {"action": "remove-client", "client": "p"}))
        await asyncio.wait_for(handing, PATIENCE)
        return watched

    assert asyncio.run(lose())


def test_a_node_that_counts_as_lost_is_told_to_end():
    """It may be there all the same: its clock was set, or only what it says does not come through."""
    said = []

    class Silent:
        async def get(self):
            await asyncio.get_running_loop().create_future()

    class Outbox:
        async def put(self, what):
            said.append(what)

    async def lose():
        shard = Shard("tcp://n:1", print)
        shard._to, shard._back, shard._patience = Outbox(), Silent(), 0.01
        _, rest = await asyncio.wait_for(asyncio.gather(shard.send(), shard.read()), PATIENCE)
        return rest

    assert asyncio.run(lose()) == b""
    assert said[-1] == ("end", None)


def test_a_process_that_hears_nothing_ends_although_its_input_is_open():
    """Its Dask worker may hang, and would then feed it no end."""
    config = msgspec.structs.replace(msgspec.json.decode(CONFIG, type=Config), silence=0.1)

    async def left_alone():
        child = await spawn("ptubench.engine.worker", msgspec.json.encode(config))
        try:
            return await asyncio.wait_for(child.process.wait(), PATIENCE)
        finally:
            child.kill()
            child.stdin.close()

    assert asyncio.run(left_alone()) == 3


def test_a_worker_s_only_certificate_is_also_a_client_s():
    named = distributed.Security(tls_ca_file="ca", tls_worker_cert="cert", tls_worker_key="key")
    both = distributed.Security(tls_client_cert="mine", tls_client_key="my key", tls_worker_cert="cert")

    assert (node._security(named).tls_client_cert, node._security(named).tls_client_key) == ("cert", "key")
    assert (node._security(both).tls_client_cert, node._security(both).tls_client_key) == ("mine", "my key")

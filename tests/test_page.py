import base64
import hashlib
import html.parser
import itertools
import json
import re
import shlex
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

import runs
from ptubench.analysis.gather import load
from ptubench.analysis.summary import summary_of
from ptubench.errors import UsageError
from ptubench.page import alias, document
from ptubench.page.limits import limits
from ptubench.page.model import Page, Section
from ptubench.page.repeat import command, repeat
from ptubench.page.run import section, tiles
from ptubench.page.runs import of_files, page
from ptubench.page.tables import tables
from ptubench.ptu import prices
from ptubench.record import Aborted, Monitor, Resource, Series
from ptubench.report.text import sheet
from ptubench.sim import options as sim
from ptubench.target.model import TargetOptions, describe
from ptubench.target.resolve import resolve_target
from ptubench.workload import read, shipped, write
from ptubench.workload.hashing import workload_hash
from ptubench.workload.model import ClosedLoop, Lognormal, OpenLoop, Stage, Trace, Uniform
from running import called

ACCOUNT = (
    "/subscriptions/8d2b1e0c-sub/resourceGroups/contoso-group/providers/Microsoft.CognitiveServices/accounts/contoso"
)
AZURE = {
    "kind": "azure",
    "style": "v1",
    "endpoint": "https://contoso.openai.azure.com",
    "url": "https://contoso.openai.azure.com/openai/v1/chat/completions",
    "api": "chat",
    "deployment": "contoso-prod",
    "body_model": "contoso-prod",
    "model": "gpt-4.1",
    "version": "2025-04-14",
    "ptu": 50,
    "type": "global",
    "ptu_source": "--ptu",
    "cloud": "public",
    "auth": "key",
    "key_env": "CONTOSO_KEY",
    "header_env": [["x-gateway", "GATEWAY_SECRET"]],
    "sources": {"endpoint": "--endpoint"},
}
NETWORK = {"address": "10.1.2.3", "private": True, "proxy": "proxy.contoso.com:3128", "place": "vm westeurope"}


class Reader(html.parser.HTMLParser):
    """The elements of a page, its visible text, and what stands in its scripts."""

    def __init__(self, text) -> None:
        super().__init__()
        self.elements, self.text, self.scripts, self.inside = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else None
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside is None:
            self.text.append(data)

    @property
    def said(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def run_file(folder, *lines, name="run.jsonl", **of_head):
    head = {"target": AZURE, "network": NETWORK} | of_head
    return load(runs.write(folder / name, runs.head(**head), *(lines or runs.steady(400)), runs.end()))


def rendered(run):
    return Reader(document.render(page([run], prices.shipped())))


def facts_of(run):
    return {fact.label: fact.text for fact in section(run, summary_of(run), name="run", title="run").facts}


# --- what the first page tells ----------------------------------------------------------------------------------------


def test_the_first_page_tells_all_that_one_must_know_to_read_the_figures(tmp_path):
    told = facts_of(run_file(tmp_path, *runs.steady(400), *(runs.throttled(400 + i, 20 + i / 10) for i in range(20))))

    assert told["Model"] == "gpt-4.1 2025-04-14, served as gpt-4.1-2025-04-14"
    assert told["Size and type"].startswith("50 PTU, global")
    assert told["Known from"] == "what was typed (--ptu); Azure was not asked"
    assert "client at vm westeurope" in told["Region and client"]
    assert told["Date"] == "Sunday, 2026-11-22, 12:00:00 to 12:01:10 UTC"
    assert told["Window"] == "1m: what was due from 10s to 1m10s of 1m10s, followed to its end"
    assert told["Warm-up"] == "the first 10s left out: a fixed time, as the workload says"
    assert told["After a 429"].startswith("none")
    assert told["API"] == "chat completions, streamed, v1 URL, through ptubench's timed HTTP/1.1 client"
    assert told["Spillover"] == "none seen: no answer said that it was spilled"
    assert told["Foreign traffic"] == "not known: Azure Monitor was not asked (--monitor)"
    assert told["Calls"].startswith("420 offered (420/min), 400/min admitted")
    assert "20 refused (4.8 %)" in told["Calls"]
    assert told["Percentiles"].startswith("TTFT n = 400 of 400, E2E n = 400 of 400")
    assert told["Prompts"].startswith("Synthetic text of 100 tokens, unlike any before; 20 completion tokens")
    assert re.search(r"models and capacities of \S+ \(\d+ days? before the run\), prices of", told["Tables"])


def test_azures_word_stands_where_azure_was_asked(tmp_path):
    start = int(runs.STARTED.timestamp())
    counted = Series(metric="AzureOpenAIRequests", dimensions={"statuscode": "200"}, total={start: 900.0})
    said = (
        Resource(
            when="before", asked_unix=start, id=ACCOUNT, deployment="contoso-prod", sku="GlobalProvisionedManaged"
        ),
        Monitor(
            of="run",
            asked_unix=start,
            id=ACCOUNT,
            deployment="contoso-prod",
            span=(start, start + 120),
            series=(counted,),
        ),
    )
    run = load(
        runs.write(
            tmp_path / "run.jsonl",
            runs.head(target=AZURE, window=(0.0, 60.0), duration=60, warmup=0),
            *runs.steady(300, start=0.5, step=0.19),
            runs.end(load_end=60.0),
            *said,
        )
    )
    told = facts_of(run)

    assert told["Known from"] == "Azure Resource Manager, asked before and after the load"
    assert told["Spillover"] == "off, as Azure says"
    assert told["Foreign traffic"] == "seen: Azure counted 900 requests, we sent 300"


def test_headline_figures_stand_with_what_is_behind_them(tmp_path):
    run = run_file(tmp_path, *runs.steady(400), *(runs.throttled(400 + i, 20 + i / 10) for i in range(20)))
    tiles = {tile.label: tile for tile in section(run, summary_of(run), name="run", title="run").tiles}

    assert list(tiles) == ["Admitted calls/min", "Normalized tokens/min", "TTFT p50", "TTFT p95", "Refused"]
    assert tiles["Admitted calls/min"].value == "400"
    assert "of the published capacity" in tiles["Normalized tokens/min"].detail
    assert tiles["TTFT p50"].detail.startswith("of 400 admitted calls; 95 % interval ")
    assert tiles["TTFT p95"].detail.endswith("; since due, of all 420: 100 ms")
    assert (tiles["Refused"].value, tiles["Refused"].tone) == ("4.8 %", "warn")
    assert tiles["Refused"].detail.startswith("20 calls of 420; 95 % interval ")


def test_what_failed_is_a_headline_figure_wherever_something_did(tmp_path):
    lines = (*runs.steady(200), *(runs.failed(200 + i, 40 + i, "http_503") for i in range(20)))
    run = run_file(tmp_path, *lines, checks=("failed.ratio <= 0.1%",))
    tile = next(tile for tile in section(run, summary_of(run), name="run", title="run").tiles if tile.label == "Failed")

    assert (tile.value, tile.detail, tile.tone) == ("9.1 %", "20 http_503", "bad")


def test_a_percentile_that_leaves_out_the_refused_stands_beside_that_of_all_calls(tmp_path):
    lines = (*runs.steady(200), *(runs.throttled(200 + i, 35 + i / 10) for i in range(40)))
    run = run_file(tmp_path, *lines)
    tiles = {tile.label: tile for tile in section(run, summary_of(run), name="run", title="run").tiles}

    assert tiles["TTFT p95"].value == "100 ms"
    assert tiles["TTFT p95"].detail.endswith("since due, of all 240: unanswered")


def test_a_page_begins_with_what_the_run_says_in_plain_sentences(tmp_path):
    lines = (*runs.steady(400), *(runs.throttled(400 + i, 20 + i / 10) for i in range(100)))
    run = run_file(tmp_path, *lines, runs.failed(600, 60.0))
    told = section(run, summary_of(run), name="run", title="run")
    fast = "half began to answer within 100 ms and 95 of 100 within 100 ms (TTFT)"
    whole = "half were answered in full within 1.00 s and 95 of 100 within 1.00 s (E2E)"

    assert told.short == [
        "Of 501 calls a minute, the deployment took 401: 72,000 normalized tokens a minute, 48.0 % of the published capacity of 50 PTU.",
        f"Of the calls that it took, {fast}; {whole}.",
        "It refused 20.0 % (429), one call in 5: whoever does not try again gets an error.",
        "0.20 % failed otherwise (broken_stream).",
        "50 PTU Global cost 50 USD an hour, or 13,000 a month where reserved for a month (list prices of 2026-11-22, used or not).",
    ]
    assert [term.label for term in told.terms] == ["TTFT", "E2E", "p50, p95", "PTU", "Normalized tokens", "Refused"]


def test_what_must_not_be_used_is_not_told_in_sentences(tmp_path):
    run = run_file(tmp_path, *runs.steady(400, taken=50.0))
    (said,) = section(run, summary_of(run), name="run", title="run").short

    assert said.startswith("The client did not measure what it was asked to")


@pytest.mark.parametrize(
    "lines", [[runs.dropped(0, 20.0)], [runs.cut(0, 20.0)], [runs.failed(0, 20.0)], [runs.ok(0, 1.0)]]
)
def test_of_a_run_that_says_little_the_sentences_are_few_and_whole(tmp_path, lines):
    run = run_file(tmp_path, *lines)

    for sentence in section(run, summary_of(run), name="run", title="run").short:
        assert sentence.endswith(".")
        assert "None" not in sentence


def test_a_capacity_that_was_typed_is_not_called_published(tmp_path):
    run = run_file(tmp_path, *runs.steady(400), target=AZURE | {"tpm_per_ptu": 3000.0})
    told = section(run, summary_of(run), name="run", title="run")

    assert "of the typed capacity of 50 PTU" in told.short[0]
    assert "published capacity" not in str(told)


def test_a_run_of_which_hardly_any_call_was_answered_says_so_in_a_whole_sentence(tmp_path):
    run = run_file(tmp_path, *runs.steady(40), *(runs.failed(40 + i, 20 + i / 10, "http_500") for i in range(60)))

    assert (
        "Of the calls that it took, fewer than half ever began to answer (TTFT); fewer than half ever were answered in full (E2E)."
        in section(run, summary_of(run), name="run", title="run").short
    )


def test_a_verdict_stands_with_its_reasons_and_failed_checks_beside_it(tmp_path):
    run = run_file(tmp_path, *runs.steady(400, taken=50.0), checks=("ttft.p95 <= 1ms",))
    banner = section(run, summary_of(run), name="run", title="run").banner

    assert banner.word == "INVALID"
    assert banner.text == "Do not use the figures of this run. 1 of 1 checks failed."
    assert banner.reasons
    assert banner.tone == "bad"


@pytest.mark.parametrize(
    ("last", "first"),
    [
        (runs.end(ended="stopped"), "Stopped by a signal: partial. "),
        (
            runs.end(
                ended="aborted",
                aborted=Aborted(rule="failed.ratio <= 1%", at=20.0, measured=0.5, ci95=(0.4, 0.6), of=100),
            ),
            "Aborted: `failed.ratio <= 1%` is clearly broken at 20s: 50.0 % of 100 requests, ",
        ),
    ],
)
def test_of_a_run_that_ended_early_the_verdict_says_so_first(tmp_path, last, first):
    path = runs.write(tmp_path / "early.jsonl", runs.head(), *runs.steady(400), last)
    run = load(path)
    banner = section(run, summary_of(run), name="run", title="run").banner

    assert banner.text.startswith(first)
    assert banner.tone == "warn"


@pytest.mark.parametrize("kind", ["real", "simulated"])
def test_real_or_simulated_stands_on_the_page_and_on_every_chart(tmp_path, kind):
    simulated = {"kind": "simulated", "model": "gpt-4.1", "ptu": 50, "simulate": {"model": "gpt-4.1", "ptu": 50}}
    text = document.render(page([run_file(tmp_path, target=AZURE if kind == "real" else simulated)], prices.shipped()))
    drawn = json.loads(Reader(text).scripts[0])

    assert drawn
    assert {chart["badge"] for chart in drawn} == {kind.upper()}
    assert text.count(f'<span class="badge {kind}">{kind.upper()}</span>') == 1 + len(drawn)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": {"kind": "simulated", "model": "gpt-4.1", "ptu": 50}}, "A real deployment"),
        ({"clock": "virtual"}, "A client and a network"),
        ({}, "The long run"),
        ({}, "The most it takes"),
        ({"target": {"kind": "azure"}}, "How much of the capacity was used"),
        ({}, "Whether others used the deployment meanwhile"),
        ({}, "Whether the deployment is what was typed"),
        ({}, "Other regions and clients"),
        ({}, "Other hours and days"),
        ({}, "Your own prompts"),
        ({}, "A mix of sizes"),
        ({}, "What prompt caching saves"),
        ({"load": ClosedLoop(concurrency=2)}, "An overload"),
    ],
)
def test_what_a_run_does_not_show_is_said(tmp_path, changes, sentence):
    run = run_file(tmp_path, **changes)

    assert [said for said in limits(run, summary_of(run)) if said.startswith(sentence)]


def test_what_a_run_does_show_is_not_denied(tmp_path):
    target = {"kind": "openai", "model": "gpt-4.1", "type": "standard"}
    refused = [runs.throttled(400 + i, 20 + i / 10) for i in range(20)]
    run = run_file(tmp_path, *runs.steady(400), *refused, target=target)
    said = " ".join(limits(run, summary_of(run)))

    assert "simulated" not in said
    assert "Azure" not in said
    assert "nothing was refused" not in said
    assert "Rare slow answers" not in said
    assert "application that retries" in said


# --- what repeats it --------------------------------------------------------------------------------------------------

TARGETS = {
    "v1": {
        "endpoint": "https://contoso.openai.azure.com",
        "deployment": "D",
        "model": "gpt-4.1",
        "ptu": 50,
        "type": "global",
    },
    "classic": {"endpoint": "https://contoso.openai.azure.com", "deployment": "D", "api_version": "2024-10-21"},
    "portal": {
        "endpoint": "https://contoso.openai.azure.com/openai/deployments/D/chat/completions?api-version=2024-10-21"
    },
    "responses": {"endpoint": "https://r.services.ai.azure.com/", "deployment": "D", "api": "responses"},
    "gateway": {
        "endpoint": "https://gw.example.com/team",
        "deployment": "D",
        "api_style": "classic",
        "api_version": "v",
    },
    "header": {
        "endpoint": "https://gw.example.com/openai/v1",
        "deployment": "a b",
        "header": ("X-Key: env:MINE",),
        "auth": "none",
    },
    "server": {"endpoint": "http://127.0.0.1:8000/v1", "deployment": "llama", "tpm_per_ptu": 2500.5, "ratio": 4.5},
    "entra": {
        "endpoint": "https://contoso.openai.azure.us",
        "deployment": "D",
        "auth": "entra",
        "scope": "https://x/.default",
    },
    "own key": {"endpoint": "https://contoso.openai.azure.com", "deployment": "D", "key_env": "OTHER_KEY"},
}


def options_of(said):
    """The options of a command, as a shell would hand them over."""
    words = shlex.split(said.replace("\\\n", " "))
    assert words[:2] == ["ptubench", "run"]
    return dict(zip(words[3::2], words[4::2], strict=True))


@pytest.mark.parametrize("name", TARGETS)
def test_the_command_names_the_same_target(tmp_path, name):
    env = {"AZURE_OPENAI_API_KEY": "k", "OTHER_KEY": "k", "OPENAI_API_KEY": "k"}
    target = describe(resolve_target(TargetOptions(**TARGETS[name]), {}, env, workload_name="w", entra=True))
    given_ = options_of(command(run_file(tmp_path, target=msgspec.json.decode(msgspec.json.encode(target)))))
    taken = {key.removeprefix("--").replace("-", "_"): value for key, value in given_.items()}
    for beside in ("seed", "salt", "place"):
        taken.pop(beside)
    numbers = {"ptu": int, "ratio": float, "tpm_per_ptu": float, "header": lambda header: (header,)}
    again = TargetOptions(**{key: numbers.get(key, str)(value) for key, value in taken.items()})
    found = describe(resolve_target(again, {}, env, workload_name="w", entra=True))

    assert {**found, "sources": None} == {**target, "sources": None}


@pytest.mark.parametrize(
    "said",
    ["gpt-4.1:50", "gpt-4.1:50,depth=2.5,jitter=0,cache=off,spill=gpt-4.1:300", "x:5,ratio=4,tpm_per_ptu=1000,tps=50"],
)
def test_the_command_simulates_the_same_deployment(tmp_path, said):
    options = sim.parse(said)
    target = {"kind": "simulated", "model": options.model, "ptu": options.ptu, "simulate": msgspec.to_builtins(options)}

    assert sim.parse(options_of(command(run_file(tmp_path, target=target)))["--simulate"]) == options


@pytest.mark.parametrize("more", [{}, {"api_style": "classic"}, {"deployment": "mine"}, {"api": "responses"}])
def test_the_command_reaches_a_simulated_deployment_in_the_same_way(tmp_path, more):
    options = TargetOptions(simulate="gpt-4.1:50", **more)
    target = describe(resolve_target(options, {}, {}, workload_name="w")) | {
        "simulate": msgspec.to_builtins(sim.parse("gpt-4.1:50"))
    }
    given_ = options_of(command(run_file(tmp_path, target=target)))
    found = TargetOptions(**{name: given_.get(f"--{name.replace('_', '-')}") for name in ("simulate", *more)})

    assert found == options


def test_the_command_fixes_what_the_run_drew(tmp_path):
    given_ = options_of(command(run_file(tmp_path, seed=7, salt="it's", label="a b", workers=2)))

    assert (given_["--seed"], given_["--salt"], given_["--label"], given_["--workers"]) == ("7", "it's", "a b", "2")
    assert "k-secret" not in str(given_)


def test_the_command_and_the_workload_of_a_page_plan_the_same_run(monkeypatch, capfd, tmp_path):
    run = load(Path(__file__).parents[1] / "results" / "examples" / "chat-120ptu.jsonl.gz")
    said, workload = repeat(run)
    (tmp_path / "chat.yaml").write_text(workload.text)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(said.text.replace("\\\n", " "))
    code, out, _ = called(capfd, *words[1:], "--dry-run", "--json")
    planned = json.loads(out)

    assert code == 0
    assert planned["offered"]["requests"] == run.head.planned
    assert workload_hash(read.read(tmp_path / "chat.yaml")) == run.head.workload_hash
    assert planned["target"]["ptu"] == 120


def test_a_simulated_run_is_repeated_with_the_type_it_was_given_and_by_the_same_command_under_other_names(tmp_path):
    simulated = {
        "kind": "simulated",
        "style": "v1",
        "deployment": "gpt-4.1",
        "model": "gpt-4.1",
        "ptu": 50,
        "type": "global",
    }
    run = run_file(tmp_path, target=simulated | {"simulate": {"model": "gpt-4.1", "ptu": 50}}, network={})
    (hidden,) = alias.aliased([run])

    assert "--type global" in command(run)
    assert "--deployment" not in command(run)
    assert command(hidden) == command(run)


def test_what_had_been_simulated_by_somebody_is_said(tmp_path):
    end = runs.end(simulated={"model": "gpt-4.1", "ptu": 200, "assumed": {"depth": 30.0, "latency": 0.25}})
    run = load(runs.write(tmp_path / "run.jsonl", runs.head(target=AZURE), *runs.steady(400), end))

    assert "`ptubench simulate --model gpt-4.1 --ptu 200 --depth 30`" in repeat(run)[0].lead
    assert "(--faults)" in repeat(run)[0].lead
    assert facts_of(run)["Foreign traffic"] == "not known: the simulated deployment serves anybody"
    assert limits(run, summary_of(run))[0].startswith("A real deployment")


def test_where_nothing_streams_the_whole_answer_is_read_first(tmp_path):
    plain = {"streamed": False, "first_content": None, "first_output": None, "content_events": 0}
    run = run_file(tmp_path, *runs.steady(400, **plain), stream=False)
    tiles = [tile.label for tile in section(run, summary_of(run), name="run", title="run").tiles]

    assert tiles[2:4] == ["E2E p50", "E2E p95"]


@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_workload_written_again_is_the_same(name):
    workload = read.read(name)
    again = read.decode(write.as_yaml(workload), "again", Path(__file__).parents[1] / "workloads")

    assert again == msgspec.structs.replace(workload, target={})
    assert workload_hash(again) == workload_hash(workload)


TIMES = st.one_of(st.integers(1, 100_000).map(float), st.floats(0.001, 100_000))
RATES = st.one_of(st.integers(1, 10_000).map(lambda n: n / 60), st.floats(0.0001, 5000))
STAGES = st.builds(Stage, value=RATES, to=st.none() | RATES, seconds=TIMES)
LOADS = st.one_of(
    st.builds(
        lambda stages, gamma: (
            OpenLoop(stages=tuple(stages), arrivals="gamma", burstiness=gamma)
            if gamma
            else OpenLoop(stages=tuple(stages))
        ),
        st.lists(STAGES, min_size=1, max_size=3),
        st.none() | st.floats(0.01, 1000),
    ),
    st.builds(ClosedLoop, concurrency=st.integers(1, 1000), think_time=st.just(0.0) | TIMES),
)
SIZES = st.one_of(st.just(Lognormal(mean=1000.5, p95=2500, max=3000)), st.just(Uniform(min=100, max=200)), st.none())


@pytest.mark.parametrize("text", ["0E0", "1e9", "12", "1_0", "nan", "0x1f", "true", "12:30"])
def test_a_description_that_looks_like_something_else_is_written_as_text(text):
    workload = msgspec.structs.replace(runs.WORKLOAD, description=text)

    assert read.decode(write.as_yaml(workload), "again", Path()).description == text


@given(LOADS, SIZES, st.text(min_size=1, max_size=40), TIMES)
def test_any_workload_written_again_is_the_same(load, sizes, description, drain):
    duration = sum(stage.seconds for stage in load.stages) if isinstance(load, OpenLoop) else 1000.0
    kind = runs.WORKLOAD.classes[0]
    workload = msgspec.structs.replace(
        runs.WORKLOAD,
        load=load,
        duration=duration,
        warmup=duration / 10,
        classes=(kind if sizes is None else msgspec.structs.replace(kind, prompt=sizes),),
        description=" ".join(description.split()) or "none",
        drain=drain,
    )
    again = read.decode(write.as_yaml(workload), "again", Path())

    assert again == workload


# --- what it is made of -----------------------------------------------------------------------------------------------

NASTY = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\u202e\u2028\x1b[31m</title>${1+1}{{7*7}}' + "w" * 500


def test_what_servers_and_files_say_is_text_and_nothing_else(tmp_path):
    answered = runs.steady(100, model=NASTY, finish=NASTY, headers={"x-ms-region": NASTY})
    broken = [runs.failed(100 + i, 30.0 + i, NASTY, error=NASTY) for i in range(3)]
    run = run_file(
        tmp_path,
        *answered,
        *broken,
        target=AZURE
        | {"deployment": NASTY, "model": NASTY, "endpoint": NASTY, "url": NASTY, "spillover": NASTY, "type": NASTY},
        network={"place": NASTY, "address": NASTY},
        label=NASTY,
        salt=NASTY,
        warnings=(NASTY,),
        description=NASTY,
        parameters={NASTY: NASTY},
        checks=(NASTY,),
    )
    text = document.render(page([run], prices.shipped()))
    plain = document.render(page([run_file(tmp_path, *runs.steady(100), name="plain.jsonl")], prices.shipped()))
    found, expected = Reader(text), Reader(plain)

    assert len(text) < 1.1 * len(plain)
    assert {tag for tag, _ in found.elements} - {tag for tag, _ in expected.elements} <= {
        "code",
        "ul",
        "li",
        "p",
        "th",
        "td",
        "tr",
    }
    assert len(found.scripts) == 3
    assert not [name for _, attrs in found.elements for name in attrs if name.startswith("on")]
    assert not {"\u202e", "\u2028", "\x1b"} & set(text.replace(found.scripts[1], ""))
    assert "<script>alert(1)</script>" in found.said
    assert "49" not in re.findall(r"\{?\{?(?:7\*7|49)\}?\}?", found.said)
    assert json.loads(found.scripts[0])


def test_the_page_forbids_the_browser_every_request_and_every_other_script(tmp_path):
    found = rendered(run_file(tmp_path))
    policy = next(
        attrs["content"] for _, attrs in found.elements if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    digests = {
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in found.scripts[1:]
    }

    assert policy.startswith("default-src 'none'; ")
    assert set(re.search("script-src ([^;]*);", policy)[1].split()) == digests
    assert not [
        attrs
        for tag, attrs in found.elements
        if tag in ("link", "img", "iframe", "base", "form") and attrs.get("rel") != "icon"
    ]
    assert not [attrs for _, attrs in found.elements if "src" in attrs]


def test_a_script_can_not_end_its_element_and_has_one_kind_of_line_end():
    assert document.as_element('a = "</script>";\r\nb;\rc;') == 'a = "<\\/script>";\nb;\nc;'


def test_headings_go_down_by_one_and_tables_have_captions_and_scopes(tmp_path):
    found = rendered(run_file(tmp_path))
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    tags = [tag for tag, _ in found.elements]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert tags.count("table") == tags.count("caption")
    assert all(attrs.get("scope") for tag, attrs in found.elements if tag == "th")
    assert {"main", "header", "footer"} <= set(tags)


def test_ids_are_unique_and_every_reference_finds_its_own(tmp_path):
    one, other = run_file(tmp_path), run_file(tmp_path, name="other.jsonl", run_id="other")
    found = Reader(document.render(page([one, other], prices.shipped())))
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    named = [attrs["aria-labelledby"] for _, attrs in found.elements if "aria-labelledby" in attrs]
    linked = [attrs["href"][1:] for _, attrs in found.elements if attrs.get("href", "").startswith("#")]

    assert len(ids) == len(set(ids))
    assert {*named, *linked} <= set(ids)


def test_what_is_typed_looks_so_and_options_are_not_broken(tmp_path):
    run = run_file(tmp_path, warnings=("say `run --place X` or --place <Y>, well-known--as-it-is",))
    text = document.render(page([run], prices.shipped()))

    assert '<code>run --place X</code> or <code class="option">--place</code> &lt;Y&gt;, well-known--as-it-is' in text


def test_a_terminals_table_becomes_one_of_the_page(tmp_path):
    table = sheet("Calls", "count")
    table.add_row(Text("ok"), Text("1,234"))
    table.add_row(Text("failed"), Text("2", style="bold red"))
    (found,) = tables([table, Text("a note")])

    assert (found.title, found.header) == ("Calls", ("", "count"))
    assert found.rows == [["ok", "1,234"], ["failed", "2"]]
    assert found.numbers == [False, True]
    assert found.tones == [["", ""], ["", "bad"]]
    assert found.notes == ("a note",)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [runs.ok(0, 20.0)],
        [runs.throttled(i, 20.0 + i) for i in range(5)],
        [runs.failed(0, 20.0), runs.cut(1, 30.0), runs.dropped(2, 31.0)],
        [runs.ok(0, 20.0, prompt_tokens=None, completion_tokens=None, cached_tokens=None)],
    ],
    ids=["nothing", "one call", "only 429s", "only failures", "no usage"],
)
@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_a_page_is_made_of_whatever_a_run_holds(tmp_path, lines, clock):
    path = runs.write(tmp_path / "run.jsonl", runs.head(clock=clock), *lines)
    found = rendered(load(path))  # killed: there is no end

    assert "INVALID" in found.said
    assert json.loads(found.scripts[0]) is not None


def test_a_damaged_date_is_shown_as_it_is(tmp_path):
    assert facts_of(run_file(tmp_path, started_at="once"))["Date"] == "once"


def test_a_page_without_a_kind_has_no_badge():
    text = document.render(Page(title="Sizes", sections=[Section(name="all", title="Sizes", kind="")]))

    assert 'class="badge' not in text


# --- several runs -----------------------------------------------------------------------------------------------------


def test_several_runs_are_compared_and_each_has_a_section(tmp_path):
    slower = run_file(tmp_path, *runs.steady(400, ttft=0.2), name="b.jsonl", run_id="b", label="after")
    found = page([run_file(tmp_path, label="before"), slower], prices.shipped())

    assert [part.title for part in found.sections] == ["Comparison", "A  before", "B  after"]
    assert [table.title for table in found.sections[0].first] == ["Headline figures"]
    assert [table.title for table in found.sections[0].tables] == ["B against A"]
    assert any("worse" in row for row in found.sections[0].first[0].rows)


def test_a_comparison_opens_with_a_handful_of_plain_words_and_what_each_size_costs(tmp_path):
    small = run_file(tmp_path, *runs.steady(400, ttft=0.3), target=AZURE | {"ptu": 100}, label="100")
    large = run_file(
        tmp_path, *runs.steady(400, ttft=0.2), target=AZURE | {"ptu": 125}, name="b", run_id="b", label="125"
    )
    opened = page([small, large], prices.shipped()).sections[0]
    rows = {row[0]: row[1:] for row in opened.first[0].rows}

    assert len(rows) <= 15
    assert opened.first[0].header == ("", "A  100", "B  125", "B is")
    assert rows["95 of 100 began to answer within (TTFT p95)"] == ("300 ms", "200 ms", "better")
    assert rows["price by the hour"] == ("100 USD", "125 USD", "")
    assert opened.short == [
        "B is faster by TTFT (p95 200 ms instead of 300 ms).",
        "B costs 25.0 % more than A: 125 USD an hour instead of 100 (by the hour, list prices of 2026-11-22).",
    ]


def test_of_a_standard_deployment_and_ptus_the_price_of_tokens_is_compared(tmp_path):
    standard = run_file(tmp_path, *runs.steady(400), target=AZURE | {"ptu": None, "type": "standard"}, label="payg")
    bought = run_file(tmp_path, *runs.steady(400), target=AZURE | {"ptu": 100}, name="b", run_id="b", label="100")
    opened = page([standard, bought], prices.shipped()).sections[0]
    rows = {row[0]: row[1:] for row in opened.first[0].rows}

    # A call is 100 + 20 tokens, at 2 and 8 USD a million; 100 PTU cost 100 / 60 USD a minute, in which 400 of them are answered.
    assert rows["price of a million tokens"] == ("3.00 USD", "34.7 USD", "worse")
    assert opened.short[-1].startswith(
        "A million tokens cost 34.7 USD from B and 3.00 from A (list prices of 2026-11-22; PTUs"
    )


def test_a_run_of_ten_minutes_is_long_with_its_warm_up(tmp_path):
    ten = {"duration": 600, "warmup": 60, "window": (60.0, 600.0)}
    of_ten = runs.write(tmp_path / "ten", runs.head(**ten), *runs.steady(400, start=60.0), runs.end(load_end=600.0))
    told = [limits(run, summary_of(run)) for run in (load(of_ten), run_file(tmp_path))]

    assert [any(said.startswith("The long run") for said in of) for of in told] == [False, True]


def test_unlike_runs_are_refused_unless_forced(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    runs.write(paths[0], runs.head(), *runs.steady(400), runs.end())
    runs.write(paths[1], runs.head(duration=71, workload_hash="1"), *runs.steady(400), runs.end())
    with pytest.raises(UsageError, match="unlike workloads, which differ in duration"):
        of_files(paths, prices.shipped())

    assert "Comparison" in of_files(paths, prices.shipped(), force=True)


# --- under other names ------------------------------------------------------------------------------------------------

HIDDEN = (
    *("contoso", "8d2b1e0c", "10.1.2.3", "westeurope", "CONTOSO_KEY", "GATEWAY_SECRET", "x-gateway"),
    *("secret-standard", "strict-filter", "evening.jsonl", str(Path("customers") / "acme")),
)


def own(tmp_path, number):
    """A run of a customer, every name of whom is his own."""
    said = f"the endpoint https://contoso.openai.azure.com/x of contoso-prod at 10.1.2.3 refused; see {ACCOUNT}"
    divert = {"kind": "azure", "endpoint": "https://contoso.openai.azure.com", "deployment": "secret-standard"}
    kind = msgspec.structs.replace(
        runs.WORKLOAD.classes[0],
        messages=read.decode(
            "name: x\nmessages: {file: evening.jsonl}\noutput_limit: 5\nload: {rate: 1/s}\nduration: 9s", "w", tmp_path
        )
        .classes[0]
        .messages,
    )
    folder = tmp_path / "customers" / "acme"
    folder.mkdir(parents=True, exist_ok=True)
    start = runs.STARTED.timestamp()
    return load(
        runs.write(
            folder / f"contoso-prod-{number}.jsonl",
            runs.head(
                run_id=f"run{number}",
                label=f"contoso-prod {number}",
                target=AZURE | {"resource": ACCOUNT, "spillover": "secret-standard", "content_filter": "strict-filter"},
                divert_to=divert,
                network=NETWORK,
                probe={"status": 200, "peer": "10.1.2.3", "headers": {"x-ms-deployment-name": "contoso-prod"}},
                warnings=(said,),
                classes=(kind,),
                throttling=msgspec.structs.replace(
                    runs.WORKLOAD.throttling,
                    on_429="divert",
                    divert_to={"deployment": "secret-standard", "key_env": "CONTOSO_KEY"},
                ),
            ),
            *runs.steady(400, headers={"x-ms-region": "East US", "x-ms-deployment-name": "contoso-prod"}),
            runs.end(problems=(said,)),
            Resource(when="before", asked_unix=start, id=ACCOUNT, deployment="contoso-prod", error=said),
            Monitor(of="run", asked_unix=start, id=ACCOUNT, deployment="contoso-prod", span=(0, 1), errors={"X": said}),
        )
    )


def test_under_other_names_nothing_says_whose_the_runs_are(tmp_path):
    (tmp_path / "evening.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    pair = [own(tmp_path, number) for number in (1, 2)]
    text = document.render(page(pair, prices.shipped(), alias=True))
    open_ = document.render(page(pair, prices.shipped()))

    assert [name for name in HIDDEN if name.lower() in text.lower()] == []
    assert "contoso-prod" in open_
    for other in (
        "deployment-1",
        "resource-1.azure.com",
        "subscription-1",
        "place-1",
        "proxy-1",
        "run-1.jsonl",
        "East US",
    ):
        assert other in text


def test_the_same_name_stands_for_the_same_everywhere(tmp_path):
    one, two = alias.aliased(
        [run_file(tmp_path), run_file(tmp_path, name="two.jsonl", target=AZURE | {"deployment": "x2"})]
    )

    assert one.head.target["deployment"] == one.head.target["body_model"] == "deployment-1"
    assert two.head.target["deployment"] == "deployment-2"
    assert one.head.target["endpoint"] == two.head.target["endpoint"] == "https://resource-1.azure.com"
    assert one.head.target["url"] == "https://resource-1.azure.com/openai/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "other"),
    [
        (
            "https://a.openai.azure.com/openai/deployments/secret/chat/completions?api-version=1",
            "https://resource-1.azure.com/openai/deployments/deployment-1/chat/completions?api-version=1",
        ),
        (
            "https://gw.example.com/team-x/openai/v1/responses?subscription-key=5",
            "https://endpoint-1/openai/v1/responses",
        ),
        ("http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1/v1/chat/completions"),
    ],
)
def test_a_url_keeps_what_says_how_and_loses_what_says_where(tmp_path, url, other):
    endpoint = "/".join(url.split("/")[:3])
    (found,) = alias.aliased(
        [run_file(tmp_path, target={"kind": "azure", "endpoint": endpoint, "url": url, "deployment": "secret"})]
    )

    assert found.head.target["url"] == other


def test_other_names_change_no_figure(tmp_path):
    run = run_file(tmp_path)
    (other,) = alias.aliased([run])

    assert summary_of(other)["metrics"] == summary_of(run)["metrics"]
    assert summary_of(other)["validity"] == summary_of(run)["validity"]


def test_traces_and_clients_lose_their_names(tmp_path):
    (found,) = alias.aliased([run_file(tmp_path, load=Trace(file="acme.csv", format="azure"), client="acme.bots:ask")])

    assert found.head.workload.load.file == "trace-1.csv"
    assert found.head.workload.client == "client-1:function"


@pytest.mark.parametrize(
    ("said", "other"),
    [
        ("proxy.acme.example:3128 refused, acme.privatelink.openai.azure.com too", "(a host) refused, (a host) too"),
        ("fd12:3456:789a::1 and fe80:0:0:0:1:2:3:4", "(an address) and (an address)"),
        ("ask jdoe@acme.example.", "ask (a mail address)."),
        (r"\\\\acme\share\x, ~jdoe/.ssh/id and C:\Users\jdoe", "(a path), (a path) and (a path)"),
        ("results/jdoe/run.jsonl: torn", "(a path): torn"),
        (
            "`refused.ratio` at 10:30:00 of gpt-4.1:50, 240 calls/min",
            "`refused.ratio` at 10:30:00 of gpt-4.1:50, 240 calls/min",
        ),
        ("utilization.simulated.peak_minute <= 90%", "utilization.simulated.peak_minute <= 90%"),
    ],
)
def test_free_texts_lose_what_looks_like_a_place(said, other):
    assert alias.Names().text(said, public=frozenset()) == other


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    return runs.write(tmp_path / "run.jsonl", runs.head(target=AZURE), *runs.steady(400), runs.end())


def test_a_page_is_written_instead_of_a_table(capfd, tmp_path, stored):
    file = tmp_path / "new" / "run.html"
    code, out, _ = called(capfd, "report", stored, "--html", file, "--alias")

    assert (code, out) == (0, "")
    assert file.read_text().startswith("<!doctype html>")
    assert "contoso" not in file.read_text()


def test_options_of_the_page_need_a_page(capfd, stored):
    code, _, err = called(capfd, "report", stored, "--alias")

    assert (code, err) == (2, "error: --alias and --force: go with --html only\n")


def test_a_page_that_can_not_be_written_is_said_at_once(capfd, tmp_path):
    code, _, err = called(capfd, "report", tmp_path / "none.jsonl", "--html", tmp_path)

    assert code == 2
    assert err.startswith(f"error: --html {tmp_path}: can't be written")


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch, capfd, tmp_path, stored):
    monkeypatch.setattr(document, "_NEEDED", ("plotly", "no_such_package"))
    code, _, err = called(capfd, "report", stored, "--html", tmp_path / "run.html")

    assert (code, err) == (
        2,
        "error: --html: an HTML report needs the extra `report`: pip install 'ptubench[report]'\n",
    )
    assert not (tmp_path / "run.html").exists()


def test_the_same_run_makes_the_same_page_at_any_time(tmp_path):
    run = run_file(tmp_path)

    assert document.render(page([run], prices.shipped())) == document.render(page([run], prices.shipped()))
    assert str((runs.STARTED + timedelta(days=1)).date()) not in rendered(run).said


def test_what_no_answer_told_is_not_blamed_on_the_capacity(tmp_path):
    silent = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"))
    untold = run_file(tmp_path, *runs.steady(100, **silent))
    unknown = run_file(tmp_path, name="other.jsonl", target={"kind": "azure", "deployment": "d"})

    def detail(run):
        return next(tile.detail for tile in tiles(summary_of(run)) if tile.label == "Normalized tokens/min")

    assert detail(untold) == "no answer told its tokens"
    assert detail(unknown) == "capacity not known"

"""The dry run on a terminal: everything is said, and nothing that a file says can do harm."""

import unicodedata

import msgspec
import pytest

from goldens import golden, shown
from ptubench.load.plan import make_plan
from ptubench.load.preview import preview
from ptubench.ptu.capacity import capacity
from ptubench.report.preview import render
from ptubench.sim.options import parse
from ptubench.workload.model import Cached, Class, ClosedLoop, Fixed, Uniform, Workload
from summaries import WORKLOAD

TARGET = {
    "kind": "azure",
    "style": "v1",
    "endpoint": "https://contoso.openai.azure.com",
    "url": "https://contoso.openai.azure.com/openai/v1/chat/completions",
    "deployment": "chat-ptu",
    "model": "gpt-4.1",
    "ptu": 500,
    "type": "global",
    "auth": "key",
    "key_env": "AZURE_OPENAI_API_KEY",
    "sources": {
        "endpoint": "environment AZURE_OPENAI_ENDPOINT",
        "deployment": "--deployment",
        "model": "the workload's target",
        "key_env": "the default",
    },
}
MIX = (
    Class(name="short", weight=3, prompt=Uniform(min=100, max=300), completion=Fixed(tokens=50), unlimited=True),
    Class(name="long", prompt=Fixed(tokens=4000), completion=Fixed(tokens=500), limit=Fixed(tokens=800)),
)


def planned(workload, *, ptu=500):
    """The dry run of `workload`."""
    return preview(workload, make_plan(workload), capacity("gpt-4.1", ptu))


def closed_loop():
    """A workload of which little can be said beforehand."""
    return Workload(name="lanes", classes=MIX, load=ClosedLoop(concurrency=20, think_time=1.0), duration=600, warmup=60)


@pytest.mark.parametrize("width", [80, 120])
def test_the_dry_run_of_an_open_loop_looks_as_reviewed(width):
    view = shown(render(planned(WORKLOAD), WORKLOAD, TARGET), width=width)

    assert view == golden(f"preview-open-{width}", view)


def test_the_dry_run_of_a_closed_loop_looks_as_reviewed():
    view = shown(render(planned(closed_loop()), closed_loop(), TARGET | {"kind": "simulated"}))

    assert view == golden("preview-closed-80", view)


@pytest.mark.parametrize(("prefixes", "said"), [(1, "2,048 (1 prefix)"), (8, "2,048 (8 prefixes)")])
def test_the_dry_run_says_how_many_prefixes_are_shared(prefixes, said):
    plain = WORKLOAD.classes[0]
    cached = msgspec.structs.replace(plain, prompt=Fixed(tokens=3000), cached=Cached(tokens=2048, prefixes=prefixes))
    workload = msgspec.structs.replace(WORKLOAD, classes=(cached,))

    assert said in shown(render(planned(workload), workload, TARGET))


def test_without_a_size_the_dry_run_says_how_to_learn_the_utilization():
    view = shown(render(planned(WORKLOAD, ptu=None), WORKLOAD, TARGET))

    assert "utilization: not known: give --model and --ptu" in view


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gpt-4.1", "USD for answers as asked, at most "),
        ("nobodys", "cost        not known: the prices of "),
    ],
)
def test_the_dry_run_says_what_a_run_on_a_standard_deployment_costs(model, said):
    workload = msgspec.structs.replace(WORKLOAD, classes=MIX[1:])
    plan = preview(workload, make_plan(workload), None, standard=True, model=model)
    target = TARGET | {"ptu": None, "type": "standard", "model": model}

    assert said in shown(render(plan, workload, target))


def test_the_dry_run_says_that_a_simulated_deployment_spills():
    simulate = msgspec.to_builtins(parse("gpt-4.1:50,spill=gpt-4.1:300"))
    target = TARGET | {"kind": "simulated", "simulate": simulate, "spillover": "gpt-4.1-standard"}

    assert "spillover   to gpt-4.1-standard" in shown(render(planned(WORKLOAD), WORKLOAD, target))


def test_the_dry_run_names_the_final_url_and_where_its_parts_came_from():
    view = shown(render(planned(WORKLOAD), WORKLOAD, TARGET))

    assert TARGET["url"] in view
    assert "chat-ptu  from --deployment" in view


@pytest.mark.parametrize("hostile", ["\x1b[2J[red]x[/red]", "\u202eevil", "x" * 10_000, "a\nb"])
def test_strings_of_others_are_inert(hostile):
    workload = msgspec.structs.replace(WORKLOAD, name=hostile, checks=(hostile,))
    target = TARGET | {"url": hostile, "deployment": hostile, "sources": {"deployment": hostile, hostile: hostile}}
    view = shown(render(planned(WORKLOAD), workload, target))

    assert [c for c in view if c != "\n" and unicodedata.category(c).startswith("C")] == []
    assert max(map(len, view.splitlines())) <= 80
    assert len(view.splitlines()) < 60

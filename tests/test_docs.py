"""What the documents say is true: links lead somewhere, commands work, outputs are current, tables are complete."""

import gzip
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import running
from ptubench.cli.main import app
from ptubench.errors import Exit
from ptubench.results import store
from ptubench.sim.options import ASSUMED, SimOptions, from_mapping
from ptubench.workload import shipped
from simulated import simulated
from test_architecture import FLOORS, MODULES, imports

ROOT = Path(__file__).parents[1]
DOCS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "results/README.md", ROOT / "benchmarks/README.md")
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCS}
README = TEXTS["README.md"]
PARTS = ("ptubench", "workloads", "tests", "benchmarks", "docs", "examples", "scripts", "results/examples", ".ci")
SINGLE = (*DOCS, "Makefile", "pyproject.toml", "LICENSE", ".gitignore")


def blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def spans(text):
    """What stands between single backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def section(text, title):
    """The text under a heading."""
    return re.split(r"^#+ ", text.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """The first cells of a table's rows, without its head."""
    return re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)[1:]


# --- what is named exists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCS)
def test_links_lead_somewhere(name):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[name])
    lost = [t for t in targets if not t.startswith("https://") and not (ROOT / name).parent.joinpath(t).exists()]

    assert lost == []


@pytest.mark.parametrize("name", DOCS)
def test_files_named_exist(name):
    paths = [
        s for s in spans(TEXTS[name]) if re.fullmatch(r"[\w.-]+(/[\w.-]+)+\.(py|md|ya?ml|csv|jsonl|jsonl\.gz|txt)", s)
    ]
    folders = (ROOT, ROOT / "ptubench", (ROOT / name).parent)

    assert [path for path in paths if not any((folder / path).is_file() for folder in folders)] == []


@pytest.mark.parametrize("name", DOCS)
def test_make_targets_named_exist(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    said = " ".join(["\n".join(blocks(TEXTS[name], "bash")), *(f"\n{span}" for span in spans(TEXTS[name]))])

    assert [target for target in re.findall(r"^make (\w+)", said, re.MULTILINE) if f"\n{target}:" not in makefile] == []


def test_every_example_run_is_named_and_simulated():
    paths = list((ROOT / "results/examples").iterdir())
    assert paths
    for path in paths:
        head = next(iter(store.lines(path)))

        assert f"`{path.name}`" in TEXTS["results/README.md"]
        assert head.target["kind"] == "simulated"


# --- commands work ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder: the files of the README, an environment with a target, nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("AZURE", "OPENAI"))]:
        monkeypatch.delenv(name)
    endpoint = "https://RESOURCE.openai.azure.com"
    for name, value in {"ENDPOINT": endpoint, "DEPLOYMENT": "NAME", "API_KEY": "not-a-key"}.items():
        monkeypatch.setenv(f"AZURE_OPENAI_{name}", value)
    for text in blocks(README, "yaml"):
        Path(text.split()[1]).write_text(text, encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    usage = "minute,requests,prompt_tokens,cached_tokens,completion_tokens\n2026-11-20T10:00,60,60000,0,12000\n"
    Path("usage.csv").write_text(usage, encoding="utf-8")
    Path("ours.csv").write_bytes((ROOT / "workloads/trace.csv").read_bytes())
    examples_in(tmp_path)
    return tmp_path


def examples_in(folder):
    """Make the example runs stand in a folder where the docs name them."""
    (folder / "results").mkdir()
    (folder / "results/examples").symlink_to(ROOT / "results/examples")


@pytest.fixture
def sim(tmp_path):
    with simulated(tmp_path) as running_one:
        yield running_one


def test_the_python_of_the_readme_works(sim):
    (text,) = blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", at(sim, text)], capture_output=True, text=True, check=True, timeout=30)

    assert "completion_tokens=20" in done.stdout


def test_the_curl_of_the_readme_works(sim):
    (line,) = re.findall(r"^curl .*$", "".join(blocks(README, "bash")).replace("\\\n", ""), re.MULTILINE)
    command = [*shlex.split(at(sim, line)), "--silent", "--noproxy", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout.endswith("data: [DONE]\n\n")


def test_the_client_of_ones_own_in_the_docs_works(sim, tmp_path, monkeypatch):
    (text,) = blocks(TEXTS["docs/workloads.md"], "python")[:1]
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(at(sim, text), encoding="utf-8")
    target = ("--endpoint", f"{sim.url}/openai/v1/", "--deployment", "gpt-4.1")
    run = running.start(tmp_path / "run", *target, client="mine:ask", duration="1s").finish()

    assert run.metrics["requests"]["ok"] == run.metrics["requests"]["total"] > 0
    assert run.metrics["completion_tokens"]["mean"] == running.WORKLOAD["completion_tokens"]


def at(sim, text):
    """The same text with the address of a simulated deployment that runs."""
    return text.replace("http://127.0.0.1:8000", sim.url)


# --- outputs and tables are current -----------------------------------------------------------------------------------

SHOWN = re.compile(
    r"<!-- (report|output): (.+?) at (\d+) columns(?:, exit code (\d))?(?:: (.+?))? -->\n```\n.*?```\n", re.DOTALL
)


@pytest.fixture(scope="module")
def outputs():
    """What commands have printed; several sections are shown of some."""
    return {}


@pytest.mark.parametrize("name", [name for name in DOCS if SHOWN.search(TEXTS[name])])
def test_reports_shown_are_what_the_command_prints(name, outputs, tmp_path, monkeypatch, capsys):
    """A report of a run file, or what a command prints, all of it or the sections that begin with the words named.

    `REWRITE_GOLDEN=1 pytest` writes them anew.
    """
    monkeypatch.chdir(tmp_path)  # not the repository: some of these commands write results
    examples_in(tmp_path)

    def printed(match):
        kind, what, columns, code, begins = match.groups()
        arguments = ["report", str((ROOT / name).parent / what)] if kind == "report" else shlex.split(what)[1:]
        monkeypatch.setenv("COLUMNS", columns)
        if (what, columns) not in outputs:
            assert running.call(*arguments) == int(code or 0)
            outputs[what, columns] = capsys.readouterr().out
        words = tuple(word.strip() for word in (begins or "").split(","))
        shown = "\n\n".join(
            part for part in outputs[what, columns].rstrip("\n").split("\n\n") if part.startswith(words)
        )
        return f"{match[0].partition('-->')[0]}-->\n```\n{shown}\n```\n"

    current = SHOWN.sub(printed, TEXTS[name])
    if os.environ.get("REWRITE_GOLDEN"):
        (ROOT / name).write_text(current, encoding="utf-8")
    else:
        assert current == TEXTS[name]


def test_the_readme_has_every_shipped_workload():
    assert sorted(row.strip("`") for row in rows(section(README, "Workloads"))) == shipped.names()


def test_the_readme_has_every_exit_code():
    assert [int(row) for row in rows(section(README, "For scripts and CI"))] == sorted(Exit)


def test_the_readme_gives_a_reason_for_every_dependency_and_for_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = {"": project["dependencies"], **extras}
    said = [row.rpartition(": ") for row in rows(section(README, "Dependencies"))]

    assert sorted((extra, name) for extra, _, names in said for name in names.split(", ")) == sorted(
        (f"extra `{extra}`" if extra else "", re.match(r"[\w-]+(\[\w+\])?", text)[0])
        for extra, texts in needed.items()
        for text in texts
    )


def test_the_readme_names_what_the_simulation_assumes():
    assumed = section(README, "The simulated deployment").partition("**Not published, so assumed**")[2]
    defaults = SimOptions(model="gpt-4.1", ptu=1)
    said = {
        "depth": f"{defaults.depth:g} s",
        "estimate": f"{defaults.estimate:,} tokens",
        "latency": f"{defaults.latency:g} s",
        "prefill": f"{defaults.prefill:,.0f} per second",
        "load": f"{1 + defaults.load:g} times",
        "jitter": "its spread",
        "cache_ttl": "how long a prefix stays cached",
    }

    assert said.keys() == set(ASSUMED)
    assert [text for text in said.values() if text not in assumed] == []


def test_every_option_is_somewhere_in_the_docs():
    commands = get_command(app).commands
    asked = (
        option
        for name in ("run", "size", "capacity", "report", "compare", "check", "doctor", "init")
        for given in commands[name].params
        for option in given.opts
    )
    options = {option for option in asked if option.startswith("--")} | {"--host", "--port", "--log", "--faults"}
    users = "".join(text for name, text in TEXTS.items() if name not in ("CHANGELOG.md", "CONTRIBUTING.md"))

    assert sorted(options - set(re.findall(r"--[a-z][a-z0-9-]*", users))) == []


def test_the_workload_page_has_every_parameter_of_a_simulated_deployment():
    page = section(TEXTS["docs/workloads.md"], "Simulated deployments")
    table = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    words = ("required", "published", "none", "every name", "no key")
    defaults = {name: default.replace(",", "") for name, default, _ in table if default not in words}

    assert [name for name, _, _ in table] == list(SimOptions.__struct_fields__)
    assert from_mapping({**defaults, "model": "gpt-4.1", "ptu": 1}) == SimOptions(model="gpt-4.1", ptu=1)
    assert {name for name, _, text in table if text.endswith("; assumed")} == {*ASSUMED, "spill_slower"}


def test_the_architecture_page_has_the_floors_in_their_order():
    drawn = [re.findall(r"`([\w.]+)`", row) for row in rows(section(TEXTS["docs/architecture.md"], "The parts"))]

    assert [sorted(names) for names in drawn] == [sorted(floor) for floor in FLOORS if floor != ("__main__",)]


@pytest.mark.parametrize(
    ("part", "unknown"), [("sim", ("client", "stream", "engine")), ("analysis", ("engine", "client", "sim", "load"))]
)
def test_what_the_architecture_page_calls_unknown_is_not_imported(part, unknown):
    known = {name for module, path in MODULES.items() if module.startswith(f"{part}.") for name in imports(path)[0]}

    assert [name for name in known if name.startswith(unknown)] == []


# --- and nothing is said of this machine ------------------------------------------------------------------------------


def test_no_file_names_a_place_outside_of_the_repository():
    elsewhere = re.compile(rb"(?<![\w.~/-])/(?:work|root|tmp|home|Users)/|\bshared" + rb"/")
    held = [path for path in _files() if elsewhere.search(_content(path))]

    assert held == []


def _files():
    """What belongs to the repository, beside which a checkout may hold runs, environments and caches."""
    folders = (ROOT / name for name in PARTS)
    files = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return [path for path in (*files, *(ROOT / name for name in SINGLE)) if path.is_file()]


def _content(path):
    """The bytes of a file; of a run file, its lines."""
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw

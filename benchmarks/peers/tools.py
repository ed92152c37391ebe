"""The peers of `run.py`: how each is started, what it reports as TTFT, where it is installed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from measure import Stub, percentile, ptubench

HERE = Path(__file__).parent
ENVIRONMENTS = Path(tempfile.gettempdir()) / "ptubench-peers"
"""Where `--install` puts the tools that bring many packages."""
BODY = json.dumps({"model": "stub", "messages": [{"role": "user", "content": " word" * 32}], "stream": True})
WORKLOAD = """\
name: peers
prompt_tokens: 32
completion_tokens: 100
load: {load}
duration: {duration}s
warmup: {warmup}s
"""


class Work(NamedTuple):
    """One load. Either so many streams at a time, or so many calls a second; seconds."""

    stub: Stub
    streams: int | None
    rate: float | None
    duration: int
    warmup: int
    folder: Path

    @property
    def url(self) -> str:
        """Where chat completions are posted."""
        return f"{self.stub.endpoint}/chat/completions"

    @property
    def host(self) -> str:
        """The server alone."""
        return f"http://127.0.0.1:{self.stub.port}"


class Peer(NamedTuple):
    """One tool."""

    command: Callable[[Work], list[str]]
    reported: Callable[[Work, str], list[float] | None]
    """TTFT p50 and p99 in ms as it reports them, from its folder or what it printed; None: it has none."""
    package: str
    open_loop: bool = True
    """Whether it can send calls at a rate that does not wait for answers."""


# --- their command lines ----------------------------------------------------------------------------------------------


def _ptubench(work: Work) -> list[str]:
    load = f"{{concurrency: {work.streams}}}" if work.streams else f"{{rate: {work.rate:g}/s, arrivals: constant}}"
    file = work.folder / "workload.yaml"
    file.write_text(WORKLOAD.format(load=load, duration=work.duration, warmup=work.warmup), encoding="utf-8")
    where = ("--endpoint", work.stub.endpoint, "--deployment", "stub", "--results", work.folder)
    return ptubench("run", file, *where, "--json")


def _client(name: str) -> Callable[[Work], list[str]]:
    def command(work: Work) -> list[str]:
        load = ("--streams", work.streams) if work.streams else ("--rate", work.rate)
        options = ("--url", work.url, *load, "--duration", work.duration, "--warmup", work.warmup)
        return [sys.executable, str(HERE / "client.py"), name, *map(str, options)]

    return command


def _hey(work: Work) -> list[str]:
    options = ("-cpus", "1", "-c", work.streams, "-z", f"{work.duration}s", "-t", "60", "-m", "POST")
    return ["hey", *map(str, options), "-T", "application/json", "-d", BODY, work.url]


def _wrk(work: Work) -> list[str]:
    script = work.folder / "post.lua"
    headers = 'wrk.headers["Content-Type"] = "application/json"'
    script.write_text(f'wrk.method = "POST"\n{headers}\nwrk.body = [[{BODY}]]\n', encoding="utf-8")
    options = ("-t", "1", "-c", work.streams, "-d", f"{work.duration}s", "--timeout", "60s", "-s", script)
    return ["wrk", *map(str, options), work.url]


def _aiperf(work: Work) -> list[str]:
    load = (
        ("--concurrency", work.streams)
        if work.streams
        else ("--request-rate", work.rate, "--arrival-pattern", "constant")
    )
    what = ("--synthetic-input-tokens-mean", "32", "--output-tokens-mean", "100", "--tokenizer", tokenizer("aiperf"))
    how = ("--model", "stub", "--url", work.host, "--endpoint-type", "chat", "--streaming", "--ui", "none")
    where = ("--benchmark-duration", work.duration, "--output-artifact-dir", work.folder)
    return [str(_tool("aiperf", "aiperf")), "profile", *map(str, (*how, *load, *what, *where))]


def _guidellm(work: Work) -> list[str]:
    profile = f"kind=concurrent,streams={work.streams}" if work.streams else f"kind=constant,rate={work.rate:g}"
    options = {
        "backend": f"kind=openai_http,target={work.host},model=stub",
        "profile": profile,
        "constraint": f"kind=max_duration,seconds={work.duration}",
        "tokenizer": f"kind=hf_auto,model={tokenizer('guidellm')}",
        "data": "kind=synthetic_text,prompt_tokens=32,output_tokens=100",
        "output": f"kind=json,path={work.folder / 'report.json'}",
    }
    named = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [str(_tool("guidellm", "guidellm")), "run", *named, "--disable-console"]


# --- what they report -------------------------------------------------------------------------------------------------


def _of_ptubench(_: Work, printed: str) -> list[float] | None:
    ttft = json.loads(printed[printed.index("{") :])["metrics"]["ttft"]
    return [1e3 * (ttft[name] or float("nan")) for name in ("p50", "p99")]


def _of_client(_: Work, printed: str) -> list[float] | None:
    times = [1e3 * (first - sent) for _, sent, first in json.loads(printed)["answers"]]
    return [percentile(times, 0.5), percentile(times, 0.99)]


def _of_aiperf(work: Work, _: str) -> list[float] | None:
    found = json.loads((work.folder / "profile_export_aiperf.json").read_text(encoding="utf-8"))["time_to_first_token"]
    return [found["p50"], found["p99"]]


def _of_guidellm(work: Work, _: str) -> list[float] | None:
    found = json.loads((work.folder / "report.json").read_text(encoding="utf-8"))["benchmarks"][0]["metrics"]
    of = found["time_to_first_token_ms"]["successful"]["percentiles"]
    return [of["p50"], of["p99"]]


def _nothing(_: Work, __: str) -> list[float] | None:
    return None


PEERS = {
    "ptubench": Peer(_ptubench, _of_ptubench, "ptubench"),
    "wrk": Peer(_wrk, _nothing, "wrk", open_loop=False),
    "hey": Peer(_hey, _nothing, "hey", open_loop=False),
    "aiohttp": Peer(_client("aiohttp"), _of_client, "aiohttp"),
    "httpx2": Peer(_client("httpx2"), _of_client, "httpx2"),
    "openai": Peer(_client("openai"), _of_client, "openai"),
    "aiperf": Peer(_aiperf, _of_aiperf, "aiperf"),
    "guidellm": Peer(_guidellm, _of_guidellm, "guidellm"),
}
OWN_ENVIRONMENT = ("aiperf", "guidellm")
DEBIAN = ("wrk", "hey")


# --- where they are ---------------------------------------------------------------------------------------------------


def _tool(name: str, program: str) -> Path:
    return ENVIRONMENTS / name / "bin" / program


def install(names: Sequence[str]) -> None:
    """Install tools, each into an environment of its own."""
    for name in names:
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENTS / name], check=True)
        subprocess.run([_tool(name, "pip"), "install", "--quiet", name], check=True)


def tokenizer(name: str) -> str:
    """A tokenizer of whole words for tools that want one, so that nothing has to be downloaded; under `ENVIRONMENTS`."""
    place = f"tokenizers/{name}"  # relative: aiperf takes what begins with a slash for no folder
    if not (ENVIRONMENTS / place).exists():
        subprocess.run([_tool(name, "python"), HERE / "tokenizer.py", ENVIRONMENTS / place], check=True)
    return place


def installed(name: str) -> tuple[str, str]:
    """Version, and what it takes on disk with all that it needs, in MB."""
    if name in DEBIAN:
        said = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version} ${Installed-Size}", name], capture_output=True, text=True, check=True
        )
        version, size = said.stdout.split()
        return version, f"{int(size) / 1024:.1f} MB (of Debian, without its libraries)"
    python = _tool(name, "python") if name in OWN_ENVIRONMENT else Path(sys.executable)
    said = subprocess.run([python, HERE / "sizes.py", name], capture_output=True, text=True, check=True)
    version, size, count = said.stdout.split()
    return version, f"{float(size):.0f} MB ({count} packages)"


def there(name: str) -> bool:
    """Whether it can be run here."""
    if name in OWN_ENVIRONMENT:
        return _tool(name, name).exists()
    return name not in DEBIAN or any((Path(folder) / name).exists() for folder in os.environ["PATH"].split(":"))

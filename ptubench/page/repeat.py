"""What repeats a run: the command, and the workload file that it names, both from the run file alone.

Secrets are in neither: a run file holds the names of their variables at most.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from ptubench.analysis.columns import Run
from ptubench.page.model import Snippet
from ptubench.ptu.sizing import TYPES
from ptubench.record import Head, Monitor
from ptubench.report.text import clean
from ptubench.sim.options import ASSUMED, SimOptions
from ptubench.workload import write
from ptubench.workload.hashing import files
from ptubench.workload.model import Workload

_USUAL_KEYS = ("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
_SWITCHES = {True: "on", False: "off"}
_AS_TEXT = {"model": "--model", "ptu": "--ptu", "type": "--type", "ratio": "--ratio", "tpm_per_ptu": "--tpm-per-ptu"}


def repeat(run: Run) -> list[Snippet]:
    """The command and the workload."""
    head = run.head
    needs = [f"Save the workload below as {_file(head)}."]
    if named := files(head.workload):
        needs.append(f"Beside it goes {' and '.join(named)}, as it was: a run file does not hold it.")
    if (
        run.end is not None
        and run.end.simulated is not None
        and not isinstance(run.head.target.get("simulate"), Mapping)
    ):
        first = _served(run.end.simulated)
        needs.append(
            f"The target was a simulated deployment that somebody had started; start its like first: `{first}`. Which faults it was told to "
            "make (--faults), and its seed, the run file does not know."
        )
    if run.head.target.get("key_env"):
        needs.append(f"The key is read from {run.head.target['key_env']}.")
    needs.append(
        "The seed fixes due times and sizes, the salt the text of the prompts; without --salt the text is new, and no "
        "cache knows it."
    )
    return [
        Snippet(title="Repeat this run", lead=clean(" ".join(needs), 800), text=command(run)),
        Snippet(title=f"The workload, {clean(_file(head), 60)}", text=write.as_yaml(head.workload), folded=True),
    ]


def search(answer: Mapping[str, Any]) -> list[Snippet]:
    """The command of an answer of `ptubench capacity`, and its workload."""
    workload = msgspec.convert(answer["workload"], Workload)
    file = f"{workload.name}.yaml"
    options = [*_target(answer["target"]), *([("--virtual", None)] if answer["clock"] == "virtual" else [])]
    lead = (
        f"Save the workload below as {file}. What was said of the search itself (--steps, --step, --within) is not in its answer; without "
        "it the usual ones are taken."
    )
    return [
        Snippet(title="Repeat this search", lead=clean(lead, 800), text=_typed("capacity", file, options)),
        Snippet(title=f"The workload, {clean(file, 60)}", text=write.as_yaml(workload), folded=True),
    ]


def _served(simulated: Mapping[str, Any]) -> str:
    """The command that starts the like of a simulated deployment that somebody had started, as far as that told what it is."""
    assumed = simulated.get("assumed")
    told = {"model": simulated.get("model"), "ptu": simulated.get("ptu")}
    told |= {
        name: value for name, value in dict(assumed if isinstance(assumed, Mapping) else {}).items() if name in ASSUMED
    }
    usual = {field.name: field.default for field in msgspec.structs.fields(SimOptions)}
    said = {name: value for name, value in told.items() if value is not None and value != usual.get(name)}
    return " ".join(
        [
            "ptubench simulate",
            *(f"--{name.replace('_', '-')} {shlex.quote(_text(value))}" for name, value in said.items()),
        ]
    )


def command(run: Run) -> str:
    """`ptubench run` with its options, an option a line, for a POSIX shell."""
    head = run.head
    options = [("--seed", head.seed), ("--salt", head.salt)]
    if head.nodes:
        options.append(("--on", "tcp://SCHEDULER:8786"))  # whose address is nobody's business
    elif head.workers > 1:
        options.append(("--workers", head.workers))
    options += _target(head.target)
    if head.target.get("resource") and any(isinstance(line, Monitor) for line in run.azure):
        options.append(("--monitor", None))
    options += [(f"--{name}", value) for name in ("label",) if (value := getattr(head, name)) is not None]
    options += [("--place", place)] if (place := head.network.get("place")) else []
    return _typed("run", _file(head), options)


def _typed(name: str, file: str, options: Iterable[tuple[str, Any]]) -> str:
    """A command as it is typed, an option a line."""
    parts = [f"ptubench {name} {shlex.quote(file)}"]
    parts += [option if value is None else f"{option} {shlex.quote(str(value))}" for option, value in options]
    return " \\\n  ".join(parts)


def _file(head: Head) -> str:
    return f"{head.workload.name}.yaml"


def _target(target: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Options that name the target."""
    if target.get("api") == "responses":
        yield "--api", "responses"
    if target.get("kind") == "simulated" and isinstance(target.get("simulate"), Mapping):
        yield from _own(target, target["simulate"])
        return
    yield "--endpoint", target.get("endpoint")
    yield "--deployment", target.get("deployment")
    if target.get("cloud") is None:  # then the host does not tell the style
        yield "--api-style", target.get("style", "v1")
    for version in parse_qs(urlsplit(str(target.get("url"))).query).get("api-version", []):
        yield "--api-version", version
    yield from _access(target)
    if target.get("resource"):
        yield "--resource", target["resource"]
        return
    yield from ((option, target[name]) for name, option in _AS_TEXT.items() if target.get(name) is not None)


def _own(target: Mapping[str, Any], simulate: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Options that simulate it again."""
    yield "--simulate", _simulated(simulate)
    if target.get("type") in TYPES:  # which its price goes by; a standard one is simulated as such
        yield "--type", target["type"]
    if target.get("style", "v1") != "v1":
        yield "--api-style", target["style"]
    if target.get("deployment") not in (None, simulate.get("model"), simulate.get("deployment")):
        yield "--deployment", target["deployment"]


def _access(target: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Options that say which secrets it gets, by the names of their variables."""
    if target.get("auth") in ("entra", "token", "none"):
        yield "--auth", target["auth"]
    if target.get("key_env") not in (None, *_USUAL_KEYS):
        yield "--key-env", target["key_env"]
    if target.get("scope"):
        yield "--scope", target["scope"]
    for name, variable in target.get("header_env") or ():
        yield "--header", f"{name}: env:{variable}"


def _simulated(simulate: Mapping[str, Any]) -> str:
    """MODEL:PTU,KEY=VALUE,… with what is not by default."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(SimOptions)}
    said = {
        name: _text(value)
        for name, value in simulate.items()
        if name not in ("model", "ptu") and value != defaults.get(name)
    }
    return ",".join([f"{simulate.get('model')}:{simulate.get('ptu')}", *(f"{k}={v}" for k, v in said.items())])


def _text(value: Any) -> str:
    """A value as the option takes it."""
    if isinstance(value, bool):
        return _SWITCHES[value]
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)

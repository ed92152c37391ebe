"""What `ptubench doctor` found, as one JSON document: the target, the machine, and what to know about both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptubench import __version__
from ptubench.doctor import stored
from ptubench.doctor.machine import SHAPES, known
from ptubench.doctor.target import NO_TARGET
from ptubench.errors import Exit
from ptubench.ptu import catalogue
from ptubench.secret import shown

_FEW_FILES = 4096


def whole(
    target: Mapping[str, Any] | None, machine: Mapping[str, Any], *, model: str | None, kept: str | None
) -> dict[str, Any]:
    """The document.

    Args:
        target: as `target.examine` found it; None where none was named.
        machine: as `machine.measure` found it.
        model: whose PTUs were asked for; None for some.
        kept: where the measurement is; None where it could not be.
    """
    return {
        "schema_version": 1,
        "tool": {"name": "ptubench", "version": __version__},
        "target": target,
        "machine": machine,
        "stored": kept,
        "notes": list(_notes(target, machine, model)),
        "exit_code": int(_exit_code(target, machine)),
    }


def _exit_code(target: Mapping[str, Any] | None, machine: Mapping[str, Any]) -> Exit:
    """What a script sees; a target that is not in order wins over a machine of which nothing is known."""
    if target is not None and not target["passed"]:
        return Exit.TARGET
    return Exit.GOOD if known(machine) else Exit.INVALID


def _notes(target: Mapping[str, Any] | None, machine: Mapping[str, Any], model: str | None) -> Iterator[str]:
    """What to know, a sentence each."""
    if target is None:
        yield NO_TARGET
    if stored.busy(machine):
        yield (
            f"meanwhile other programs kept {machine['others']:.1f} cores busy: this machine drives more when they do not; run this "
            "again then"
        )
    files = machine["open_files"]
    if files is not None and files < _FEW_FILES:
        yield f"a worker may have {files:,} files open, and each stream is one: raise the hard limit (ulimit -Hn)"
    yield from _bounds(machine["workers"])
    if model is not None and catalogue.find(model) is None:
        near = catalogue.nearest(model)
        yield f"no PTUs are counted: `{shown(model)}` is not in the catalogue" + (
            f"; did you mean `{near[0]}`?" if near else ""
        )


def _bounds(workers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where a search did not end at the client's own limit."""
    for crew in workers:
        who = "one worker" if crew["workers"] == 1 else f"{crew['workers']} workers"
        who += " over TLS" if crew["tls"] else ""
        for shape in SHAPES:
            best, worst = crew[shape.name]["best"], crew[shape.name]["worst"]
            load = f"{who}, answers of {shape.tokens} tokens"
            if best is None and worst is None:
                yield f"{load}: not tried, as no load that was tried over plain http was on time"
            elif best is None:
                yield f"{load}: no load that was tried was on time, so that nothing is known; run this again when the machine is idle"
            elif worst is None:
                yield f"{load}: no load failed before the search was over: it is at least so much"
            elif worst["outcome"] == "server":
                yield (
                    f"{load}: the server that was measured against, on the same machine, fell behind before the client did: it is at "
                    "least so much"
                )

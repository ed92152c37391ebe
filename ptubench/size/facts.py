"""Which model, deployment types and sizes `ptubench size` looks at, and what it assumes of the simulated deployment.

Texts of the command line and the `target:` of a workload file in, plain data out; every fault is one sentence.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ptubench import units
from ptubench.errors import UsageError
from ptubench.ptu import catalogue, sizing
from ptubench.ptu.capacity import Capacity, capacity
from ptubench.ptu.sizing import TYPES, Sizes
from ptubench.secret import shown
from ptubench.sim import options as sim_options
from ptubench.sim.options import SimOptions
from ptubench.workload.model import OpenLoop, Workload

_OLD = re.compile(r"gpt-(3\.5|35|4)(-(turbo|32k|vision|\d{4}).*)?")
MOST_PTU = 1_000_000
"""No deployment has nearly as many: a larger need is a slip of the pen."""


def simulated_in(file: Mapping[str, Any], workload: Workload | None) -> SimOptions | None:
    """The simulated deployment that a workload file names as its target; None for none.

    Raises:
        UsageError: it is not understood.
    """
    simulate, where = file.get("simulate"), f"{workload.name if workload else ''}: target.simulate"
    if simulate is None:
        return None
    if isinstance(simulate, str):
        return sim_options.parse(simulate, where=where)
    return sim_options.from_mapping(simulate, where=where)


def capacity_of_one(model: str, ratio: float | None, tpm_per_ptu: float | None) -> Capacity:
    """What a single PTU of the model takes.

    Raises:
        UsageError: the catalogue does not know the model, and what was typed does not do without it.
    """
    for name, value in (("--ratio", ratio), ("--tpm-per-ptu", tpm_per_ptu)):
        if value is not None and not 0 < value < 1e12:
            raise UsageError(f"{name}: must be above 0, not {value:g}")
    found = capacity(model, 1, ratio=ratio, tpm_per_ptu=tpm_per_ptu)
    if found is not None:
        return found
    own = "give --ratio and --tpm-per-ptu if you know its figures"
    if _OLD.fullmatch(model.strip().lower()):
        raise UsageError(
            f"--model: what PTUs of `{shown(model)}` take is not proportional to tokens (models before gpt-4o), so no size "
            f"can be computed from the published table; choose a newer model, or {own}"
        )
    near = " or ".join(f"`{name}`" for name in catalogue.nearest(model)[:2])
    meant = f"did you mean {near}? Else " if near else ""
    raise UsageError(f"--model: `{shown(model)}` is not in the catalogue of {catalogue.DATED}; {meant}{own}")


def written_for(workload: Workload, base: SimOptions | None) -> Capacity | None:
    """The deployment that a load in utilization was written for; None where nothing is known of one, nor asked.

    Raises:
        UsageError: such a load without a deployment.
    """
    file = workload.target
    known = (
        capacity(file.get("model"), file.get("ptu"), ratio=file.get("ratio"), tpm_per_ptu=file.get("tpm_per_ptu"))
        if base is None
        else base.capacity
    )
    relative = isinstance(workload.load, OpenLoop) and any(one.unit == "utilization" for one in workload.load.stages)
    if relative and known is None:
        raise UsageError(
            f"{workload.name}: load.utilization is relative to a size, and the size is what is looked for; give the calls, "
            "such as --rate 45/min, or name in `target: {model, ptu}` the deployment that the load was written for"
        )
    return known


def types(asked: str | None, of_file: Any, row: catalogue.Model | None) -> tuple[dict[str, Sizes], str]:
    """Sizes of the types to look at, and the one to simulate and to reckon with.

    Args:
        asked: `--type`; None for all, and Global to reckon with unless the file says another.
        of_file: the type in the file's target.
        row: the model; None for one that the catalogue does not know: no sizes.

    Raises:
        UsageError: a type that does not exist, or in which the model is not offered.
    """
    if asked is not None and asked not in TYPES:
        raise UsageError(f"--type: `{shown(asked)}` is not bought in PTU; write {', '.join(TYPES)}")
    offered = {} if row is None else {name: row.sizes[name] for name in TYPES if name in row.sizes}
    if asked is not None and row is not None and asked not in offered:
        raise UsageError(f"--type {asked}: {row.name} is not offered there; it is as {', '.join(offered)}")
    if asked is not None:
        return ({asked: offered[asked]} if asked in offered else {}), asked
    return offered, of_file if of_file in offered else "global"


def headroom(text: str) -> float:
    """The share of its capacity that a deployment may use in the busiest minute.

    Raises:
        UsageError: no share from 0.01 to 1.
    """
    try:
        found = units.share(text)
    except ValueError as exc:
        meant = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*", text)
        hint = f"; did you mean `{meant[1]}%`?" if meant and 1 < float(meant[1]) <= 100 else ""
        raise UsageError(f"--headroom: {exc}{hint}") from None
    if not 0.01 <= found <= 1:
        raise UsageError(f"--headroom: {text} is no share of a deployment; write one from 1% to 100%")
    return found


def sizes(text: str | None, sizes: Sizes | None, type_: str, model: str) -> tuple[int, ...] | None:
    """The sizes that were typed, ascending; None where none were.

    Args:
        text: of `--sizes`.
        sizes: what can be deployed; None where nobody knows, and any goes.
        type_: the deployment type, for the message.
        model: its name, for the message.

    Raises:
        UsageError: no list of sizes, or one that can't be deployed, with its neighbours.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part[:9]) <= MOST_PTU for part in parts):
        raise UsageError(f"--sizes: `{shown(text)}` is no list of sizes in PTU; write one such as 50,100,150")
    found = sorted({int(part) for part in parts})
    for ptu in found:
        if sizes is not None and not sizing.fits(ptu, sizes):
            near = " or ".join(str(size) for size in sizing.neighbours(ptu, sizes))
            raise UsageError(
                f"--sizes: {ptu} PTU of {model} can't be deployed as {type_}: from {sizes[0]} in steps of {sizes[1]}; "
                f"write {near}"
            )
    return tuple(found)


def assumed(
    said: Sequence[str], base: SimOptions | None, *, model: str, ratio: float | None, tpm_per_ptu: float | None
) -> SimOptions:
    """The deployment to simulate, of 1 PTU: that of the workload file, if it is of the same model, with what was typed.

    Args:
        said: texts of `--assume`.
        base: the file's.
        model: as it is called.
        ratio: overrides the catalogue.
        tpm_per_ptu: overrides the catalogue.

    Raises:
        UsageError: no KEY=VALUE, an unknown key, a senseless value, or a model of the user's own without a speed.
    """
    typed: dict[str, Any] = {}
    for text in said:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or key in ("model", "ptu", "type", "ratio", "tpm_per_ptu"):
            raise UsageError(f"--assume: `{shown(text)}` is no KEY=VALUE of a simulated deployment, such as depth=30s")
        typed[key] = value
    if catalogue.find(model) is None and "tps" not in typed and (base is None or base.model != model):
        raise UsageError(
            f"--model: `{shown(model)}` is not in the catalogue, so its speed is not known; give --assume tps=50 (tokens per "
            "second that 99 % of calls exceed), or --no-simulation"
        )
    over = {name: value for name, value in (("ratio", ratio), ("tpm_per_ptu", tpm_per_ptu)) if value is not None}
    if base is None or base.model != model:
        return sim_options.from_mapping({"model": model, "ptu": 1, **over, **typed}, where="--assume")
    described = {"model": model, "ptu": 1, "ratio": base.ratio, "tpm_per_ptu": base.tpm_per_ptu, "tps": base.tps}
    known = {name: value for name, value in (described | over | typed).items() if value is not None}
    read = sim_options.from_mapping(known, where="--assume")
    return msgspec.structs.replace(base, ptu=1, **{name: getattr(read, name) for name in (*over, *typed)})

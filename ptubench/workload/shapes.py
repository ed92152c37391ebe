"""What one request looks like: sizes, limit, shared prefix, own messages, and the classes of a mix.

Fields of the workload file to `Class`. A class of a mix inherits what it does not give from the top level.
"""

from pathlib import Path
from typing import Any

from ptubench import distributions
from ptubench.distributions import MOST_TOKENS
from ptubench.secret import shown
from ptubench.units import number_text
from ptubench.workload.fields import (
    Fields,
    Place,
    choice,
    mapping,
    number,
    section,
    text,
    whole,
)
from ptubench.workload.model import Cached, Class, Fixed, Lognormal, Messages, Sizes, Uniform

LEAST_CACHED = 1024
SHAPE_KEYS = ("prompt_tokens", "completion_tokens", "output_limit", "reasoning_tokens", "cached", "messages")
_SYNTHETIC = ("prompt_tokens", "completion_tokens", "cached")
"""What own messages replace."""


def classes(fields: Fields, place: Place, folder: Path, *, traced: bool) -> tuple[Class, ...]:
    """The classes of a workload: those of its mix, or the one with an empty name.

    Args:
        fields: the top level of the file.
        place: of the top level.
        folder: what relative file names are relative to.
        traced: a trace brings the sizes.
    """
    shared = {key: fields[key] for key in SHAPE_KEYS if key in fields}
    if traced:
        for key in ("mix", "messages", "prompt_tokens", "completion_tokens"):
            if key in fields:
                raise place.at(key).fault("a trace brings its own sizes; remove this key, or `load.trace`")
    if "mix" not in fields:
        return (_class(shared, place, folder, traced=traced),)
    mix = mapping(fields["mix"], place.at("mix"))
    if not mix:
        raise place.at("mix").fault("needs at least one class, such as `short: {weight: 1, prompt_tokens: 500}`")
    return tuple(_mixed(name, value, shared, place, folder) for name, value in mix.items())


def sizes(value: object, place: Place, *, least: int = 1) -> Sizes:
    """A number of tokens, or how it is distributed."""
    if not isinstance(value, dict):
        return Fixed(tokens=whole(value, place, least=least, most=MOST_TOKENS))
    fields = section(value, place, "sizes")
    given = set(fields)
    if given in ({"mean", "p95"}, {"mean", "p95", "max"}):
        return _lognormal(fields, place, least=least)
    if given == {"min", "max"}:
        low = whole(fields["min"], place.at("min"), least=least, most=MOST_TOKENS)
        return Uniform(min=low, max=whole(fields["max"], place.at("max"), least=low, most=MOST_TOKENS))
    raise place.fault("must be a number, {mean, p95} with or without max (lognormal), or {min, max} (uniform)")


def _mixed(name: str, value: object, shared: Fields, place: Place, folder: Path) -> Class:
    """One class of a mix, on top of what the file says for all."""
    below = place.at("mix").at(name)
    if not _is_name(name):
        raise place.at("mix").fault(f"`{shown(name)}` is no name for a class; use letters, digits, `-` and `_`")
    own = section(value, below, "class")
    inherited = dict(shared)
    if "messages" in own:
        inherited = {key: held for key, held in shared.items() if key not in _SYNTHETIC}
    elif "prompt_tokens" in own:
        inherited.pop("messages", None)
    weight = number(own.get("weight", 1), below.at("weight"))
    places = {key: below if key in own else place for key in SHAPE_KEYS}
    return _class(inherited | own, below, folder, name=name, weight=weight, places=places)


def _class(
    fields: Fields,
    place: Place,
    folder: Path,
    *,
    name: str = "",
    weight: float = 1.0,
    places: dict[str, Place] | None = None,
    traced: bool = False,
) -> Class:
    """One class; `places` says for each key where it was written."""
    at = {key: (places or {}).get(key, place).at(key) for key in SHAPE_KEYS}
    given: dict[str, Any] = {"name": name, "weight": weight}
    if "messages" in fields:
        for key in _SYNTHETIC:
            if key in fields:
                raise at[key].fault("does not go with `messages`, which are the prompts; remove one of them")
        given["messages"] = _messages(fields["messages"], at["messages"], folder)
    elif not traced:
        for key in ("prompt_tokens", "completion_tokens"):
            if key not in fields:
                raise place.fault(f"`{key}` is missing; write for example `{key}: 500`")
        given["prompt"] = sizes(fields["prompt_tokens"], at["prompt_tokens"], least=distributions.LEAST_PROMPT)
        given["completion"] = sizes(fields["completion_tokens"], at["completion_tokens"])
    if "cached" in fields:
        given["cached"] = _cached(fields["cached"], at["cached"], given.get("prompt"))
    if "reasoning_tokens" in fields:
        given["reasoning_tokens"] = whole(fields["reasoning_tokens"], at["reasoning_tokens"], least=0, most=MOST_TOKENS)
    return Class(**given, **_limit(fields, at["output_limit"], given.get("completion")))


def _limit(fields: Fields, place: Place, completion: Sizes | None) -> dict[str, Any]:
    """What is reserved: a number, nothing (`none`), or by default as much as the answer should have."""
    if "output_limit" not in fields:
        return {}
    if fields["output_limit"] == "none":
        return {"unlimited": True}
    if not isinstance(fields["output_limit"], int | str):
        raise place.fault(f"`{shown(fields['output_limit'])}` is neither a number of tokens nor `none`")
    tokens = whole(fields["output_limit"], place, most=MOST_TOKENS)
    if completion is not None and tokens < (asked := _usual(completion)):
        raise place.fault(
            f"{tokens} is less than the {number_text(asked)} of `completion_tokens`: an answer ends at its limit; "
            "raise it or ask for less"
        )
    return {"limit": Fixed(tokens=tokens)}


def _lognormal(fields: Fields, place: Place, *, least: int) -> Lognormal:
    mean, p95 = number(fields["mean"], place.at("mean")), number(fields["p95"], place.at("p95"))
    if not least <= mean <= MOST_TOKENS:
        raise place.at("mean").fault(f"must be from {least:,} to {MOST_TOKENS:,}, not {shown(fields['mean'])}")
    if not 1 < p95 / mean <= distributions.MOST_SPREAD:
        raise place.fault(
            f"no lognormal has mean {mean:g} and p95 {p95:g}; p95 must be above the mean and at most "
            f"{distributions.MOST_SPREAD} times it"
        )
    if "max" not in fields:
        return Lognormal(mean=mean, p95=p95)
    most = whole(fields["max"], place.at("max"), most=MOST_TOKENS)
    if most < mean:
        raise place.at("max").fault(f"{most} is below the mean {mean:g}; raise it or lower the mean")
    return Lognormal(mean=mean, p95=p95, max=most)


def _cached(value: object, place: Place, prompt: Sizes | None) -> Cached:
    """A shared prefix; `prompt` is None where a trace brings the sizes, and there longer prefixes are cut."""
    fields = section(value, place, "cached")
    if "tokens" not in fields:
        raise place.fault("`tokens` is missing; write for example `tokens: 2048`")
    tokens = whole(fields["tokens"], place.at("tokens"), most=MOST_TOKENS)
    if tokens < LEAST_CACHED:
        raise place.at("tokens").fault(
            f"{tokens} is too few: Azure caches nothing under {LEAST_CACHED:,} tokens; raise it or remove `cached`"
        )
    if prompt is not None and tokens + distributions.LEAST_PROMPT > (asked := _shortest(prompt)):
        raise place.at("tokens").fault(
            f"{tokens} does not fit into prompts of {number_text(asked)} tokens, which need "
            f"{distributions.LEAST_PROMPT} of their own; lower it or raise `prompt_tokens`"
        )
    return Cached(tokens=tokens, prefixes=whole(fields.get("prefixes", 1), place.at("prefixes"), most=1_000_000))


def _shortest(prompt: Sizes) -> float:
    """The size that prompts have at least; of lognormal ones, which may be of any size, the mean."""
    return prompt.min if isinstance(prompt, Uniform) else _usual(prompt)


def _usual(sizes: Sizes) -> float:
    """The size that is not exceeded; of lognormal ones, which may be of any size, the mean."""
    match sizes:
        case Fixed(tokens=tokens):
            return tokens
        case Uniform(max=high):
            return high
        case Lognormal():
            return distributions.mean(sizes)


def _messages(value: object, place: Place, folder: Path) -> Messages:
    fields = section(value, place, "messages")
    return Messages(
        file=existing(fields, place, folder),
        order=choice(fields.get("order", "given"), place.at("order"), ("given", "random")),
    )


def existing(fields: Fields, place: Place, folder: Path) -> str:
    """The absolute path of the key `file`, which must be a file that can be read and is not empty."""
    if "file" not in fields:
        raise place.fault("`file` is missing; name the file, relative to the workload file")
    name = text(fields["file"], place.at("file"))
    at = place.at("file")
    try:
        path = (folder / name).resolve(strict=True)
        str(path).encode()  # it is stored, and handed to other processes
        regular = path.is_file()  # opening a pipe would wait for someone to write
        if regular:
            path.open("rb").close()
    except (OSError, ValueError, RuntimeError) as exc:  # no such file, a NUL in the name, a loop of links
        reason = (exc.strerror if isinstance(exc, OSError) else None) or "not a file name"
        raise at.fault(f"`{shown(name)}` can't be read ({reason}); relative names start at the workload file") from None
    if not regular:
        raise at.fault(f"`{shown(name)}` is not a file")
    if path.stat().st_size == 0:
        raise at.fault(f"`{shown(name)}` is empty; it needs at least one line")
    return str(path)


def _is_name(name: str) -> bool:
    return len(name) <= 64 and name.isascii() and name.replace("-", "").replace("_", "").isalnum()

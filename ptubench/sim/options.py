"""What is simulated: every parameter of a simulated deployment, with its default and its help.

The same keys stand in `--simulate MODEL:PTU,KEY=VALUE`, in `ptubench simulate --KEY` and in `target: {simulate: …}`.
What Azure does not publish is listed in `ASSUMED` and printed as assumed. Knows no sockets and no clock.
"""

import difflib
import math
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from ptubench import units
from ptubench.errors import UsageError
from ptubench.ptu import catalogue
from ptubench.ptu.capacity import Capacity, capacity

ASSUMED = ("depth", "estimate", "latency", "prefill", "load", "jitter", "cache_ttl")
"""Parameters of the service that Azure does not publish."""

# Both stand in headers of the answers.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Tokens = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
OneOrMore = Annotated[int, Meta(ge=1, le=1_000_000)]


_ALIKE = catalogue.Weights(input=1.0, cached=1.0, output=1.0)
_AMPLE = 1_000_000  # thousand tokens a minute


def _help(text: str) -> Meta:
    return Meta(description=text)


class SimOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated deployment; times in seconds. The help of each field says what it is."""

    model: Annotated[Name, _help("model as in the catalogue; any other name with ratio, tpm_per_ptu and tps")]
    ptu: Annotated[OneOrMore, _help("provisioned throughput units; standard: thousands of tokens a minute")]
    type: Annotated[
        Literal["ptu", "standard"], _help("ptu, or standard: a quota of tokens a minute, told in x-ratelimit headers")
    ] = "ptu"
    ratio: Annotated[Positive | None, _help("input tokens that an output token counts as; default: published")] = None
    tpm_per_ptu: Annotated[Positive | None, _help("input tokens a minute of one PTU; default: published")] = None
    tps: Annotated[Positive | None, _help("tokens per second that 99 % of calls exceed; default: published")] = None
    depth: Annotated[Positive, _help("depth of the bucket: seconds of full capacity that make 100 %")] = 60.0
    level: Annotated[
        float, Meta(ge=0, le=1), _help("level of the bucket at the start: a share of the depth, or full")
    ] = 0.0
    estimate: Annotated[Tokens, _help("output tokens reserved for a call without an output limit")] = 1000
    seed: Annotated[int, _help("fixes the jitter of each prompt's latency and speed")] = 0
    latency: Annotated[NotNegative, _help("time to the first token of a tiny prompt on an idle deployment")] = 0.25
    prefill: Annotated[Positive, _help("uncached prompt tokens read per second before the first token")] = 20_000.0
    load: Annotated[NotNegative, _help("growth of the time to the first token from idle to full; 1 doubles it")] = 0.5
    jitter: Annotated[
        float, Meta(ge=0, le=2), _help("spread of latency and speed: sigma of a lognormal; 0 is none")
    ] = 0.1
    answer: Annotated[OneOrMore, _help("completion tokens where the prompt does not ask for `N tokens`")] = 200
    reasoning: Annotated[Tokens, _help("hidden reasoning tokens before each answer")] = 0
    tokens_per_event: Annotated[OneOrMore, _help("tokens packed into an event, as a buffering filter does")] = 1
    cache: Annotated[bool, _help("prompt cache, on or off")] = True
    cache_ttl: Annotated[Positive, _help("how long an unused prompt prefix stays cached")] = 300.0
    overhead: Annotated[Tokens, _help("prompt tokens of a call beside its words")] = 7
    errors: Annotated[Share, _help("share of the calls that fail with 500 or 503")] = 0.0
    demand: Annotated[
        Share, _help("standard: share of the calls refused for high demand, though the quota has room")
    ] = 0.0
    in_band: Annotated[
        bool, _help("429s of streamed Responses come inside the stream, as response.failed: on or off")
    ] = False
    spill: Annotated[
        str | None, _help("MODEL:THOUSANDS, a standard deployment that serves what this one refuses; default: none")
    ] = None
    spill_slower: Annotated[Positive, _help("how many times slower what is spilled is answered (assumed)")] = 2.0
    deployment: Annotated[Name | None, _help("the only deployment name that exists; default: every name")] = None
    key_env: Annotated[str | None, _help("environment variable with the key to ask for; default: no key")] = None

    @property
    def label(self) -> str:
        """MODEL:PTU, or MODEL:standard, as in the header of every answer."""
        return f"{self.model}:{'standard' if self.type == 'standard' else self.ptu}"

    @property
    def second(self) -> "SimOptions":
        """The standard deployment that serves what this one spills; without `spill` the same model with ample quota.

        Raises:
            UsageError: `spill` is not MODEL:THOUSANDS, or names a model that is not known.
        """
        model, colon, thousands = (self.spill or f"{self.model}:{_AMPLE}").rpartition(":")
        if not colon or not thousands.isdecimal() or not 1 <= int(thousands) <= _AMPLE:
            raise UsageError(
                f"simulated deployment: `spill: {self.spill}` is not MODEL:THOUSANDS of tokens a minute, such as gpt-4.1:300"
            )
        known = catalogue.find(model)
        if known is None and model != self.model:
            raise _unknown_model(model, "simulated deployment: spill")
        speed = self.target_tps if model == self.model or known is None else known.target_tps
        return msgspec.structs.replace(
            self,
            model=model,
            ptu=int(thousands),
            type="standard",
            deployment=f"{model}-standard"[:64],
            tps=speed / self.spill_slower,
            latency=self.latency * self.spill_slower,
            prefill=self.prefill / self.spill_slower,
            depth=60.0,
            level=0.0,
            errors=0.0,
            spill=None,
        )

    @property
    def prompt_limit(self) -> int | None:
        """Longer prompts are refused, or spilled; None where nothing is published."""
        return None if self.type == "standard" or self.published is None else self.published.prompt_limit

    @property
    def published(self) -> catalogue.Model | None:
        """The catalogue's row; None for a model of the user's own."""
        return catalogue.find(self.model)

    @property
    def served(self) -> str:
        """The model name that answers carry, with its version."""
        return self.model if self.published is None else self.published.served

    @property
    def capacity(self) -> Capacity:
        """What the deployment takes in a minute; a quota counts every token alike.

        Raises:
            UsageError: a model of the user's own without `ratio` and `tpm_per_ptu`.
        """
        if self.type == "standard":
            return Capacity(ptu=self.ptu, tpm_per_ptu=1000.0, weights=_ALIKE, source="quota")
        found = capacity(self.model, self.ptu, ratio=self.ratio, tpm_per_ptu=self.tpm_per_ptu)
        if found is None:
            raise _unknown_model(self.model, "simulated deployment")
        return found

    @property
    def target_tps(self) -> float:
        """Tokens per second that 99 % of calls exceed.

        Raises:
            UsageError: a model of the user's own without `tps`.
        """
        if self.tps is not None:
            return self.tps
        if self.published is None:
            raise _unknown_model(self.model, "simulated deployment")
        return self.published.target_tps


class Parameter(NamedTuple):
    """One key as help and start-up text show it."""

    name: str
    default: Any
    """`msgspec.NODEFAULT` where it must be given."""
    help: str
    assumed: bool


def parameters() -> list[Parameter]:
    """Every key, in order."""
    hints = typing.get_type_hints(SimOptions, include_extras=True)
    return [
        Parameter(field.name, field.default, hints[field.name].__metadata__[-1].description, field.name in ASSUMED)
        for field in msgspec.structs.fields(SimOptions)
    ]


def parse(text: str, *, where: str = "--simulate") -> SimOptions:
    """Read "gpt-4.1:50" or "gpt-4.1:50,depth=30s,seed=3".

    Raises:
        UsageError: as `from_mapping`, or not of this form.
    """
    name, *settings = (part.strip() for part in text.split(","))
    model, colon, ptu = name.rpartition(":")
    if not colon:
        raise UsageError(f"{where}: `{name}` has no size; write MODEL:PTU, such as gpt-4.1:50")
    values = {"model": model, "ptu": ptu}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"{where}: `{setting}` is not KEY=VALUE, such as depth=30s")
        if key in values:
            raise UsageError(f"{where}: `{key}` is given twice; keep one")
        values[key] = value
    return from_mapping(values, where=where)


def from_mapping(values: Mapping[str, Any], *, where: str = "target.simulate") -> SimOptions:
    """Options from YAML, JSON or texts; times also as "30s", the level also as "80%" or "full".

    Raises:
        UsageError: an unknown or missing key, a senseless value, or a model that is neither known nor described.
    """
    known = SimOptions.__struct_fields__
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            way_out = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
            raise UsageError(f"{where}: unknown key `{key}`; {way_out}")
    for key in ("model", "ptu"):
        if key not in values:
            raise UsageError(f"{where}: `{key}` is missing; write both, such as {{model: gpt-4.1, ptu: 50}}")
    read = {key: _read(key, value, where) for key, value in values.items()}
    options = msgspec.convert(read, SimOptions)
    needed = {options.tps} if options.type == "standard" else {options.ratio, options.tpm_per_ptu, options.tps}
    if options.published is None and None in needed:
        raise _unknown_model(options.model, where)
    if options.demand and options.type != "standard":
        raise UsageError(
            f"{where}: `demand`: high demand refuses calls of a standard deployment only; say type=standard too"
        )
    if options.spill and options.type == "standard":
        raise UsageError(f"{where}: `spill`: only a PTU deployment spills to a standard one; leave one of them out")
    _ = options.second  # raises what is wrong with `spill`
    return options


def _read(key: str, value: Any, where: str) -> Any:
    """One value in its own type."""
    hint = typing.get_type_hints(SimOptions, include_extras=True)[key]
    meaning = hint.__metadata__[-1].description
    try:
        read = msgspec.convert(_READERS.get(key, _plain)(value), hint, strict=False)
    except ValueError as exc:
        fault = str(exc)
        raise UsageError(f"{where}: `{key}: {value}`: {fault[:1].lower()}{fault[1:]} ({meaning})") from None
    if isinstance(read, float) and not math.isfinite(read):
        raise UsageError(f"{where}: `{key}: {value}`: write a finite number ({meaning})")
    return read


def _plain(value: Any) -> Any:
    # Otherwise `true` would be read as 1.
    if isinstance(value, bool):
        raise ValueError("write a number or a name, not on or off")  # noqa: TRY004 - as all other readers
    return value


def _seconds(value: Any) -> Any:
    """A duration with its unit; a bare number is seconds, as all times here are."""
    if not isinstance(value, str):
        return _plain(value)
    try:
        return float(value)
    except ValueError:
        return units.duration(value)


def _level(value: Any) -> Any:
    return 1.0 if value == "full" else units.share(value)


def _switch(value: Any) -> Any:
    # YAML reads a bare on as true; a text from the command line stays one.
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


_READERS: dict[str, Callable[[Any], Any]] = {
    "depth": _seconds,
    "latency": _seconds,
    "cache_ttl": _seconds,
    "level": _level,
    "errors": units.share,
    "demand": units.share,
    "cache": _switch,
    "in_band": _switch,
}


def _unknown_model(model: str, where: str) -> UsageError:
    near = catalogue.nearest(model)
    guess = f"did you mean `{near[0]}`? For a model of your own" if near else "for a model of your own"
    return UsageError(f"{where}: unknown model `{model}`; {guess} give ratio, tpm_per_ptu and tps too")

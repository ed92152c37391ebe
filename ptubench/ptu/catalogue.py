"""Which models can be bought as PTU, and what one PTU of each takes: the published table as frozen data.

The table is `catalogue.yaml`, dated and with its source; it is read once, when first asked for. Knows no
deployment: sizes and overrides of one deployment are `ptu.capacity`.
"""

import difflib
import functools
import importlib.resources
import re
from types import MappingProxyType
from typing import Any

import msgspec
import yaml

from ptubench.secret import shown

DATED: str
"""Date of the published table, such as "2026-09-23"."""
SOURCE: str
"""The page it was taken from."""

_VERSION_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What a token counts as, in input tokens."""

    input: float = 1.0
    cached: float = 0.0
    output: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    version: str | None
    tpm_per_ptu: float
    """Normalized tokens that one PTU takes in a minute."""
    weights: Weights
    target_tps: float
    """Tokens per second that 99 % of calls exceed."""
    sizes: dict[str, tuple[int, int]]
    """Deployment type (`global`, `datazone`, `regional`) to minimum and increment in PTU; absent where not offered."""
    reasoning: bool = False
    """Hidden reasoning tokens; takes `max_completion_tokens` and refuses `max_tokens`."""
    prompt_limit: int | None = None
    """Longer prompts are refused with 400 on PTU deployments; None where nothing is published."""

    @property
    def served(self) -> str:
        """The name that answers carry: "gpt-4.1-2025-04-14"."""
        return self.name if self.version is None else f"{self.name}-{self.version}"


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"pooled": "global"}):
    """A row as it stands in the file, which explains the keys."""

    version: str | None = None
    tpm_per_ptu: float
    ratio: float | None = None
    weights: Weights | None = None
    target_tps: float
    pooled: tuple[int, int]
    regional: tuple[int, int] | None = None
    reasoning: bool = False
    prompt_limit: int | None = None

    def model(self, name: str) -> Model:
        if self.weights is None and self.ratio is None:
            raise ValueError(f"catalogue.yaml: {name} has neither `ratio` nor `weights`")
        sizes = {"global": self.pooled, "datazone": self.pooled}
        return Model(
            name=name,
            version=self.version,
            tpm_per_ptu=self.tpm_per_ptu,
            weights=self.weights or Weights(output=self.ratio or 0.0),
            target_tps=self.target_tps,
            sizes=sizes if self.regional is None else {**sizes, "regional": self.regional},
            reasoning=self.reasoning,
            prompt_limit=self.prompt_limit,
        )


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dated: str
    source: str
    models: dict[str, _Row]


def find(name: str) -> Model | None:
    """The model of that name, whatever its case and also with its version date ("gpt-4.1-2025-04-14")."""
    key = name.strip().lower()
    models = table()
    return models.get(key) or models.get(_VERSION_DATE.sub("", key))


@functools.lru_cache(maxsize=64)
def reasons(name: str) -> bool:
    """Whether it is the name of a model that reasons before it answers; of an unknown one nobody can tell."""
    known = find(name)
    return known is not None and known.reasoning


def nearest(name: str) -> list[str]:
    """Names that may have been meant, the best guess first; at most three."""
    close = difflib.get_close_matches(name.strip().lower(), table(), n=3)
    return [table()[key].name for key in close]


def unknown(name: str) -> str | None:
    """That there is no such model, in a sentence with the way out; None where there is one."""
    if find(name) is not None:
        return None
    near = nearest(name)
    guess = f"did you mean `{near[0]}`?" if near else "give --ratio and --tpm-per-ptu too"
    return f"`{shown(name)}` is not in the catalogue of {_file().dated}; {guess}"


@functools.cache
def table() -> MappingProxyType[str, Model]:
    """All models in the order of the published table, by lower-case name."""
    return MappingProxyType({name.lower(): row.model(name) for name, row in _file().models.items()})


@functools.cache
def _file() -> _File:
    text = importlib.resources.files(__package__).joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), _File)


def __getattr__(name: str) -> Any:
    # DATED and SOURCE stand in the file, which is read when one of them is asked for.
    if name in {"DATED", "SOURCE"}:
        return getattr(_file(), name.lower())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

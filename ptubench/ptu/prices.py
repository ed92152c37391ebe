"""What tokens cost on Standard (pay-as-you-go) deployments: the list prices as frozen data, and their arithmetic.

The table is `prices.yaml`, dated, each row with its source; it is read once, when first asked for. In dollars per
million tokens. A list price is no offer, and nothing that the table does not tell is guessed.
"""

import functools
import importlib.resources
from types import MappingProxyType

import msgspec
import yaml

from ptubench.ptu import catalogue

CURRENCY = "USD"


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dollars per million tokens of one model."""

    input: float
    cached: float | None = None
    """Of prompt tokens that were cached; None where it is not known."""
    output: float
    source: str
    """`official` or `third party`, as the file explains."""

    def of(self, prompt: float, cached: float, completion: float) -> float | None:
        """Dollars for so many tokens, `cached` a part of `prompt`; None if cached ones have no known price."""
        if cached and self.cached is None:
            return None
        return (self.input * (prompt - cached) + (self.cached or 0.0) * cached + self.output * completion) / 1e6


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dated: str
    models: dict[str, Price]


def find(model: str) -> Price | None:
    """The list price of that model, also by its name with a version date ("gpt-4.1-2025-04-14")."""
    known = catalogue.find(model)
    return None if known is None else table().get(known.name)


def table() -> MappingProxyType[str, Price]:
    """All prices by the catalogue's names."""
    return MappingProxyType(_file().models)


def dated() -> str:
    """When the prices were collected, such as "2026-11-22"."""
    return _file().dated


@functools.cache
def _file() -> _File:
    text = importlib.resources.files(__package__).joinpath("prices.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), _File)

"""List prices as frozen data: PTUs by the hour and reserved, and tokens on Standard (pay-as-you-go) deployments.

The table that ships is `prices.yaml`, dated, each row with its source; it is read once, when first asked for. `load` reads
another of the same form. A list price is no offer, and nothing that a table does not tell is guessed.
"""

import functools
import importlib.resources
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import yaml
from msgspec import Meta

from ptubench.errors import UsageError
from ptubench.ptu import catalogue
from ptubench.ptu.sizing import TYPES, Floats
from ptubench.secret import shown

CURRENCY = "USD"
"""Of the table that ships."""

_MOST_BYTES = 1 << 20
_Amount = Annotated[float, Meta(ge=0, le=1e9)]
Tokens = TypeVar("Tokens", float, Floats)
_Source = Annotated[str, Meta(min_length=1, max_length=100)]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money per million tokens of one model on a Global Standard deployment."""

    input: _Amount
    cached: _Amount | None = None
    """Of prompt tokens that were cached; None where it is not known."""
    output: _Amount
    source: _Source
    """`official` or `third party`, as the file explains; in a user's own table, whatever the user wrote."""

    @property
    def told(self) -> str:
        """In words, such as "2 input, 0.5 cached, 8 output"."""
        return f"{self.input:g} input, {'unknown' if self.cached is None else f'{self.cached:g}'} cached, {self.output:g} output"

    def of(self, prompt: Tokens, cached: Tokens, completion: Tokens) -> Tokens | None:
        """Money for so many tokens, `cached` a part of `prompt`; None if cached ones have no known price."""
        if self.cached is None and np.any(cached):
            return None
        return (self.input * (prompt - cached) + (self.cached or 0.0) * cached + self.output * completion) / 1e6


class PtuPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money for one PTU of one deployment type; None where a term has no known price."""

    hour: _Amount | None = None
    month: _Amount | None = None
    """A 1-month reservation."""
    year: _Amount | None = None
    """A 1-year reservation, for the whole year."""
    source: _Source


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table: everything in one currency, collected on one day."""

    dated: date
    currency: Annotated[str, Meta(pattern=r"^[A-Za-z]{3}$")] = CURRENCY
    ptu: dict[str, PtuPrice] = {}
    """By deployment type: `global`, `datazone`, `regional`."""
    standard: dict[str, _Amount] = {}
    """What tokens cost on Standard deployments of each type, as a factor of the models' (Global) prices."""
    models: dict[str, Price] = {}

    @property
    def called(self) -> str:
        """What they are: a table of one's own has no list prices."""
        return "list prices" if self == shipped() else "your prices"

    def of_model(self, model: str) -> Price | None:
        """The price of a model's tokens, also by its name with a version date ("gpt-4.1-2025-04-14")."""
        wanted = _name(model)
        return next((price for name, price in self.models.items() if _name(name) == wanted), None)


def _name(model: str) -> str:
    """As the catalogue spells it, where it knows it."""
    known = catalogue.find(model)
    return model if known is None else known.name


def find(model: str) -> Price | None:
    """The list price of that model in the table that ships."""
    return shipped().of_model(model)


def dated() -> str:
    """When the prices that ship were collected, such as "2026-11-22"."""
    return shipped().dated.isoformat()


def source(price: Price) -> str:
    """Which prices were reckoned with, in words: of what date, from whom, how much."""
    return f"Global Standard list price of {dated()} ({price.source}), {CURRENCY} per million tokens: {price.told}"


def unknown(model: str | None) -> str:
    """That the table that ships has no price for a model, in words; None is one that nobody named."""
    name = "a model that nobody named (give `--model`)" if model is None else f"`{model[:60]}`"
    return f"the prices of {dated()} have no list price for {name}"


@functools.cache
def shipped() -> Prices:
    """The table that ships."""
    text = importlib.resources.files(__package__).joinpath("prices.yaml").read_text(encoding="utf-8")
    return _read(text)


def load(path: Path) -> Prices:
    """The user's own table, which replaces the one that ships.

    Raises:
        UsageError: the file can't be read or is not of the same form; names the key.
    """
    where = f"--prices {shown(path, most=200)}"
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise UsageError(f"{where}: larger than 1 MiB; a table of prices is a page of text")
        found = _read(raw.decode("utf-8-sig"))
    except OSError as exc:
        raise UsageError(f"{where}: can't be read ({exc.strerror}); docs/choosing-a-size.md has its form") from None
    except msgspec.ValidationError as exc:
        raise UsageError(f"{where}: {shown(exc, most=300)}; docs/choosing-a-size.md has the form") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        # ValueError, OverflowError: not UTF-8, and escapes such as "\\U00110000" that name no character.
        raise UsageError(f"{where}: not YAML; docs/choosing-a-size.md has the form") from None
    unknown = sorted({*found.ptu, *found.standard} - set(TYPES))
    if unknown:
        raise UsageError(f"{where}: `{shown(unknown[0])}` is no deployment type; write {', '.join(TYPES)}")
    return found


class _Loader(yaml.BaseLoader):
    """Every scalar as text: no YAML reader's guess turns a date or a name into something else."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: with them a page of text can say more than any memory holds."""
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise msgspec.ValidationError(f"line {line}: an alias (`*NAME`) is not supported; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's own
        """Refuse a key that stands twice: which price would it be?"""
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise msgspec.ValidationError(f"line {key.start_mark.line + 1}: `{shown(key.value)}` stands twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _read(text: str) -> Prices:
    plain = yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes text, lists and mappings and nothing else
    for part, form in (("ptu", PtuPrice), ("models", Price)):
        entries = plain.get(part) if isinstance(plain, dict) else None
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            _entry(f"{part}.{shown(name)}", entry, form)
    return msgspec.convert(plain, Prices, strict=False)


def _entry(place: str, entry: object, form: type[msgspec.Struct]) -> None:
    """Refuse a broken price by its name, which msgspec leaves out."""
    try:
        msgspec.convert(entry, form, strict=False)
    except msgspec.ValidationError as exc:
        raise msgspec.ValidationError(f"{place}: {exc}") from None

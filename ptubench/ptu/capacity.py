"""What a PTU deployment takes in a minute, in normalized tokens.

Normalized tokens are input-token equivalents: uncached prompt + output ratio · completion, with a further weight
for cached prompt tokens where the model has one (GPT-6). Pure arithmetic; a number here is an estimate from the
published table, not what the service measured.
"""

from typing import TYPE_CHECKING, Any, overload

import msgspec

from ptubench.ptu import catalogue
from ptubench.ptu.catalogue import Weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TYPED, _TPM = "as typed", "TPM per PTU"


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The published capacity of `ptu` units of one model."""

    ptu: int
    tpm_per_ptu: float
    weights: Weights
    source: str
    """Where the figures come from: "catalogue of 2026-09-23", "as typed" or both."""

    @property
    def tpm(self) -> float:
        """Normalized tokens a minute."""
        return self.ptu * self.tpm_per_ptu

    @property
    def per_second(self) -> float:
        """Normalized tokens a second."""
        return self.tpm / 60

    @overload
    def normalized(self, prompt: float, cached: float, completion: float) -> float: ...
    @overload
    def normalized(
        self, prompt: "NDArray[Any]", cached: "NDArray[Any] | float", completion: "NDArray[Any] | float"
    ) -> "NDArray[np.float64]": ...
    def normalized(self, prompt: Any, cached: Any, completion: Any) -> Any:
        """Normalized tokens of calls, by their token counts; `cached` is the part of `prompt` that was cached.

        w_in · (prompt − cached) + w_cached · cached + w_out · completion. Numbers or arrays of equal length.
        """
        weights = self.weights
        return weights.input * (prompt - cached) + weights.cached * cached + weights.output * completion


def capacity(
    model: str | None, ptu: int | None, *, ratio: float | None = None, tpm_per_ptu: float | None = None
) -> Capacity | None:
    """The capacity of `ptu` units of `model`; `ratio` and `tpm_per_ptu` replace the catalogue's figures.

    None where what is given does not suffice: no size, or a model that the catalogue does not know (or none at
    all) without both overrides.
    """
    row = catalogue.find(model) if model is not None else None
    weights = row.weights if row is not None else None
    if ratio is not None:
        weights = Weights(output=ratio) if weights is None else msgspec.structs.replace(weights, output=ratio)
    rate = tpm_per_ptu if tpm_per_ptu is not None or row is None else row.tpm_per_ptu
    if ptu is None or weights is None or rate is None:
        return None
    return Capacity(ptu=ptu, tpm_per_ptu=rate, weights=weights, source=_source(ratio, tpm_per_ptu))


def by_whom(source: str) -> str:
    """Where the tokens a minute of one PTU come from, by the `source` of a capacity: the word "typed", or "published"."""
    return "typed" if source == _TYPED or _TPM in source else "published"


def _source(ratio: float | None, tpm_per_ptu: float | None) -> str:
    typed = [name for name, value in (("ratio", ratio), (_TPM, tpm_per_ptu)) if value is not None]
    if len(typed) == 2:
        return _TYPED
    published = f"catalogue of {catalogue.DATED}"
    return f"{published}, {typed[0]} {_TYPED}" if typed else published

"""A target that is a simulated deployment: what is known of it without asking."""

import msgspec

from ptubench.sim.options import SimOptions
from ptubench.target.model import Target


def described(target: Target, options: SimOptions) -> Target:
    """The same target with the model, size and kind of the simulated deployment that it is."""
    standard = options.type == "standard"
    return msgspec.structs.replace(
        target,
        simulate=msgspec.to_builtins(options),
        model=options.model,
        ptu=None if standard else options.ptu,
        type="standard" if standard else target.type,
        spillover=options.second.deployment if options.spill else None,
        ratio=options.ratio,
        tpm_per_ptu=options.tpm_per_ptu,
        ptu_source="the simulated deployment",
    )

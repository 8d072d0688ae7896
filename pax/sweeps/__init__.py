"""Many runs of one config: `python -m pax.sweeps`."""

from pax.sweeps.sweep import load_sweep, product, zip

__all__ = ["load_sweep", "product", "zip"]

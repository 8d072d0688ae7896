"""Many runs of one config: `python -m pax.sweeps`."""

from pax.sweeps.in_python import Sweep, train
from pax.sweeps.sweep import load_sweep, product, zip

__all__ = ["Sweep", "load_sweep", "product", "train", "zip"]

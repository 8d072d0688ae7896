"""The callbacks that ship with Pax, for configs and scripts that call them `callbacks.Video` and so on.

They are in `pax.callbacks`; nothing in `pax` imports this package.
"""

from pax.callbacks import *  # noqa: F403
from pax.callbacks import __all__  # noqa: F401

"""Hooks of experiments: the stock callbacks by name, and three short ones to copy.

`callbacks.Video` in a config is `pax.callbacks.Video`. The files beside this one are examples: a metric of
one's own (`reward_gap.py`), a state that survives an interruption (`best_so_far.py`), and a result that is
written at the end (`learning_curves.py`). A config names them as `callbacks.reward_gap.RewardGap`. They come
with an installed Pax as `pax.callbacks.examples`, and nothing else in `pax` imports them.
"""

from pax.callbacks import *  # noqa: F403
from pax.callbacks import __all__  # noqa: F401

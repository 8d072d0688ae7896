"""What ships with Pax. A config names a callback by its dotted path: these, or your own."""

from pax.callbacks.checkpoint import Checkpoint
from pax.callbacks.curves import Curves
from pax.callbacks.early_stop import EarlyStop
from pax.callbacks.evaluation import Evaluation
from pax.callbacks.pictures import Pictures
from pax.callbacks.profile import Profile
from pax.callbacks.progress import Progress
from pax.callbacks.scalars import Scalars
from pax.callbacks.values_by_state import ValuesByState
from pax.callbacks.video import Video
from pax.callbacks.wandb import WandB
from pax.callbacks.welfare import Welfare
from pax.callbacks.within_a_trial import WithinATrial

__all__ = [
    "Checkpoint",
    "Curves",
    "EarlyStop",
    "Evaluation",
    "Pictures",
    "Profile",
    "Progress",
    "Scalars",
    "ValuesByState",
    "Video",
    "WandB",
    "Welfare",
    "WithinATrial",
]

"""What ships with Pax. A config names a callback by its dotted path: these, or your own."""

from callbacks.checkpoint import Checkpoint
from callbacks.early_stop import EarlyStop
from callbacks.evaluation import Evaluation
from callbacks.pictures import Pictures
from callbacks.profile import Profile
from callbacks.progress import Progress
from callbacks.scalars import Scalars
from callbacks.video import Video
from callbacks.wandb import WandB

__all__ = [
    "Checkpoint",
    "EarlyStop",
    "Evaluation",
    "Pictures",
    "Profile",
    "Progress",
    "Scalars",
    "Video",
    "WandB",
]

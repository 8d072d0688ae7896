"""What the networks of a training setting have to do in an iteration, as numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pax.agents.actor_critic import ActorCritic
from pax.agents.networks.actor_critic import is_image
from pax.agents.ppo import PPO
from pax.agents.shaper import MFOS
from pax.envs.spaces import Dict, Discrete, Space
from pax.roles import Role
from pax.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class Part:
    """The network of one role: how often it acts, and what it learns from, in one iteration of one device."""

    groups: int
    """Policies side by side, each with its own parameters."""
    rows: int
    """What each acts on at once: environments, opponents and seats."""
    steps: int
    episodes: int
    distinct: int
    """Observations, where they are integers; else 0."""
    features: int
    """Numbers that an observation has, pixels of images that go through convolutions left out."""
    patches: tuple[int, int, int] | None
    """Of a layer of convolutions: how many, numbers in each, and channels."""
    layers: tuple[int, ...]
    """Widths of dense layers before the output or the GRU."""
    stacks: int
    """How often there are these layers."""
    hidden: int
    """Of the GRU, or 0."""
    cells: int
    """GRUs."""
    outputs: int
    choices: int
    """Actions to choose from; 0: they are numbers."""
    gradient_steps: tuple[int, int, int] | None = None
    """Epochs, minibatches of each, and steps per sequence, of who learns."""


def parts_of(trainer: MetaTrainer, sizes: dict[str, int]) -> list[Part]:
    """Returns the networks of a trainer's roles as they are on one of its devices; tables and strategies too.

    Args:
        trainer: with one dense or convolutional torso per network.
        sizes: `num_envs`, `num_opps` and `num_outer_steps`.
    """
    candidates = max([r.learner.num_candidates for r in trainer.roles if r.learner], default=1)
    found = []
    for role in trainer.roles:
        if isinstance(role.agent, ActorCritic):
            found.append(_part(role, role.agent, trainer, sizes, candidates))
    return found


def _part(
    role: Role, agent: ActorCritic, trainer: MetaTrainer, sizes: dict[str, int], candidates: int
) -> Part:
    if role.learner:
        groups, rows = role.learner.num_candidates, sizes["num_opps"] * sizes["num_envs"]
        learns = not role.learner.num_candidates > 1
    else:
        groups, rows = candidates * sizes["num_opps"], sizes["num_envs"]
        learns = role.learns_in_trial
    space, actions = agent.observation_space, agent.action_space
    features, patches = _inputs(space, agent.conv_channels)
    layers: tuple[int, ...] = ()
    if agent.network == "mlp":
        layers = (agent.hidden_size,) * agent.num_layers
    elif agent.embed or isinstance(agent, MFOS):
        layers = (agent.hidden_size,)
    if agent.network == "table":
        patches = None
    cells = 0
    if agent.recurrent:
        cells = (3 if getattr(agent, "critic", True) else 2) if isinstance(agent, MFOS) else 1
    steps = None
    if learns and isinstance(agent, PPO):
        rollout = trainer.env.num_inner_steps * (sizes["num_outer_steps"] if role.learner else 1)
        length = (agent.sequence_length or rollout) if agent.recurrent else 1
        steps = (agent.num_epochs, agent.num_minibatches, length)
    choices = actions.n if isinstance(actions, Discrete) else 0
    return Part(
        groups=max(1, groups * trainer.num_seeds // trainer.placement.num_devices),
        rows=rows * len(role.seats),
        steps=trainer.env.num_inner_steps,
        episodes=sizes["num_outer_steps"],
        distinct=space.n if isinstance(space, Discrete) else 0,
        features=features,
        patches=patches,
        layers=layers,
        stacks=2 if agent.separate_critic else max(cells, 1),
        hidden=agent.hidden_size if agent.recurrent else 0,
        cells=cells,
        outputs=(choices or _size(actions)) + 1,
        choices=choices,
        gradient_steps=steps,
    )


def _size(space: Space) -> int:
    if isinstance(space, Dict):
        return sum(_size(part) for _, part in space.parts)
    return space.n if isinstance(space, Discrete) else math.prod(space.shape)


def _inputs(space: Space, channels: Sequence[int]) -> tuple[int, tuple[int, int, int] | None]:
    features, patches = 0, None
    for part in [part for _, part in space.parts] if isinstance(space, Dict) else [space]:
        if is_image(part) and channels:
            height, width, depth = part.shape
            height, width = (size if size < 5 else size - 2 for size in (height, width))
            patches = (height * width, 9 * depth, channels[0])
        else:
            features += _size(part)
    return features, patches

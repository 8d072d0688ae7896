"""PPO across trials: the settings by which what happens between episodes is learned, and counts."""

from __future__ import annotations

from ml_collections import ConfigDict

# As published (Lu et al. 2022): what the next episodes bring has to count now.
DISCOUNT = 0.995
# Discounted sums over hundreds of steps become numbers that a network of this size learns quickly.
REWARD_SCALE = 0.05
# Sequences of several episodes learn nearly as much as those of a long trial, and side by side.
EPISODES = 5
SHORT_TRIAL = 1000
"""Steps up to which a sequence is the whole trial."""


def learn_from_trials(config: ConfigDict) -> None:
    """Sets up the roles that remember a trial and learn by PPO across trials, once all sizes are known."""
    for name in config.roles:
        role = config[name]
        if role.learner.type != "gradient" or role.type not in ("Shaper", "MFOS"):
            continue
        role.discount, role.reward_scale = DISCOUNT, REWARD_SCALE
        steps = config.num_outer_steps * config.num_inner_steps
        whole = steps <= SHORT_TRIAL or config.num_outer_steps % EPISODES
        role.sequence_length = 0 if whole else EPISODES * config.num_inner_steps
        sequences = config.num_opps * steps // (role.sequence_length or steps)
        if role.get("context", "none") == "none":
            # Otherwise those of one opponent stay together.
            sequences *= config.num_envs * len(role.seats)
        role.num_minibatches = max(
            number for number in range(1, role.num_minibatches + 1) if sequences % number == 0
        )

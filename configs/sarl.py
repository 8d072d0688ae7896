"""Single-agent reinforcement learning: any environment of gymnax.

    python -m pax.main --config=configs/sarl.py:cartpole

A variant is a name of gymnax, or one of those below; `,memory` adds a GRU, `,quicktest` takes seconds.
"""

from ml_collections import ConfigDict

from pax.config.sections import base_config, game, role
from pax.errors import ConfigError, nearest

NAMES = {"cartpole": "CartPole-v1", "acrobot": "Acrobot-v1", "pendulum": "Pendulum-v1"}
VARIANTS = {
    "cartpole": "PPO on CartPole-v1: at least 450 of 500 per episode within 150,000 steps",
    "cartpole,memory": "PPO_memory on CartPole-v1: learns slowly, some 150 within 160,000 steps",
    "acrobot": "PPO on Acrobot-v1: better than -100 per episode",
    "pendulum": "PPO on Pendulum-v1, with continuous actions: about -200 per episode",
    "Catch-bsuite": "PPO on Catch-bsuite: 1 per episode",
}
OPTIONS = ("memory", "quicktest")
MIN_STEPS = 500
# Rewards of every step tell how the pendulum does: looking far ahead only adds noise.
SETTINGS = {"Pendulum-v1": {"discount": 0.9, "entropy_coeff": 0.0}}
PPO = {
    "discount": 0.99,
    "learning_rate": 2.5e-3,
    "entropy_coeff": 0.01,
    "hidden_size": 64,
    "head_init": "orthogonal",
    "num_epochs": 8,
    "num_minibatches": 8,
    # Values are up to 100 here: small steps towards them take too long.
    "clip_value": False,
    # Down to 0 over the 40 iterations.
    "learning_rate_horizon": 40 * 8 * 8,
}


def get_config(argument: str = "cartpole") -> ConfigDict:
    # Imported late: it takes a second, which only its users should wait for.
    from gymnax import registered_envs

    variant, *given = argument.split(",")
    name = NAMES.get(variant, variant)
    if name not in registered_envs:
        raise ConfigError(
            f"there is no variant {variant!r}: {nearest(variant, [*NAMES, *registered_envs])}"
        )
    for option in given:
        if option not in OPTIONS:
            raise ConfigError(
                f"variant {variant} has no option {option!r}: choose from {', '.join(OPTIONS)}"
            )
    config = base_config()
    config.env = game("Gymnax", name=name)
    # An episode of which only the time limit is certain has to end within a rollout to be counted.
    steps = max(MIN_STEPS, int(config.env.get("max_steps_in_episode", 0)))
    config.num_inner_steps, config.num_envs = steps, 8
    config.num_iters = 40
    config.roles = ("agent1",)
    settings = PPO | SETTINGS.get(name, {})
    if "memory" in given:
        config.agent1 = role("PPO_memory", 0, **settings, embed=True, sequence_length=20)
    else:
        config.agent1 = role("PPO", 0, **settings, separate_critic=True)
    config.evaluation.as_trained = ConfigDict()
    config.callbacks.evaluation.every = 20
    if "quicktest" in given:
        config.num_inner_steps, config.num_iters, config.chunk = 20, 2, 1
        for callback in ("scalars", "evaluation", "checkpoint"):
            config.callbacks[callback].every = 1
    return config

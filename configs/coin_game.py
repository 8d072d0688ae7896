"""The coin game: taking a coin pays 1, and costs the other 2 if it was of the other's colour.

    python -m pax.main --config=configs/coin_game.py:ppo_memory

A variant is `<learner>[,opponent=<opponent>][,quicktest]`, or `advantage_alignment`, or `loqa`, or, for whole
learning lifetimes, `<shaper>[,opponent=ppo|ppo_memory|tabular][,context=avg|att][,small]`; `python -m
pax.main --list` shows them all.
"""

from configs import _games as games
from pax.config import game, parse_variant, role

STRATEGIES = {
    "good_greedy": "GoodGreedy",
    "evil_greedy": "EvilGreedy",
    "random_greedy": "RandomGreedy",
    "own_coins": "OwnCoins",
    "always_cooperate": "AlwaysCooperate",
    "stay": "Stay",
}
INDEPENDENT = {
    "self": "both take most of the coins that they can reach, some 10 each per episode",
    "shared": "one policy for both: takes whatever coin is near",
    "evil_greedy": "takes whatever coin is near",
    "good_greedy": "takes whatever coin is near, and earns more than the other",
    "own_coins": "takes whatever coin is near, and earns more than the other",
    "stay": "takes every coin, 1 per coin",
}
META = {
    "shaper": "not run (expected: earns more than its opponents, which learn to leave coins to it)",
    "shaper,context=avg": "the same, with the memory mixed over environments: not run (expected: the same)",
    "shaper,context=att": "the same, with attention over environments: not run (expected: the same)",
    "gs": "not run (expected: earns more than its opponents)",
    "mfos_es": "not run (expected: earns more than its opponents)",
    "mfos_rl": "takes coins faster than they learn to: .6 per step, they lose as much (small)",
    "marl2": "takes coins faster than they learn to: .6 per step, they lose as much (small)",
    "shaper,small": "for two cores: earns less than its opponents, -0.16 / 0.25, after 100 generations",
}
ALIGNED = {
    "advantage_alignment": "one coin at a time, against itself: each takes its own, .3 per step",
    "loqa": "one coin at a time, against itself: each takes its own, .3 per step",
}
# What changes the game, and how.
OPTIONS = {
    "absolute": {"egocentric": False},
    "cnn": {"cnn": True},
    "one_coin": {"one_coin": True},
}


def _family(env_settings) -> games.Family:
    env = game("CoinGame", **{"egocentric": True, **env_settings})
    cnn = {"conv_channels": (16, 16)} if env_settings.get("cnn") else {}
    return games.Family(
        env=env,
        num_players=2,
        steps=16,
        network={"hidden_size": 16, "head_init": "orthogonal", **cnn},
        feed_forward={"num_layers": 1},
        recurrent={"embed": True, "sequence_length": 4},
        ppo={
            "learning_rate": 0.005,
            "entropy_coeff": 0.02,
            "num_epochs": 2,
            "num_minibatches": 8,
        },
        strategies=STRATEGIES,
        independent={"num_envs": 100, "num_iters": 500},
        meta={"num_outer_steps": 600, "num_envs": 100, "num_iters": 1000},
        small={"num_outer_steps": 100, "num_envs": 20, "num_iters": 100, "popsize": 32},
        evolution={"popsize": 1000, "sigma": 0.04, "learning_rate": 0.05},
    )


VARIANTS = games.variants(_family({}), INDEPENDENT, META) | {
    "ppo_memory,absolute": "PPO_memory against itself, seeing the grid as it is: takes fewer coins",
    "ppo,cnn": "PPO with convolutions against itself",
    "ppo,one_coin": "PPO against itself with one coin at a time and no staying",
    "shaper,opponent=tabular": "Shaper by evolution against Tabular: "
    "not run (expected: earns more than its opponents)",
    "tabular": "Tabular against itself, on all 9^4 positions: slow, and takes what is near",
    **{name: f"PPO_memory by {name}, {outcome}" for name, outcome in ALIGNED.items()},
}


def get_config(argument: str = "ppo"):
    """Takes a variant: `absolute`, `cnn` and `one_coin` change the game; `tabular` is also a learner."""
    parts = argument.split(",")
    settings = {}
    for name in set(parts[1:]) & set(OPTIONS):
        settings |= OPTIONS[name]
    rest = [parts[0], *(part for part in parts[1:] if part not in OPTIONS)]
    if rest[0] in ALIGNED:
        return _aligned(",".join(rest), _family({**settings, "one_coin": True}))
    if rest[0] != "tabular":
        if rest[0] in games.SHAPERS and "opponent=tabular" in rest:
            # A shaper sees planes, and those whom it shapes the number of the situation.
            settings |= {"tabular": True, "tabular_players": (1,)}
            rest = ["opponent=ppo" if part == "opponent=tabular" else part for part in rest]
            return _with_tables(games.get_config(",".join(rest), _family(settings)), ["agent2"])
        return games.get_config(",".join(rest), _family(settings))
    parse_variant(
        ",".join(rest), ["tabular"], {"opponent": ["self", *STRATEGIES], "quicktest": None}
    )
    rest[0] = "ppo"
    config = games.get_config(",".join(rest), _family({**settings, "tabular": True}))
    return _with_tables(config, config.roles)


def _aligned(argument, family):
    """Players that take each other's advantages into account, in the published game of 50 steps."""
    learner, given = parse_variant(argument, ALIGNED, {"quicktest": None})
    config = games.get_config("ppo_memory", family)
    config.num_inner_steps, config.num_envs, config.num_iters = 50, 128, 1500
    for seat in range(2):
        config[f"agent{seat + 1}"] = family.agent(
            "PPO_memory",
            seat,
            # LOQA counts steps by how unlikely the other's action was, seldom more than a tenth.
            learner={"type": learner, "weight": 20.0 if learner == "loqa" else 5.0},
            hidden_size=32,
            sequence_length=10,
            discount=0.96,
            # Longer estimates make them cooperate with everybody, defectors as well.
            gae_lambda=0.5,
            entropy_coeff=0.1,
        )
    for name in ("always_cooperate", "evil_greedy"):
        config.evaluation[name] = {"agent2": role(STRATEGIES[name], 1)}
    if "quicktest" in given:
        games.make_quick(config)
    return config


def _with_tables(config, names):
    """The PPO learners among these roles keep a table."""
    for name in names:
        if config[name].type == "PPO":
            config[name].type, config[name].network = "Tabular", "table"
            config[name].learning_rate = 0.1
    return config

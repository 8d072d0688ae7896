"""Meta-games: an agent that plays whole learning lifetimes of its opponents in a matrix game."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from pax.config import base_config, parse_variant, role

# What plays, and who improves it across trials.
SHAPERS: Mapping[str, tuple[str, str]] = {
    "shaper": ("Shaper", "evolution"),
    "gs": ("PPO", "evolution"),
    "mfos_es": ("MFOS", "evolution"),
    "mfos_rl": ("MFOS", "gradient"),
    "marl2": ("Shaper", "gradient"),
}
# Settings of a shaper in a world that varies from opponent to opponent.
TASKS: Mapping[str, ConfigDict] = {
    "hardstop": ConfigDict({"type": "hard_stop"}),
    "mixed_lr": ConfigDict({"type": "mixed_learning_rate", "role": "agent2"}),
    "mixed_payoff": ConfigDict({"type": "mixed_payoff"}),
    "mixed_payoff_per_generation": ConfigDict({"type": "mixed_payoff", "per_generation": True}),
    "mixed_payoff_input": ConfigDict({"type": "mixed_payoff"}),
    "mixed_payoff_only_opponent": ConfigDict({"type": "noisy_opponent_payoff"}),
    "mixed_ipd_payoff": ConfigDict({"type": "mixed_ipd_payoff"}),
}
CONTEXTS = ("none", "avg", "att")
VARIANTS = (*SHAPERS, *TASKS)
# By whom the shaper is met: they start afresh in every trial and learn after every episode of it.
CO_PLAYERS: Mapping[str, tuple[str, dict[str, object]]] = {
    "tabular": ("Tabular", {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}),
    "ppo": ("PPO", {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}),
    "ppo_memory": ("PPO_memory", {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}),
    "naive": ("Naive", {"learning_rate": 1.0}),
}
STRATEGIES = ("Open_ES", "CMA_ES", "PGPE", "SimpleGA", "SNES")


def describe(outcomes: Mapping[str, str]) -> dict[str, str]:
    """One line per variant: what it is, and what to expect.

    Args:
        outcomes: by variant, what to expect.
    """
    lines = {}
    for name, (agent, learner) in SHAPERS.items():
        how = "evolution" if learner == "evolution" else "PPO across trials"
        lines[name] = f"{agent} by {how} against tabular PPO learners: {outcomes[name]}"
    for context in CONTEXTS[1:]:
        lines[f"shaper,context={context}"] = f"Shaper with context {context}: {outcomes['shaper']}"
    for name in TASKS:
        lines[name] = f"Shaper by evolution, {outcomes[name]}"
    for name in ("shaper", "gs", "mfos_es"):
        lines[f"{name},small"] = f"{name} for two cores and a few minutes: {outcomes[name]}"
    return lines


def get_config(
    argument: str, env: ConfigDict, fixed: Mapping[str, str], show_payoff_to: tuple[int, ...] = (0,)
) -> ConfigDict:
    """A shaper on the first seat, a learner on the second.

    Args:
        argument: `<variant>[,opponent=...][,context=...][,strategy=...][,<task> ...][,small|quicktest]`.
        env: the game.
        fixed: strategies that never learn, by the name they have in this game.
        show_payoff_to: the players to whom `mixed_payoff_input` shows what is played for.
    """
    options = {
        "opponent": [*CO_PLAYERS, *fixed],
        "context": CONTEXTS,
        "strategy": STRATEGIES,
        **dict.fromkeys(TASKS),
        "small": None,
        "quicktest": None,
    }
    variant, given = parse_variant(argument, VARIANTS, options)
    agent, learner = SHAPERS.get(variant, SHAPERS["shaper"])
    tasks = [name for name in TASKS if name == variant or name in given]

    config = base_config()
    config.env = env
    config.num_inner_steps = 100
    config.num_outer_steps = 100
    config.num_envs = 2
    config.num_opps = 10
    config.num_iters = 1000
    config.chunk = 1
    config.roles = ("agent1", "agent2")
    settings: dict[str, object] = {}
    if "context" in given:
        settings["context"] = given["context"]
    if learner == "evolution":
        strategy = given.get("strategy", "Open_ES")
        settings["evolution"] = {
            "strategy": strategy,
            "popsize": 1000,
            "sigma_decay": 0.999,
            "learning_rate_decay": 0.9999,
            "optimizer": "adam" if strategy in ("Open_ES", "PGPE") else "default",
            "fitness_shaping": "z_score" if strategy == "Open_ES" else "default",
        }
    else:
        settings |= {"learning_rate": 3e-3, "num_minibatches": 4, "sequence_length": 100}
    config.agent1 = role(agent, 0, learner=learner, **settings)
    opponent = given.get("opponent", "tabular")
    if opponent in CO_PLAYERS:
        kind, co_player = CO_PLAYERS[opponent]
        config.agent2 = role(kind, 1, learner="none", learns_in_trial=True, **co_player)
    else:
        config.agent2 = role(fixed[opponent], 1)
    for name in tasks:
        config.tasks[name] = TASKS[name]
    if "mixed_payoff_input" in tasks:
        config.env.show_payoff_to = show_payoff_to
    config.evaluation.as_trained = ConfigDict()
    if "small" in given:
        _make_small(config)
    if "quicktest" in given:
        _make_quick(config)
    for name in ("scalars", "checkpoint", "evaluation"):
        every = {"scalars": 1, "checkpoint": 10, "evaluation": 50}[name]
        config.callbacks[name].every = every if "quicktest" not in given else 1
    return config


def _make_small(config: ConfigDict) -> None:
    """The same game at a size that two cores play to its known outcome in minutes."""
    config.num_opps = 4
    config.num_iters = 150
    if config.agent1.learner == "evolution":
        config.agent1.evolution.popsize = 128


def _make_quick(config: ConfigDict) -> None:
    """Seconds, to see that everything works."""
    config.num_inner_steps, config.num_outer_steps = 10, 3
    config.num_opps, config.num_iters = 2, 2
    if config.agent1.learner == "evolution":
        config.agent1.evolution.popsize = 8
    else:
        config.agent1.sequence_length = 10
    if "sequence_length" in config.agent2:
        config.agent2.sequence_length = 5

"""Meta-games: an agent that plays whole learning lifetimes of its opponents in a matrix game."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from configs._trials import learn_from_trials
from pax.config import base_config, parse_variant, role
from pax.errors import ConfigError

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
# Other ways to train: who else plays, and for how long.
TRAINING = ("shuffled", "self_play", "persistent")
# Other ways to be judged, beside playing on as trained.
EVALUATIONS = ("eval_hard_stop", "eval_blinded")
CONTEXTS = ("none", "avg", "att")
VARIANTS = (*SHAPERS, *TASKS)
# Besides these, `self` is a second agent of the same kind that is trained as well, and `shared` has one agent
# play both seats. These start afresh in every trial and learn after every episode of it.
CO_PLAYERS: Mapping[str, tuple[str, dict[str, object]]] = {
    "tabular": ("Tabular", {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}),
    "ppo": ("PPO", {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}),
    "ppo_memory": ("PPO_memory", {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}),
    "naive": ("Naive", {"learning_rate": 1.0}),
}
STRATEGIES = ("Open_ES", "CMA_ES", "PGPE", "SimpleGA", "SNES")


def describe(outcomes: Mapping[str, str]) -> dict[str, str]:
    """Returns one line per variant: what it is, and what to expect.

    Args:
        outcomes: by variant, what to expect.
    """
    lines = {}
    for name, (agent, learner) in SHAPERS.items():
        how = "evolution" if learner == "evolution" else "PPO across trials"
        lines[name] = f"{agent} by {how} against tabular PPO learners: {outcomes[name]}"
    for context in CONTEXTS[1:]:
        lines[f"shaper,context={context}"] = f"Shaper with context {context}: {outcomes[context]}"
    for name in TASKS:
        lines[name] = f"Shaper by evolution, {outcomes[name]}"
    for name in ("opponent=self", "opponent=shared", *TRAINING, *EVALUATIONS):
        lines[f"shaper,{name}"] = f"Shaper by evolution, {outcomes[name]}"
    for name in ("shaper", "gs", "mfos_es"):
        lines[f"{name},small"] = f"{name} for two cores and a few minutes: {outcomes[name]}"
    return lines


def get_config(
    argument: str, env: ConfigDict, fixed: Mapping[str, str], show_payoff_to: tuple[int, ...] = (0,)
) -> ConfigDict:
    """Returns a shaper on the first seat, a learner on the second.

    Args:
        argument: `<variant>[,opponent=...][,context=...][,strategy=...][,<flag> ...]`, flags being tasks,
            other ways to train and to be judged, `small` and `quicktest`.
        env: the game.
        fixed: strategies that never learn, by the name they have in this game.
        show_payoff_to: the players to whom `mixed_payoff_input` shows what is played for.
    """
    options = {
        "opponent": [*CO_PLAYERS, *fixed, "self", "shared"],
        "context": CONTEXTS,
        "strategy": STRATEGIES,
        **dict.fromkeys((*TASKS, *TRAINING, *EVALUATIONS, "small", "quicktest")),
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
        if agent != "Shaper":
            raise ConfigError(
                f"option context is one of Shaper, and {variant} plays {agent}: leave it out"
            )
        settings["context"] = given["context"]
    if variant == "mfos_es":
        settings["critic"] = False
    if learner == "evolution":
        strategy = given.get("strategy", "Open_ES")
        settings["learner"] = {
            "type": "evolution",
            "strategy": strategy,
            "popsize": 1000,
            # Less of it, or z-scores, and some seeds never leave mutual defection.
            "sigma": 0.2,
            "sigma_decay": 0.999,
            "learning_rate_decay": 0.9999,
            "optimizer": "adam" if strategy in ("Open_ES", "PGPE") else "default",
            "fitness_shaping": "centered_rank" if strategy == "Open_ES" else "default",
        }
    else:
        settings |= {"learner": learner, "learning_rate": 3e-3, "num_minibatches": 4}
    config.agent1 = role(agent, 0, **settings)
    opponent = given.get("opponent", "tabular")
    if "persistent" in given and opponent not in CO_PLAYERS:
        raise ConfigError(
            f"persistent is about who learns in a trial, and opponent is {opponent}: choose one of "
            f"{', '.join(CO_PLAYERS)}"
        )
    if opponent == "self":
        config.agent2 = role(agent, 1, **settings)
    elif opponent == "shared":
        config.roles = ("agent1",)
        config.agent1.seats = (0, 1)
    elif opponent in CO_PLAYERS:
        kind, co_player = CO_PLAYERS[opponent]
        config.agent2 = role(kind, 1, learner="none", learns_in_trial=True, **co_player)
    else:
        config.agent2 = role(fixed[opponent], 1)
    for name in tasks:
        config.tasks[name] = TASKS[name]
    if "mixed_payoff_input" in tasks:
        config.env.show_payoff_to = show_payoff_to
    if "small" in given:
        _make_small(config)
        if variant == "mfos_es":
            # Slower to leave mutual defection.
            config.num_iters = 120
    if "quicktest" in given:
        _make_quick(config)
    learn_from_trials(config)
    _add_training(config, given)
    _add_evaluations(config, given)
    for name in ("scalars", "checkpoint", "evaluation"):
        every = {"scalars": 1, "checkpoint": 10, "evaluation": 50}[name]
        config.callbacks[name].every = every if "quicktest" not in given else 1
    return config


def _add_training(config: ConfigDict, given: Mapping[str, str]) -> None:
    """Who else plays, and for how long."""
    if "shuffled" in given:
        config.tasks.shuffled_seats = ConfigDict()
    if "self_play" in given:
        # At first mostly against itself, from half-way on only against others.
        config.agent1.self_play_seats = (1,)
        config.tasks.annealed_self_play = ConfigDict({"horizon": max(config.num_iters // 2, 1)})
    if "persistent" in given:
        config.agent2.reset_every = 10


def _add_evaluations(config: ConfigDict, given: Mapping[str, str]) -> None:
    """How the frozen shaper is judged."""
    config.evaluation.as_trained = ConfigDict()
    if "eval_hard_stop" in given:
        # The opponents' learning ends half-way, and play goes on.
        stop = ConfigDict({"at": config.num_outer_steps // 2})
        config.evaluation.hard_stop = ConfigDict({"tasks": {"hard_stop": stop}})
    if "eval_blinded" in given:
        # In half of the environments the shaper sees nothing of what happens.
        blinded = ConfigDict({"role": "agent1", "num_blind": max(config.num_envs // 2, 1)})
        config.evaluation.blinded = ConfigDict({"tasks": {"blinded": blinded}})


def _make_small(config: ConfigDict) -> None:
    """The same game at a size that two cores play to its known outcome in minutes."""
    config.num_opps = 4
    config.num_iters = 100
    for name in config.roles:
        if config[name].learner.type == "evolution":
            config[name].learner.popsize = 128


def _make_quick(config: ConfigDict) -> None:
    """Seconds, to see that everything works."""
    config.num_inner_steps, config.num_outer_steps = 10, 3
    config.num_opps, config.num_iters = 2, 2
    for name in config.roles:
        if config[name].learner.type == "evolution":
            config[name].learner.popsize = 8
        elif "sequence_length" in config[name]:
            config[name].sequence_length = 5

"""Builds the variants `coala[,mixed][,mfos|batch_unaware][,small][,quicktest]` of a game.

One or several meta-agents learn by COALA-PG, or another form of its estimator, from whole trials against
agents who learn after every episode (Meulemans et al. 2025, arxiv.org/abs/2410.18636).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.config import base_config, defaults, parse_variant, role
from pax.configs import _helper as helper
from pax.errors import ConfigError
from pax.tasks import mixed_pool

FORMS = ("mfos", "batch_unaware")
# What the published runs have in common. Nothing follows the end of a trial, so that nothing is discounted.
META: dict[str, Any] = {"agent": "Shaper", "hidden_size": 32, "embed": True, "sequence_length": 0}
META |= {"discount": 1.0, "gae_lambda": 1.0, "num_epochs": 4, "num_minibatches": 2}
META |= {"max_gradient_norm": 1.0, "entropy_coeff": 0.0}
# Advantage actor-critic: PPO of one step from all that happened in an episode, and nothing follows it.
A2C: dict[str, Any] = {"num_epochs": 1, "num_minibatches": 1, "bootstrap_on_time_limit": False}
A2C |= {"discount": 0.99, "gae_lambda": 1.0, "entropy_coeff": 0.0, "max_gradient_norm": 1.0}
QUICK: dict[str, Any] = {"num_inner_steps": 4, "num_outer_steps": 3, "num_envs": 4, "num_opps": 4}
QUICK |= {"num_iters": 2, "chunk": 1, **helper.every(scalars=1, checkpoint=1, evaluation=1)}


def read_options(argument: str) -> dict[str, str]:
    """Returns the options of a variant by name, `form` among them.

    Raises:
        ConfigError: that tells what there is, if the argument says something else.
    """
    options = dict.fromkeys((*FORMS, "mixed", "small", "quicktest"))
    _, given = parse_variant(argument, ["coala"], options)
    forms = [form for form in FORMS if form in given]
    if len(forms) > 1:
        raise ConfigError(
            f"mfos and batch_unaware are two forms of one estimator: choose one in {argument}"
        )
    return {**given, "form": forms[0] if forms else "coala"}


def build(
    given: Mapping[str, str],
    env: ConfigDict,
    sizes: Mapping[str, Any],
    meta: Mapping[str, Any],
    naive: Mapping[str, Any],
    *,
    num_agents: int,
    num_initial_states: int = 10,
    td_lambda: float = 1.0,
    naive_copies: bool = False,
    balance_after: int = 0,
) -> ConfigDict:
    """Returns the config: `agent1` learns across trials, `agent2` in them, and `partner` makes a mixed pool.

    Args:
        given: what `read_options` has read.
        env: the game, of two players.
        sizes: of the run, such as `num_envs`.
        meta: settings of the meta-agents.
        naive: settings of the agents who learn in a trial.
        num_agents: how many meta-agents a mixed pool has.
        num_initial_states: from how many states naive learners start, unless they are copies.
        td_lambda: of the learner.
        naive_copies: whether the naive learners of a mixed pool start as copies of its meta-agents.
        balance_after: of the learner, in mixed pools.
    """
    config = base_config()
    config.env = env
    config.update({"chunk": 10, **helper.every(scalars=10, checkpoint=100, evaluation=100)})
    config.update(sizes)
    learner = {"type": "coala", "form": given["form"], "td_lambda": td_lambda}
    config.roles = ("agent1", "agent2")
    config.agent2 = role(seat=1, **naive, learner="none", learns_in_trial=True)
    if "mixed" in given:
        learner |= {"num_agents": num_agents, "balance_after": balance_after}
        config.roles = (*config.roles, "partner")
        taken_over: dict[str, Any] = {
            "seats": (),
            "self_play_seats": (1,),
            "member_of": "agent1",
        }
        config.partner = role(seat=1, **meta, learner="none", **taken_over)
        config.tasks.mixed_pool = defaults(mixed_pool, naive=0.75)
    if "mixed" in given and naive_copies:
        config.agent2.member_of = "agent1"
    else:
        config.agent2.num_initial_states = num_initial_states
    config.agent1 = role(seat=0, **meta, learner=learner)
    # Evaluations are of trials against others.
    name = "against_learners" if "mixed" in given else "as_trained"
    config.evaluation[name] = ConfigDict()
    if "quicktest" in given:
        config.update(QUICK)
    return config

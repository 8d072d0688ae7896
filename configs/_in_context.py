"""Builds the variants `in_context[,step=...|without_tables|told][,small][,quicktest]` of a matrix game.

In one long episode, agents meet either each other or a random memory-one strategy, and nobody tells them
which: they find out, and respond (in-context co-player inference, Weis et al. 2026,
arxiv.org/abs/2602.16301).
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from pax.config import base_config, defaults, parse_variant, role
from pax.configs import _helper as helper
from pax.errors import ConfigError
from pax.tasks import mixed_pool

IN_CONTEXT: dict[str, Any] = {
    "agent": "PPO_memory",
    "hidden_size": 128,
    "embed": True,
    "sequence_length": 0,
}
IN_CONTEXT |= {"learning_rate": 1e-3, "reward_scale": 0.02, "discount": 0.99, "gae_lambda": 0.95}
IN_CONTEXT |= {
    "num_epochs": 4,
    "num_minibatches": 2,
    "entropy_coeff": 0.01,
    "max_gradient_norm": 1.0,
}
# The steps of the published argument, each a run of its own, and runs of the pool with one thing changed.
STEPS = ("best_response", "extortion", "two_extortioners")
ABLATIONS = ("without_tables", "told")
# What two cores need.
SMALL_ITERS = {"best_response": 400, "extortion": 400, "two_extortioners": 200}


def in_context(argument: str, env: ConfigDict) -> ConfigDict:
    """Returns a variant `in_context[,step=...|without_tables|told][,small][,quicktest]`.

    The steps go from one to the next by policies that were exported: `extortion` needs that of the player who
    learned the best response, `--config.agent2.path=.../policies/agent1.msgpack`, and `two_extortioners` the
    extortioner's as the path of both. A small pool learns to cooperate from copies of the one who learned the
    best response, `--config.agent1.path=.../policies/agent1.msgpack`.
    """
    options = dict.fromkeys((*ABLATIONS, "small", "quicktest")) | {"step": STEPS}
    _, given = parse_variant(argument, ["in_context"], options)
    ablations = [name for name in ABLATIONS if name in given]
    step = given.get("step")
    if len(ablations) + ("step" in given) > 1:
        raise ConfigError(
            f"step, without_tables and told are runs of their own: choose one in {argument}"
        )
    config = base_config()
    config.env = env
    config.num_inner_steps = 100
    # Environments of one opponent share its table.
    config.num_envs, config.num_opps, config.num_iters = 4, 1024, 10000
    config.update({"chunk": 10, **helper.every(scalars=10, checkpoint=100, evaluation=100)})
    player, strategies = dict(IN_CONTEXT), {}
    if step:
        player |= {"entropy_coeff": 0.001}
    if "small" in given:
        player |= {"hidden_size": 32, "entropy_coeff": 0.01}
        # Who finds out whom it meets wins .22 per step on always defecting, and .05 if they are uniform.
        strategies = {"concentration": 0.1}
        config.num_opps, config.num_iters = 128, SMALL_ITERS.get(step or "", 150)
    config.roles = ("agent1", "agent2")
    if step == "two_extortioners":
        # Both begin with what extorted: --config.agent1.path=... --config.agent2.path=...
        config.agent1, config.agent2 = (role(seat=seat, **player) for seat in range(2))
    elif step == "extortion":
        # The policy that responds best: --config.agent2.path=...
        config.agent1 = role(seat=0, **player)
        config.agent2 = role(seat=1, **player, learner="frozen")
    elif step == "best_response":
        config.agent1 = role(seat=0, **player)
        config.agent2 = role(agent="RandomMemoryOne", seat=1, **strategies, learner="none")
    else:
        by = {"type": "coala", "form": "batch_unaware", "num_agents": 2}
        config.roles = ("agent1", "agent2", "partner")
        config.agent1 = role(seat=0, **player, learner=by)
        config.agent2 = role(agent="RandomMemoryOne", seat=1, **strategies, learner="none")
        taken_over: dict[str, Any] = {
            "seats": (),
            "self_play_seats": (1,),
            "member_of": "agent1",
        }
        config.partner = role(seat=1, **player, learner="none", **taken_over)
        naive = 0.0 if "without_tables" in given else 0.5
        config.tasks.mixed_pool = defaults(mixed_pool, naive=naive, told="told" in given)
    # Of a pool, evaluations are of episodes against others.
    config.evaluation["as_trained" if step else "against_strategies"] = ConfigDict()
    if "quicktest" in given:
        config.update({"num_inner_steps": 4, "num_envs": 2, "num_opps": 4})
        config.update(
            {"num_iters": 2, "chunk": 1, **helper.every(scalars=1, checkpoint=1, evaluation=1)}
        )
    return config

"""Warm starts: which parameters of another policy are taken, by whom, and what is told."""

import zlib

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import MetaTrainer, Role
from pax.agents import PPO, PPOMemory, TitForTat
from pax.checkpoints.policies import _HEADER, _MAGIC, FORMAT, save_policy
from pax.checkpoints.warm_start import load_warm_starts, replace_params
from pax.config import role
from pax.config.build import build_role, build_trainer
from pax.configs import ipd
from pax.envs import CoinGame, IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError
from pax.evaluation.job import evaluate_checkpoint
from pax.learners import COALA, Evolution, Frozen, Gradient, Learner

ENV = IteratedMatrixGame(num_inner_steps=4)
AGENT = PPO.for_env(ENV, num_minibatches=1)
HEADS = [f"Heads_0/{head}/{kind}" for head in ("policy", "value") for kind in ("bias", "kernel")]
HIDDEN = ["Dense_0/bias", "Dense_1/bias", "Dense_1/kernel"]


def numbered(agent, number):
    """Parameters of an agent that are all one number, which no initialisation gives."""
    params = jax.eval_shape(agent.init, jax.random.key(0)).params
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, number, leaf.dtype), params)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Policies of the coin game, one per seed: it has other observations and five actions."""
    folder = tmp_path_factory.mktemp("policies")
    other = PPO.for_env(CoinGame(num_inner_steps=4))
    for seed, number in enumerate((7.0, 8.0)):
        path = folder / f"agent1_seed_{seed}.msgpack"
        save_policy(path, agent=other.describe(), params=numbered(other, number))
    save_policy(folder / "same.msgpack", agent=AGENT.describe(), params=numbered(AGENT, 9.0))
    save_policy(
        folder / "other.msgpack", agent={}, params={"Dense_0": {"kernel": jnp.zeros((5, 2))}}
    )
    whole = {"Dense_0": {"bias": np.arange(16)}, "x": np.zeros(2)}
    save_policy(folder / "whole.msgpack", agent={}, params=whole)
    return folder


def make_role(folder, path="agent1_seed_0.msgpack", parts="", learner=None, agent=AGENT):
    path = folder / path if path else ""
    learner = Gradient(agent) if learner is None else learner
    return Role("agent1", agent, (0,), learner, warm_start=path, warm_start_parts=parts)


def make_trainer(warm, num_seeds=1, **settings):
    roles = [warm, Role("agent2", TitForTat.for_env(ENV, 1), (1,))]
    return MetaTrainer(ENV, roles, num_envs=4, num_seeds=num_seeds, quiet=True, **settings)


def by_name(params):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(params)
    }


@pytest.mark.parametrize(
    ("parts", "taken"),
    [
        ("", HIDDEN + HEADS[2:]),
        ("Dense_1", ["Dense_1/bias", "Dense_1/kernel"]),
        ("*/bias", ["Dense_0/bias", "Dense_1/bias", "Heads_0/value/bias"]),
        ("Heads_0/value, Dense_0", ["Dense_0/bias", *HEADS[2:]]),
    ],
)
def test_what_fits_by_name_and_shape_is_taken_and_the_rest_is_fresh(folder, parts, taken):
    start = load_warm_starts([make_role(folder, parts=parts)], 1)["agent1"]
    assert sorted(start.params) == sorted(taken)
    fresh = AGENT.init(jax.random.key(3)).params
    found, before = by_name(replace_params(fresh, start.params)), by_name(fresh)
    assert found.keys() == before.keys()
    for name, values in found.items():
        expected = np.full(before[name].shape, 7.0) if name in taken else before[name]
        np.testing.assert_array_equal(values, expected, err_msg=name)
        assert values.dtype == before[name].dtype


def test_it_is_told_what_was_taken_and_what_not(folder):
    start = load_warm_starts([make_role(folder, parts="Dense_*")], 1)["agent1"]
    assert start.lines() == [
        f"Warm start of agent1: 3 of 8 parameters are those of {folder}/agent1_seed_0.msgpack",
        "  taken: Dense_0/bias [16], Dense_1/bias [16], Dense_1/kernel [16, 16]",
        "  fresh: Dense_0/kernel [5, 16] (there [36, 16]), Heads_0/policy/bias [2] (there [5]), "
        "Heads_0/policy/kernel [16, 2] (there [16, 5]), Heads_0/value/bias [1] (not asked for), "
        "Heads_0/value/kernel [16, 1] (not asked for)",
        "  left there: Dense_0/kernel [36, 16], Heads_0/policy/bias [5], Heads_0/policy/kernel [16, 5], "
        "Heads_0/value/bias [1], Heads_0/value/kernel [16, 1]",
    ]
    all_of_it = load_warm_starts([make_role(folder, "same.msgpack")], 1)["agent1"].lines()
    assert len(all_of_it) == 2 and "8 of 8 parameters" in all_of_it[0]


def test_whole_numbers_are_no_weights(folder):
    """`Dense_0/bias` there has the name and the shape, but counts something."""
    with pytest.raises(ConfigError, match="no parameter of agent1"):
        load_warm_starts([make_role(folder, "whole.msgpack")], 1)


@pytest.mark.parametrize("init_mean", [None, "zeros"])
def test_every_seed_starts_with_its_own(folder, init_mean):
    """By gradient, and by evolution from zeros, of which the rest stays zero."""
    evolution = Evolution(AGENT, popsize=4, top_k=2, init_mean=init_mean or "network")
    learner = evolution if init_mean else Gradient(AGENT)
    warm = make_role(folder, "agent1_seed_{seed}.msgpack", "Dense_1", learner)
    trainer = make_trainer(warm, num_seeds=2)
    trainer.state = trainer._compiled.initial_state()
    assert trainer.evaluations == ("as_trained",)
    first, second = (by_name(trainer.agent("agent1", seed).state.params) for seed in (0, 1))
    for found, number in ((first, 7.0), (second, 8.0)):
        np.testing.assert_array_equal(found["Dense_1/kernel"], np.full((16, 16), number))
    assert (first["Dense_0/kernel"] == second["Dense_0/kernel"]).all() == bool(init_mean)
    assert (first["Dense_0/kernel"] == 0).all() == bool(init_mean)


def test_agents_side_by_side_start_with_the_same():
    def change(params):
        return params | {"Dense_1": jax.tree.map(lambda leaf: leaf * 0 + 7.0, params["Dense_1"])}

    learner = COALA(AGENT, "batch_unaware", num_agents=2)
    params = by_name(learner.starting_with(change).init(jax.random.key(0)).params)
    np.testing.assert_array_equal(params["Dense_1/kernel"], np.full((2, 16, 16), 7.0))
    assert (params["Dense_0/kernel"][0] != params["Dense_0/kernel"][1]).any()
    # The learner and the agent that were given are as they were.
    assert (by_name(learner.init(jax.random.key(0)).params)["Dense_1/bias"] == 0).all()


def test_one_policy_serves_all_seeds_and_the_rest_is_as_without(folder):
    plain, warm = (
        make_trainer(make_role(folder, path, "Heads_0" if path else ""), num_seeds=2)
        for path in ("", "same.msgpack")
    )
    for trainer in (plain, warm):
        trainer.state = trainer._compiled.initial_state()
    for seed in (0, 1):
        found, before = (by_name(t.agent("agent1", seed).state.params) for t in (warm, plain))
        for name, values in found.items():
            expected = np.full_like(values, 9.0) if name.startswith("Heads_0") else before[name]
            np.testing.assert_array_equal(values, expected, err_msg=name)


def test_it_is_logged_once_where_the_run_begins(folder, caplog):
    caplog.set_level("INFO", logger="absl")
    trainer = make_trainer(make_role(folder))
    trainer.quiet = False
    for _ in range(2):
        trainer._begin()
    told = [text for text in caplog.messages if text.startswith("Warm start of agent1: 5 of 8")]
    assert len(told) == 1 and "\n  taken: Dense_0/bias [16]" in told[0]


def test_a_config_names_it(folder):
    path = str(folder / "agent1_seed_0.msgpack")
    section = role("PPO", 0, warm_start=path, warm_start_parts="Dense_1")
    built = build_role("agent1", section, ENV)
    assert (built.warm_start, built.warm_start_parts) == (path, "Dense_1")
    assert isinstance(built.learner, Gradient) and built.learner.initial is None


class Own(Learner):
    """One that keeps its agent to itself."""

    def update(self, state, experience):
        return state, {}


ALL = r"Dense_0/bias \[16\], .*, Heads_0/value/kernel \[16, 1\]"
WRONG = {
    "no file": ({"path": "none.msgpack"}, "warm_start of role agent1: no policy file .*none.msgpack"),
    "a folder": ({"path": "."}, "warm_start of role agent1: .* is a folder, and no policy: give one of its"),
    "no such seed": (
        {"path": "agent1_seed_{seed}.msgpack", "seeds": 3},
        "no policy file .*agent1_seed_2.msgpack: check the path",
    ),
    "no policy": ({"path": "text.msgpack"}, "text.msgpack is not a policy file"),
    "an object": ({"path": "object.msgpack"}, r"holds no policy \(its parameters are no arrays\)"),
    "nothing fits": (
        {"path": "other.msgpack"},
        rf"no parameter of agent1, which has {ALL}, .* which has Dense_0/kernel \[5, 2\]: give the",
    ),
    "a pattern of nothing": (
        {"parts": "Dense_1,torso*"},
        rf"names 'torso\*', and nothing of that name fits: agent1 has {ALL}, and .* has {ALL}; give "
        "patterns for some of Dense_0/bias, Dense_1/bias",
    ),
    "a pattern of another shape": ({"parts": "Heads_0/policy"}, "names 'Heads_0/policy', and nothing"),
    "parts of nothing": ({"path": "", "parts": "torso"}, "parts is 'torso' .* warm_start names no policy"),
    "frozen": ({"learner": Frozen(1)}, "a frozen role plays a whole policy: give path"),
    "two starts": (
        {"learner": Gradient(AGENT, AGENT.init(jax.random.key(0)))},
        "starts from a whole policy already: give one of path and warm_start",
    ),
    "own learner": ({"learner": Own()}, "Own keeps no agent of which to change the first parameters"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_warm_start_is_told(folder, wrong):
    (folder / "text.msgpack").write_text("policy")
    # Intact, and not what it should hold.
    body = flax.serialization.msgpack_serialize({"agent": "{}", "params": {"w": "text"}})
    header = _HEADER.pack(_MAGIC, FORMAT, zlib.crc32(body), len(body))
    (folder / "object.msgpack").write_bytes(header + body)
    settings, sentence = WRONG[wrong]
    own = {name: value for name, value in settings.items() if name != "seeds"}
    with pytest.raises((ConfigError, CheckpointError), match=sentence) as told:
        make_trainer(make_role(folder, **own), num_seeds=settings.get("seeds", 1))
    assert "\n" not in str(told.value)


def test_policies_of_seeds_are_of_one_kind(folder):
    memory = PPOMemory.for_env(ENV)
    save_policy(folder / "mixed_0.msgpack", agent={}, params=numbered(AGENT, 1.0))
    save_policy(folder / "mixed_1.msgpack", agent={}, params=numbered(memory, 1.0))
    with pytest.raises(CheckpointError, match=r"mixed_1.* has other parameters \(cell/bias \[16\]"):
        load_warm_starts([make_role(folder, "mixed_{seed}.msgpack")], 2)


def test_who_has_no_learner_or_is_only_evaluated_starts_so_in_vain(folder):
    path = folder / "same.msgpack"
    fresh = Role("agent1", AGENT, (0,), learns_in_trial=True, warm_start=path)
    with pytest.raises(ConfigError, match="which no learner trains across trials"):
        make_trainer(fresh)
    other = Role("agent1", AGENT, (0,), Gradient(AGENT), warm_start=path)
    with pytest.raises(ConfigError, match="in what replaces agent1 in an evaluation, where nobody"):
        make_trainer(make_role(folder, ""), evaluations={"mine": {"agent1": other}})
    with pytest.raises(ConfigError, match="warm_start of role agent1 is 3: give the path"):
        Role("agent1", AGENT, (0,), Gradient(AGENT), warm_start=3)


def test_a_run_is_evaluated_after_what_it_began_with_is_gone(tmp_path):
    config = ipd.get_config("ppo,quicktest")
    config.agent1.warm_start = "gone.msgpack"
    config.agent1.warm_start_parts = "Dense_0"
    with pytest.raises(CheckpointError, match="no policy file .*gone.msgpack"):
        build_trainer(config, str(tmp_path))
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        evaluate_checkpoint(tmp_path, config)

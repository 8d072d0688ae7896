"""Moving averages of policies: what they are, when there are none, and where they can be had."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pax
from callbacks import Checkpoint, Evaluation
from pax import MetaTrainer, Role
from pax.agents import AGENTS, Tabular, TitForTat
from pax.checkpoints.policies import load_policy
from pax.config import role
from pax.config.build import build_role
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.evaluation.players import find_policies
from pax.learners import Evolution, Frozen, Gradient
from pax.loop.averages import update_averages
from pax.types import TrainingState
from tests.programs import sharing

ENV = IteratedMatrixGame(num_inner_steps=4)
AGENT = Tabular.for_env(ENV, num_epochs=1, num_minibatches=1, learning_rate=0.1)
LEARNERS = {
    "gradient": lambda: Gradient(AGENT),
    "evolution": lambda: Evolution(AGENT, popsize=4, top_k=2),
}
SEEDS = 2


def make_trainer(learner="gradient", decay=0.5, workdir=None):
    callbacks = [Evaluation(every=2), Checkpoint(every=2, export_every=2)] if workdir else []
    trainer = MetaTrainer(
        ENV,
        [
            Role("agent1", AGENT, (0,), LEARNERS[learner](), ema_decay=decay),
            Role("agent2", TitForTat.for_env(ENV, 1), (1,)),
        ],
        num_envs=4,
        num_seeds=SEEDS,
        chunk=1,
        callbacks=callbacks,
        default_callbacks=False,
        workdir=workdir,
        quiet=True,
    )
    return sharing(trainer, "test_averages", learner, decay)


def table(trainer, name="agent1"):
    return np.stack([trainer.agent(name, seed).state.params["table"] for seed in range(SEEDS)])


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_average_is_what_its_definition_says(learner):
    """The weights of p_1, p_2, p_3 with d = 0.5 are 1/7, 2/7, 4/7; the first parameters have none."""
    trainer = make_trainer(learner)
    trainer.state = trainer._compiled.initial_state()
    np.testing.assert_array_equal(table(trainer, "agent1_average"), table(trainer))
    after = []
    for updates in (1, 2, 3):
        trainer.fit(updates)
        after.append(table(trainer))
    assert all(np.abs(one - other).max() > 1e-3 for one, other in itertools.pairwise(after))
    expected = (after[0] + 2 * after[1] + 4 * after[2]) / 7
    np.testing.assert_allclose(table(trainer, "agent1_average"), expected, rtol=1e-5, atol=1e-6)


def averages_of(values, decay):
    """The averages of parameters and a counter after each update."""
    player = Role("agent1", AGENT, (0,), Gradient(AGENT), ema_decay=decay)
    state = TrainingState({}, (), jnp.zeros(1, jnp.int32))
    averages = {"agent1": {"x": jnp.full((1, 3), 7.0), "count": jnp.zeros(1, jnp.int32)}}
    for t, x in enumerate(values, 1):
        params = {"x": jnp.float32(x), "count": jnp.full(1, t)}
        learners = {"agent1": dataclasses.replace(state, params=params)}
        averages = update_averages([player], averages, learners, jnp.int32(t))
        yield averages["agent1"]


VALUES = np.random.default_rng(0).normal(size=(20, 1, 3))


def test_an_average_is_that_of_optax_with_its_correction():
    ema = optax.ema(0.9, debias=True)
    state = ema.init(jnp.zeros((1, 3)))
    for x, average in zip(VALUES, averages_of(VALUES, 0.9), strict=True):
        expected, state = ema.update(jnp.float32(x), state)
        np.testing.assert_allclose(average["x"], expected, rtol=1e-4, atol=1e-6)


def test_a_decay_close_to_one_gives_the_plain_mean_and_counters_are_taken_as_they_are():
    *_, average = averages_of(VALUES, 1 - 1e-9)
    np.testing.assert_allclose(average["x"], VALUES.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert average["count"] == 20


def test_without_a_decay_nothing_is_kept_or_computed(monkeypatch):
    """The program is the one of a loop that knows of no averages."""
    plain, on = make_trainer(decay=0.0), make_trainer()
    program = str(plain._compiled.trace(1))
    paths = jax.tree.leaves_with_path(plain._compiled.abstract_state())
    assert not any("average" in jax.tree_util.keystr(path) for path, _ in paths)
    assert plain.evaluations == ("as_trained",)
    assert on.evaluations == ("as_trained", "as_trained_average")
    for name in ("first_averages", "update_averages"):
        monkeypatch.setattr(f"pax.loop.iteration.{name}", lambda *_: {})
    assert program == str(plain._compiled.trace(1))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    trainer = make_trainer(workdir=tmp_path_factory.mktemp("run"))
    trainer.fit(4)
    return trainer


def test_a_run_that_went_on_has_the_average_of_one_that_was_never_stopped(uninterrupted, tmp_path):
    make_trainer(workdir=tmp_path).fit(2)
    resumed = make_trainer(workdir=tmp_path)
    resumed.fit(4)
    expected = table(uninterrupted, "agent1_average")
    np.testing.assert_array_equal(table(resumed, "agent1_average"), expected)
    assert np.abs(expected - table(uninterrupted)).max() > 1e-3


def test_averages_are_exported_beside_the_policies_and_played_like_them(uninterrupted):
    folder = uninterrupted.workdir / "policies"
    names = [f"agent1{kind}_seed_{seed}.msgpack" for kind in ("", "_average") for seed in (0, 1)]
    for part in (folder, folder / "2", folder / "4"):
        assert sorted(path.name for path in part.glob("*.msgpack")) == sorted(names)
    for seed, expected in enumerate(table(uninterrupted, "agent1_average")):
        saved = load_policy(folder / f"agent1_average_seed_{seed}.msgpack").params["table"]
        np.testing.assert_array_equal(saved, expected)
        player = pax.load_agent(uninterrupted.workdir, "agent1_average", seed=seed)
        np.testing.assert_array_equal(player.state.params["table"], expected)
    # The policy itself is what is meant where no name is given.
    assert pax.load_agent(uninterrupted.workdir).name == "agent1_seed_0"
    assert uninterrupted.agent().name == "agent1"
    found, errors = find_policies([str(folder)])
    assert ({file.path.name for file in found}, errors) == (set(names), [])


def test_evaluations_report_both(uninterrupted):
    """The one of averages is that of a frozen role with the exported average."""
    metric = "reward_per_timestep/player_1"
    results = uninterrupted.evaluate()
    assert list(results) == ["as_trained", "as_trained_average"]
    history = uninterrupted.history
    last = history["iteration"] == 4
    for name, found in results.items():
        np.testing.assert_allclose(
            history[f"evaluation/{name}/{metric}"][last], found[metric], rtol=1e-6
        )
    state = uninterrupted.state
    learned = dataclasses.replace(state.learners["agent1"], params=state.averages["agent1"])
    uninterrupted.state = dataclasses.replace(state, learners={"agent1": learned})
    (as_if,) = uninterrupted.evaluate(names=["as_trained"]).values()
    uninterrupted.state = state
    assert set(as_if) == set(results["as_trained"])
    for name, values in results["as_trained_average"].items():
        np.testing.assert_array_equal(values, as_if[name])
    assert (results["as_trained"][metric] != as_if[metric]).any()


def test_there_is_nothing_to_evaluate_twice_where_nobody_plays_an_average(uninterrupted):
    against = uninterrupted._evaluations._against
    assert list(against({"agent1": uninterrupted.agent("agent1_average")})) == ["opponents"]
    other = Tabular.for_env(ENV, 1)
    assert list(against({"agent2": other})) == ["opponents", "opponents_average"]


def test_a_config_sets_it():
    section = role("Tabular", 0, ema_decay=0.99)
    assert build_role("agent1", section, ENV).ema_decay == 0.99
    assert build_role("agent1", role("Tabular", 0), ENV).ema_decay == 0.0
    with pytest.raises(
        ConfigError, match="ema_decay of the role of Tabular is 'much'|ema_decay.*'much'"
    ):
        role("Tabular", 0, ema_decay="much")


def make_role(learner=None, decay=0.9, name="agent1", **settings):
    return Role(name, AGENT, (0,), learner, ema_decay=decay, **settings)


WRONG = {
    "more than 1": (lambda: make_role(Gradient(AGENT), 1.5), "ema_decay is 1.5 in role agent1: give 0 to 1"),
    "negative": (lambda: make_role(Gradient(AGENT), -0.1), "ema_decay is -0.1 in role agent1: give 0 to 1"),
    "no number": (lambda: make_role(Gradient(AGENT), "0.9"), "ema_decay is '0.9' in role agent1: give a num"),
    "1": (lambda: make_role(Gradient(AGENT), 1.0), "never moves: give less, such as 0.99, or 0"),
    "no learner": (lambda: make_role(learns_in_trial=True, reset_every=0), "which no learner trains across"),
    "frozen": (lambda: make_role(Frozen(1)), "frozen policies stay as they are: leave it 0"),
    "no mean": (
        lambda: make_role(Evolution(AGENT, "SimpleGA", popsize=6)),
        "SimpleGA has a population without a mean, of which the best is deployed: leave it 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_averaged_is_told(wrong):
    make, sentence = WRONG[wrong]
    with pytest.raises(ConfigError, match=sentence):
        MetaTrainer(ENV, [make(), TitForTat.for_env(ENV, 1)])


def test_names_that_averages_take_are_told():
    other = AGENTS["Tabular"].for_env(ENV, 1)
    roles = [make_role(Gradient(AGENT)), Role("agent1_average", other, (1,), Gradient(other))]
    with pytest.raises(ConfigError, match="called agent1_average, and so is another role"):
        MetaTrainer(ENV, roles)
    roles = [make_role(Gradient(AGENT)), Role("agent2", other, (1,), Gradient(other))]
    with pytest.raises(ConfigError, match="called mine_average, which is the name of .* 'mine'"):
        MetaTrainer(ENV, roles, evaluations={"mine": {}, "mine_average": {}})

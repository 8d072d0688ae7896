"""Evolution does what evosax does, upwards, and what it is asked for can be had."""

import dataclasses

import evosax.algorithms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from callbacks import Checkpoint
from pax import MetaTrainer, Role
from pax.agents import PPO, Agent, Shaper, Tabular
from pax.envs import IteratedMatrixGame
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.learners import Evolution, Experience
from pax.learners.evolution import default_strategy_params
from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.tasks import compose
from pax.types import LineUp, TrainingState, Trial

GENERATIONS = 30
POPSIZE = 32
DIMENSIONS = 6
STEPS, EPISODES, OPPONENTS, ENVS = 8, 3, 2, 2


class Point(Agent):
    """Just enough of an agent: a point in space."""

    def __init__(self):
        super().__init__(Discrete(1), Discrete(1))

    def init(self, key):
        del key
        return TrainingState({"x": jnp.full(DIMENSIONS, 1.5)}, (), jnp.int32(0))


def quadratic(x):
    return jnp.sum((x - 0.5) ** 2, axis=-1)


def rastrigin(x):
    return 10.0 * DIMENSIONS + jnp.sum(x**2 - 10.0 * jnp.cos(2 * jnp.pi * x), axis=-1)


def evolve(learner, cost):
    """Means or best points, and fitness of the best, after some generations of the learner."""

    def generation(state, key):
        ask_key, tell_key = jax.random.split(key)
        candidates, state = learner.propose(state, ask_key)
        # One opponent: [C, O].
        rewards = {"agent1": -cost(candidates.params["x"])[:, None]}
        trial = Trial({}, {}, {}, rewards, None, None, None, {})
        line_up = LineUp({"agent1": candidates}, {"agent1": 0}, {"agent1": None})
        experience = Experience("agent1", tell_key, trial, None, line_up, {}, None)
        return learner.update(state, experience)

    init_key, key = jax.random.split(jax.random.key(7))
    state = jax.jit(learner.init)(init_key)
    run = jax.jit(lambda s, keys: jax.lax.scan(generation, s, keys))
    return run(state, jax.random.split(key, GENERATIONS))


def evolve_by_evosax(strategy, cost, params, start):
    """The same, calling evosax directly; it minimises."""

    def generation(state, key):
        ask_key, tell_key = jax.random.split(key)
        population, state = strategy.ask(ask_key, state, params)
        state, _ = strategy.tell(tell_key, population, cost(population["x"]), state, params)
        return state, None

    init_key, key = jax.random.split(jax.random.key(7))
    # Strong types, as the loop would have after the first generation.
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), start(init_key))
    # Compiled like the learner's: a rounding error may swap two ranks, and then everything differs.
    run = jax.jit(lambda s, keys: jax.lax.scan(generation, s, keys)[0])
    return run(state, jax.random.split(key, GENERATIONS))


@pytest.mark.parametrize("cost", [pytest.param(quadratic, marks=pytest.mark.slow), rastrigin])
@pytest.mark.parametrize("name", ["Open_ES", "CMA_ES", "PGPE", "SNES"])
def test_distributions_move_as_evosax_moves_them(name, cost):
    learner = Evolution(
        Point(),
        name,
        POPSIZE,
        sigma=0.3,
        optimizer="default" if name == "SNES" else "adam",
        learning_rate=0.05,
        fitness_shaping="default",
    )
    state, metrics = evolve(learner, cost)

    solution = {"x": jnp.zeros(DIMENSIONS)}
    cls = evosax.algorithms.algorithms[name]
    options = {"optimizer": optax.adam(0.05)} if name in ("Open_ES", "PGPE") else {}
    if name == "Open_ES":
        options["std_schedule"] = optax.constant_schedule(0.3)
    strategy = cls(POPSIZE, solution, **options)
    params = strategy.default_params
    if hasattr(params, "std_init"):
        params = params.replace(std_init=0.3)
    direct = evolve_by_evosax(
        strategy,
        cost,
        params,
        # The learner splits its key in three, and gives the second to the strategy.
        lambda key: strategy.init(
            jax.random.split(key, 3)[1], {"x": jnp.full(DIMENSIONS, 1.5)}, params
        ),
    )

    mean = learner.deploy(state).params["x"]
    np.testing.assert_allclose(mean, strategy.get_mean(direct)["x"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(-state.best_fitness, direct.best_fitness, rtol=1e-4, atol=1e-5)
    assert cost(mean) < cost(jnp.full(DIMENSIONS, 1.5))
    assert metrics["fitness/best"].shape == (GENERATIONS,)


def test_a_population_without_a_mean_deploys_its_best():
    learner = Evolution(Point(), "SimpleGA", POPSIZE, sigma=0.3, fitness_shaping="none")

    state, metrics = evolve(learner, quadratic)

    best = learner.deploy(state).params["x"]
    np.testing.assert_allclose(-quadratic(best), metrics["fitness/best"].max(), rtol=1e-6)
    assert quadratic(best) < 0.2 < quadratic(jnp.full(DIMENSIONS, 1.5))


def test_metrics_are_those_of_the_population():
    options = {"learning_rate_decay": 0.5, "report_members": True}
    learner = Evolution(Point(), popsize=POPSIZE, top_k=3, **options)
    seen = []

    def cost(x):
        jax.debug.callback(lambda costs: seen.append(np.array(costs)), quadratic(x), ordered=True)
        return quadratic(x)

    _, metrics = evolve(learner, cost)
    jax.effects_barrier()

    fitness = -np.stack(seen)
    np.testing.assert_allclose(metrics["fitness/mean"], fitness.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(metrics["fitness/best"], fitness.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(metrics["fitness/std"], fitness.std(axis=1), rtol=1e-3)
    top = np.sort(fitness, axis=1)[:, -3:].mean(axis=1)
    np.testing.assert_allclose(metrics["fitness/top_k"], top, rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"][:3], [0.1, 0.05, 0.025], rtol=1e-5)
    for place in range(3):
        ranked = np.sort(fitness, axis=1)[:, -1 - place]
        np.testing.assert_allclose(metrics[f"fitness/top_{place + 1}"], ranked, rtol=1e-5)
    so_far = np.maximum.accumulate(fitness.max(axis=1))
    np.testing.assert_allclose(metrics["fitness/best_so_far"], so_far, rtol=1e-5)


def test_parameters_are_kept_within_bounds():
    learner = Evolution(Point(), popsize=POPSIZE, sigma=0.5, clip_min=0.75, clip_max=1.6)
    candidates, _ = learner.propose(learner.init(jax.random.key(0)), jax.random.key(1))
    proposed = candidates.params["x"]
    # Of 192 numbers around 1.5 with a deviation of .5, some are cut off at either end.
    assert proposed.min() == 0.75
    assert proposed.max() == np.float32(1.6)
    assert 0.2 < (proposed == np.float32(1.6)).mean() < 0.6

    # The best point of all is .5 in every direction, and the best within the bounds .75.
    state, metrics = evolve(learner, quadratic)
    assert learner.deploy(state).params["x"].min() >= 0.75
    assert metrics["fitness/best"].max() <= -DIMENSIONS * 0.25**2 + 1e-6


def test_random_search_draws_new_networks_and_keeps_the_best():
    env = IteratedMatrixGame(num_inner_steps=4)
    learner = Evolution(Shaper.for_env(env), "RandomSearch", 4, top_k=1, fitness_shaping="none")
    state = learner.init(jax.random.key(0))
    candidates, state = learner.propose(state, jax.random.key(1))
    fitness = jnp.array([[0.0], [3.0], [1.0], [2.0]])
    trial = Trial({}, {}, {}, {"one": fitness}, None, None, None, {})
    line_up = LineUp({"one": candidates}, {"one": 0}, {"one": None})
    experience = Experience("one", jax.random.key(2), trial, None, line_up, {}, None)
    state, _ = learner.update(state, experience)
    jax.tree.map(
        lambda best, of_all: np.testing.assert_array_equal(best, of_all[1]),
        learner.deploy(state).params,
        candidates.params,
    )


def test_weight_decay_and_mean_removal_change_where_it_goes():
    decayed = Evolution(Point(), popsize=POPSIZE, weight_decay=50.0, learning_rate=0.1)
    plain = Evolution(Point(), popsize=POPSIZE, learning_rate=0.1)
    centred = Evolution(
        Point(), popsize=POPSIZE, fitness_shaping="none", mean_removal=True, learning_rate=0.1
    )

    x_decayed, x_plain, x_centred = (
        learner.deploy(evolve(learner, quadratic)[0]).params["x"]
        for learner in (decayed, plain, centred)
    )

    assert jnp.linalg.norm(x_decayed) < jnp.linalg.norm(x_plain)
    assert quadratic(x_centred) < quadratic(jnp.full(DIMENSIONS, 1.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "OpenES"}, "strategy is 'OpenES' in evolution: did you mean Open_ES\\?"),
        ({"popsize": 7}, "popsize is 7 in evolution, which Open_ES cannot use .* use 8"),
        # With an odd number, it proposes one candidate less.
        (
            {"strategy": "ESMC", "popsize": 7, "fitness_shaping": "default"},
            "popsize is 7 in evolution, which ESMC cannot use .it proposes 6 candidates.: use 8",
        ),
        (
            {"strategy": "DifferentialEvolution", "popsize": 2, "top_k": 1, "optimizer": "default"},
            "popsize is 2 in evolution, which DifferentialEvolution cannot use .*: use 4",
        ),
        ({"clip_min": 1.0, "clip_max": 1.0}, "clip_min is 1 and clip_max 1 in evolution: give a"),
        ({"fitness_shaping": "rank"}, "fitness_shaping is 'rank'"),
        ({"strategy": "CMA_ES", "fitness_shaping": "z_score"}, "CMA_ES weighs candidates"),
        ({"strategy": "CMA_ES", "fitness_shaping": "default", "params": {"c_men": 1.0}}, "c_mean"),
        ({"init_mean": "zero"}, "did you mean zeros"),
        ({"top_k": 500}, "top_k is 500"),
    ],
)
def test_what_a_strategy_cannot_use(settings, message):
    with pytest.raises(ConfigError, match=message):
        Evolution(Point(), **settings)


def test_strategy_params_are_those_that_do_not_depend_on_sizes():
    assert default_strategy_params("SimpleGA") == {"crossover_rate": 0.0}
    assert "mu_eff" not in default_strategy_params("CMA_ES")


def roles_of(env, popsize=4):
    shaper = Shaper.for_env(env, 0, hidden_size=4)
    learner = Tabular.for_env(env, 1, learning_rate=1.0, num_epochs=1, num_minibatches=2)
    evolution = Evolution(shaper, popsize=popsize, top_k=2)
    return [
        Role("agent1", shaper, (0,), evolution),
        Role("agent2", learner, (1,), None, learns_in_trial=True),
    ]


@dataclasses.dataclass
class Recorded(Evolution):
    """Evolution that remembers the last generation's trials."""

    def init(self, key):
        shape = (self.popsize, OPPONENTS, EPISODES, STEPS, ENVS)
        record = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros(self.popsize)
        return super().init(key), record

    def propose(self, state, key):
        candidates, own = super().propose(state[0], key)
        return candidates, (own, state[1])

    def update(self, state, experience):
        own, metrics = super().update(state[0], experience)
        trial = experience.trial
        actions = tuple(trial.rollouts[name].actions for name in ("agent1", "agent2"))
        return (own, (*actions, trial.rewards[experience.role].mean(axis=1))), metrics


def test_fitness_equals_a_replay_of_the_recorded_actions():
    env = IteratedMatrixGame(STEPS)
    shaper, learner = roles_of(env)
    recorded = Recorded(shaper.agent, popsize=4, top_k=2)
    loop = Loop(
        env,
        [dataclasses.replace(shaper, learner=recorded), learner],
        compose(env.default_params),
        Counts(ENVS, OPPONENTS, EPISODES),
    )
    state = loop.init(jax.vmap(jax.random.key)(jnp.arange(1)))
    state, metrics = jax.jit(lambda s: loop.run(s, 2))(state)

    _, (own, other, fitness) = jax.tree.map(
        lambda leaf: np.asarray(leaf)[0], state.learners["agent1"]
    )
    payoff = {(0, 0): -1.0, (0, 1): -3.0, (1, 0): 0.0, (1, 1): -2.0}
    for candidate in range(4):
        moves = zip(own[candidate].ravel(), other[candidate].ravel(), strict=True)
        replayed = np.mean([payoff[move] for move in moves])
        np.testing.assert_allclose(fitness[candidate], replayed, rtol=1e-5)
    assert len(np.unique(own.reshape(4, -1), axis=0)) > 1
    np.testing.assert_allclose(metrics["train/fitness/mean"][-1, 0], fitness.mean(), rtol=1e-5)


def trainer_in(workdir, **settings):
    env = IteratedMatrixGame(STEPS)
    return MetaTrainer(
        env,
        roles_of(env),
        num_envs=ENVS,
        num_opps=OPPONENTS,
        num_outer_steps=EPISODES,
        chunk=1,
        callbacks=[Checkpoint(every=1)],
        default_callbacks=False,
        workdir=workdir,
        **settings,
    )


@pytest.mark.slow
def test_resuming_evolution_is_exact(tmp_path):
    whole = trainer_in(tmp_path / "whole", num_iters=4)
    expected = whole.fit()
    trainer_in(tmp_path / "parts", num_iters=2).fit()
    resumed = trainer_in(tmp_path / "parts", num_iters=4)
    found = resumed.fit()

    assert resumed.step == 4
    for name in expected.keys() - {"env_steps_per_second"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    for a, b in zip(
        jax.tree.leaves(whole.state.learners), jax.tree.leaves(resumed.state.learners), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    policies = sorted(path.name for path in (tmp_path / "parts" / "policies").iterdir())
    assert policies == ["agent1.msgpack", "agent1_best.msgpack"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_trial():
    env = IteratedMatrixGame(STEPS)

    def temporaries(num_outer_steps):
        loop = Loop(
            env,
            roles_of(env, popsize=16),
            compose(env.default_params),
            Counts(ENVS, 4, num_outer_steps),
        )
        state = loop.init(jax.vmap(jax.random.key)(jnp.arange(1)))
        compiled = jax.jit(lambda s: loop.run(s, 1)).lower(state).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(1000) < 1.05 * temporaries(10)


def test_meta_games_that_cannot_work():
    env = IteratedMatrixGame(STEPS)
    with pytest.raises(ConfigError, match="num_outer_steps is 1, and agent1, a Shaper"):
        MetaTrainer(env, roles_of(env), num_outer_steps=1)
    first, second = (
        Role(f"agent{seat + 1}", agent, (seat,), Evolution(agent, popsize=popsize, top_k=1))
        for seat, popsize in ((0, 4), (1, 6))
        for agent in [PPO.for_env(env, seat)]
    )
    with pytest.raises(ConfigError, match="agent1 4, agent2 6.*popsize of evolution"):
        MetaTrainer(env, [first, second], num_outer_steps=2)


def test_only_some_parameters_may_evolve():
    env = IteratedMatrixGame(num_inner_steps=2)
    agent = Shaper.for_env(env, hidden_size=2, embed=True)
    learner = Evolution(agent, popsize=4, only="torso", top_k=1)
    state = learner.init(jax.random.key(0))
    before = learner.deploy(state).params
    candidates, state = learner.propose(state, jax.random.key(1))
    trial = Trial({}, {}, {}, {"agent1": jnp.arange(4.0)[:, None]}, None, None, None, {})
    line_up = LineUp({"agent1": candidates}, {"agent1": 0}, {"agent1": None})
    experience = Experience("agent1", jax.random.key(2), trial, None, line_up, {}, None)
    state, _ = learner.update(state, experience)
    after = learner.deploy(state).params
    changed = jax.tree.map(lambda new, old: bool((new != old).any()), after, before)
    assert all(jax.tree.leaves(changed.pop("torso"))) and not any(jax.tree.leaves(changed))

    with pytest.raises(ConfigError, match="only is 'trunk' in evolution, .* there are .*torso"):
        Evolution(agent, only="trunk")
    with pytest.raises(ConfigError, match="PGPE may move it: use Open_ES"):
        Evolution(agent, only="torso", strategy="PGPE", fitness_shaping="default")

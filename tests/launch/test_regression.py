"""What the compiled programs of main settings consist of: sizes and ratios, never times.

A program that has become slower has mostly become larger: more instructions in the loops over the steps of an
episode, more temporary memory, another compilation. `EXPECTED` has the counts of the programs as they are;
whoever makes them smaller, or larger for a reason, puts what the failing test prints in their place.
"""

import dataclasses
import functools
import re

import jax
import pytest

from launch.benchmark.hlo import instructions
from pax import Callback, MetaTrainer, Role
from pax.agents import PPO, Naive, PPOMemory, Shaper, Tabular, TitForTat
from pax.envs import CoinGame, IteratedMatrixGame
from pax.learners import Evolution

TOLERANCE = 0.15
"""Other CPUs make other programs: within this, a count may differ."""
STEPS = 12
"""Of an episode; no other loop of these programs has as many rounds."""
VERSION = "0.10.2"
"""Of jax, whose programs `EXPECTED` has."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What counts of a compiled chunk."""

    instructions: int
    """In all loops over the steps of an episode."""
    temporaries: float
    """KiB."""
    callbacks: int
    """To the host."""


EXPECTED = {
    "ppo": Program(instructions=268, temporaries=26.2, callbacks=0),
    "shaper": Program(instructions=381, temporaries=193.4, callbacks=0),
    "coin game": Program(instructions=1149, temporaries=88.8, callbacks=0),
}


def ppo_trainer(env=None, learner=PPO, **settings):
    env = env or IteratedMatrixGame(num_inner_steps=STEPS)
    return MetaTrainer(
        env, [learner.for_env(env), TitForTat.for_env(env, seat=1)], num_envs=20, **settings
    )


def shaper_trainer(num_outer_steps=3, other=Tabular, **settings):
    env = IteratedMatrixGame(num_inner_steps=STEPS)
    shaper = Shaper.for_env(env)
    agent = other.for_env(env, 1, **({"num_minibatches": 4} if other is Tabular else {}))
    roles = [
        Role("shaper", shaper, (0,), Evolution(shaper, popsize=8)),
        Role("other", agent, (1,), learns_in_trial=agent.learns),
    ]
    return MetaTrainer(
        env, roles, num_envs=2, num_opps=2, num_outer_steps=num_outer_steps, **settings
    )


def coin_trainer(**settings):
    env = CoinGame(num_inner_steps=STEPS, egocentric=True)
    players = [PPOMemory.for_env(env, s, sequence_length=4, num_minibatches=5) for s in range(2)]
    return MetaTrainer(env, players, num_envs=10, **settings)


TRAINERS = {"ppo": ppo_trainer, "shaper": shaper_trainer, "coin game": coin_trainer}


def measure(trainer):
    compiled = trainer.compiled_loop.compile(2)
    hlo = compiled.as_text()
    lines = instructions(hlo, STEPS)
    callbacks = len(re.findall(r'custom_call_target="[^"]*callback', hlo))
    return Program(lines, compiled.memory_analysis().temp_size_in_bytes / 1024, callbacks)


@functools.cache
def program(name):
    return measure(TRAINERS[name]())


def assert_no_larger(found, expected):
    assert found.callbacks == 0, f"the host is called: {found}"
    for field in ("instructions", "temporaries"):
        now, before = getattr(found, field), getattr(expected, field)
        assert now <= (1 + TOLERANCE) * before, f"{field} were {before}: {found}"


@pytest.mark.skipif(jax.__version__ != VERSION, reason=f"the counts are those of jax {VERSION}")
@pytest.mark.parametrize("name", TRAINERS)
def test_programs_are_no_larger_than_they_were(name):
    found = program(name)
    assert_no_larger(found, EXPECTED[name])
    # A bound that is far away notices nothing.
    assert found.instructions >= (1 - 2 * TOLERANCE) * EXPECTED[name].instructions, found


def test_temporaries_do_not_grow_with_the_episodes_of_a_trial():
    few, many = program("shaper"), measure(shaper_trainer(num_outer_steps=30))
    assert many.temporaries <= 1.05 * few.temporaries
    assert many.instructions == few.instructions


class Trajectories(Callback):
    """Reads rewards of all steps, as nobody should in a large trial."""

    def probe(self, trial):
        rewards = trial.rollouts["shaper"].rewards
        return {"late": (rewards * rewards.cumsum(axis=0)).max()}


def test_trajectories_that_are_kept_are_noticed():
    found = measure(shaper_trainer(300, TitForTat, callbacks=[Trajectories()]))
    with pytest.raises(AssertionError, match="temporaries were"):
        assert_no_larger(found, EXPECTED["shaper"])


class Talking(IteratedMatrixGame):
    """Calls the host in every step."""

    def step(self, key, state, actions, params):
        jax.debug.callback(lambda action: None, actions[0])
        return super().step(key, state, actions, params)


def test_calls_of_the_host_are_noticed():
    found = measure(ppo_trainer(Talking(num_inner_steps=STEPS), Naive))
    assert found.callbacks
    with pytest.raises(AssertionError, match="the host is called"):
        assert_no_larger(found, EXPECTED["ppo"])


def test_a_larger_loop_is_noticed():
    expected = EXPECTED["ppo"]
    larger = dataclasses.replace(expected, instructions=round(1.2 * expected.instructions))
    with pytest.raises(AssertionError, match="instructions were"):
        assert_no_larger(larger, expected)


def test_one_compilation_serves_all_chunks():
    seconds, listening = [], True

    def listen(event, duration, **_):
        if listening and event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        trainer = ppo_trainer(learner=Naive, chunk=2)
        trainer.fit(2)
        first = len(seconds)
        assert first > 0
        trainer.fit(8)
        assert len(seconds) == first, "a later chunk was compiled"
    finally:
        listening = False

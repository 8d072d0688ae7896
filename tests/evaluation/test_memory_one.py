"""Exact best responses: closed forms, and every plan tried in turn."""

import itertools

import jax
import numpy as np
import pytest

from pax.agents import PPO, Grim, PPOMemory, Random, Tabular, ZeroDeterminant
from pax.envs import IteratedMatrixGame
from pax.evaluation.memory_one import StageGame, best_response, cooperation_of, outcome, stage_game

NUM_STEPS = 150
# Rows CC, CD, DC, DD as player 1 sees them.
IPD = np.array([[-1.0, -1.0], [-3.0, 0.0], [0.0, -3.0], [-2.0, -2.0]])


def stage(payoff=IPD, num_steps=NUM_STEPS):
    own, other = payoff.T.reshape(2, 2, 2)
    return StageGame(own, other, num_steps)


def zero_determinant(chi, baseline):
    """Press and Dyson's p with half of the largest phi, for T = 0, R = -1, P = -2, S = -3."""
    start = float(baseline == -1)
    own, other = (IPD - baseline).T
    tie = own - chi * other
    # p = (1, 1, 0, 0) + phi tie has to stay within 0 and 1.
    room = np.where(np.array([1, 1, 0, 0]) == 1, -1.0, 1.0) / np.where(tie == 0, np.inf, tie)
    phi = room[room > 0].min() / 2
    return (*(np.array([1, 1, 0, 0]) + phi * tie), start)


@pytest.mark.parametrize(
    ("policy", "in_episode", "in_the_long_run"),
    (
        # Cooperation, but for a last step that nobody can answer.
        ((1, 0, 1, 0, 1), -1 + 1 / NUM_STEPS, -1),
        ((1, 0, 0, 0, 1), -1 + 1 / NUM_STEPS, -1),
        ((1, 1, 1, 1, 1), 0, 0),
        ((0, 0, 0, 0, 0), -2, -2),
        ((0.5,) * 5, -1, -1),
        # Whoever cooperates with an extortioner leaves them a share x of CC and 1 - x of DC. With
        # S - P = chi (S' - P), that is -x + 2 = chi (-x - 3 (1 - x) + 2), x = (2 + chi) / (1 + 2 chi).
        (zero_determinant(2, -2), -1.4, -1.4),
        (zero_determinant(3, -2), -11 / 7, -11 / 7),
        (zero_determinant(2, -1), -1, -1),
    ),
    ids=(
        "tit_for_tat",
        "grim",
        "cooperate",
        "defect",
        "random",
        "extort_2",
        "extort_3",
        "generous",
    ),
)
def test_best_responses_earn_what_closed_forms_say(policy, in_episode, in_the_long_run):
    found = best_response(np.array(policy, float), stage())
    assert found.outcome.other == pytest.approx(in_episode, abs=0.02)
    assert found.average == pytest.approx(in_the_long_run, abs=1e-6)


def expected_by_tree(policy, plan, payoff, num_steps):
    """Rewards of both from all histories; the plan tells by step and state, as the policy sees it."""

    def from_here(step, state):
        if step == num_steps:
            return np.zeros(2)
        answer, total = plan[step][state], np.zeros(2)
        for action, probability in ((0, policy[state]), (1, 1 - policy[state])):
            row = 2 * action + answer
            total = total + probability * (payoff[row] + from_here(step + 1, row))
        return total

    return from_here(0, 4) / num_steps


@pytest.mark.parametrize("seed", range(3))
def test_no_plan_earns_more(seed):
    random = np.random.default_rng(seed)
    policy, payoff = random.uniform(size=5), random.normal(size=(4, 2))
    # In two steps every plan is a memory-one strategy.
    strategies = list(itertools.product((0, 1), repeat=5))
    of_two = [expected_by_tree(policy, (plan, plan), payoff, 2) for plan in strategies]
    found = best_response(policy, stage(payoff, 2)).outcome
    best = max(of_two, key=lambda rewards: rewards[1])
    np.testing.assert_allclose([found.own, found.other], best, rtol=1e-12)
    # In three it may also look at the clock.
    answers = list(itertools.product((0, 1), repeat=4))
    plans = itertools.product((0, 1), answers, answers)
    of_three = [
        expected_by_tree(policy, ((*[0] * 4, first), (*second, 0), (*third, 0)), payoff, 3)[1]
        for first, second, third in plans
    ]
    assert best_response(policy, stage(payoff, 3)).outcome.other == pytest.approx(max(of_three))


def test_the_unit_of_payoffs_does_not_matter():
    found = best_response(np.array([1.0, 0, 1, 0, 1]), stage(1e-10 * IPD))
    assert 1e10 * found.outcome.other == pytest.approx(-1 + 1 / NUM_STEPS)


class Talkative(IteratedMatrixGame):
    """Pays whoever said anything before."""

    def transition(self, drawn, state, actions, params):
        observations, state, rewards, done, info = super().transition(drawn, state, actions, params)
        return observations, state, tuple(r + state.inner_t for r in rewards), done, info


class Renamed(IteratedMatrixGame):
    """The same under another name."""


def test_a_game_of_other_rules_is_no_matrix_game():
    for game, is_known in ((Talkative(3), False), (Renamed(3), True)):
        assert (stage_game(game, game.default_params, 0) is not None) is is_known


def test_what_two_policies_earn():
    policy, other = np.array([0.8, 0.1, 0.6, 0.3, 0.9]), (1, 0, 0, 1, 0)
    # The other numbers the states from its own seat: CD is its DC.
    plan = [[1 - other[place] for place in (0, 2, 1, 3, 4)]] * 6
    found = outcome(policy, np.array(other, float), stage(num_steps=6))
    np.testing.assert_allclose(found[:2], expected_by_tree(policy, plan, IPD, 6))
    np.testing.assert_allclose(found.by_step.mean(axis=0), found[:2])


def test_policies_are_read_from_agents():
    p = np.array([0.8, 0.1, 0.6, 0.3, 0.9])
    table = np.stack([np.log(p), np.log1p(-p), np.zeros(5)], axis=1).astype(np.float32)
    env = IteratedMatrixGame(num_inner_steps=3)
    game = (env, env.default_params, 0)
    found = cooperation_of(Tabular.for_env(env), {"table": table}, *game)
    np.testing.assert_allclose(found, p, rtol=1e-5)
    assert cooperation_of(Grim.for_env(env), None, *game).tolist() == [1, 0, 0, 0, 1]
    assert cooperation_of(Random.for_env(env), None, *game).tolist() == [0.5] * 5
    extortion = cooperation_of(ZeroDeterminant.for_env(env), None, *game)
    np.testing.assert_allclose(extortion, zero_determinant(3, -2), atol=1e-6)
    assert cooperation_of(PPOMemory.for_env(env), None, *game) is None


def test_a_network_is_read_at_what_its_seat_observes():
    env = IteratedMatrixGame(num_inner_steps=3, show_payoff_to=(1,))
    payoff = ((1, 2), (3, 4), (5, 6), (7, 8))
    env_params = env.make_params(payoff)
    agent = PPO.for_env(env, 1)
    state = agent.init(jax.random.key(0))
    heads = {"kernel": np.zeros((16, 2), np.float32), "bias": np.log([0.3, 0.7]).astype(np.float32)}
    params = {**state.params, "Heads_0": {**state.params["Heads_0"], "policy": heads}}
    found = cooperation_of(agent, params, env, env_params, 1)
    np.testing.assert_allclose(found, 0.3, rtol=1e-5)
    seen = stage_game(env, env_params, 1)
    # Player 2's own CD is player 1's DC.
    assert seen.own.tolist() == [[2, 6], [4, 8]]
    assert seen.other.tolist() == [[1, 5], [3, 7]]

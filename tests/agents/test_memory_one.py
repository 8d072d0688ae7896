"""Memory-one strategies: closed forms, the Axelrod library, and ties that no opponent escapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import MemoryOne, RandomMemoryOne, WinStayLoseShift, ZeroDeterminant
from pax.agents.hyper_strategies import HyperTFT
from pax.envs import CoinGame, InfiniteMatrixGame, IteratedMatrixGame
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.errors import ConfigError

KEY = jax.random.key(0)
ENV = InfiniteMatrixGame(num_inner_steps=1)
TFT, ALLD, ALLC = (1, 0, 1, 0, 1), (0,) * 5, (1,) * 5
WSLS, RANDOM, GRIM = (1, 0, 0, 1, 1), (0.5,) * 5, (1, 0, 0, 0, 1)
# Not symmetric, so that a column or a frame that is taken for another shows.
LOPSIDED = ((3.0, 2.0), (0.5, 4.5), (6.0, -1.0), (1.0, 0.0))
STEP = jax.jit(ENV.step)


@functools.cache
def player(seat, cls=MemoryOne, game=None, gamma=0.96, **settings):
    params = ENV.make_params(payoff=game or PAYOFFS["ipd"], gamma=gamma)
    return cls.for_env(ENV, seat, params, **settings)


def value(first, second, payoff=PAYOFFS["ipd"], gamma=0.96):
    """Mean discounted rewards of two agents of the infinite game, through the game."""
    params = ENV.make_params(payoff=payoff, gamma=gamma)
    observations, state = ENV.reset(KEY, params)
    actions = []
    for seat, agent in enumerate((first, second)):
        own, memory = agent.make_initial_state(KEY, agent.initial_hidden(1))
        actions.append(agent.policy(own, observations[seat][None], memory, KEY)[0][0])
    return np.array(STEP(KEY, state, tuple(actions), params)[2])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    (
        (TFT, ALLD, (-2.04, -1.92)),
        (WSLS, ALLD, (-2 - 1 / (1 + 0.96), -0.96 * 2 / 1.96)),
        (RANDOM, TFT, (-1.46, -1.52)),
        (RANDOM, GRIM, (-2.346154, -1.076923)),
        (ALLC, ALLC, (-1, -1)),
    ),
)
def test_closed_forms(first, second, expected):
    for seats, wanted in (((first, second), expected), ((second, first), expected[::-1])):
        players = [player(seat, probabilities=p) for seat, p in enumerate(seats)]
        np.testing.assert_allclose(value(*players), wanted, atol=1e-5)


def test_any_two_policies_by_summing_rounds():
    rng = np.random.default_rng(0)
    for gamma in (0.5, 0.9):
        p, q = rng.uniform(size=(2, 5))
        theirs = q[[0, 2, 1, 3, 4]]
        joint = np.stack([p * theirs, p * (1 - theirs), (1 - p) * theirs, (1 - p) * (1 - theirs)])
        share, total = joint[:, 4], np.zeros(4)
        for _ in range(400):
            total, share = total + (1 - gamma) * share, gamma * joint[:, :4] @ share
        players = [player(0, probabilities=tuple(p)), player(1, probabilities=tuple(q))]
        expected = total @ np.array(LOPSIDED)
        np.testing.assert_allclose(value(*players, LOPSIDED, gamma), expected, rtol=1e-5, atol=1e-5)


def test_certain_probabilities_are_the_logits_of_the_named_strategies():
    own = HyperTFT.for_env(ENV)
    observations = jnp.zeros((2, 10))
    for agent in (own, player(0)):
        state, memory = agent.make_initial_state(KEY, agent.initial_hidden(2))
        np.testing.assert_allclose(
            agent.policy(state, observations, memory, KEY)[0], [[20, -20, 20, -20, 20]] * 2
        )


@pytest.mark.parametrize("seat", (0, 1))
@pytest.mark.parametrize("gamma", (0.9, 0.999))
@pytest.mark.parametrize(
    ("baseline", "chi", "payoff"),
    (
        ("punishment", 2.0, "ipd"),
        ("punishment", 3.0, "ipd"),
        ("punishment", 10.0, "ipd"),
        ("reward", 2.0, "ipd"),
        ("punishment", 2.5, "ipd_positive"),
        ("reward", 3.0, "ipd_positive"),
    ),
)
def test_a_zero_determinant_strategy_ties_its_value_to_the_others(
    baseline, chi, payoff, gamma, seat
):
    payoff = PAYOFFS[payoff]
    base = payoff[3 if baseline == "punishment" else 0]
    rng = np.random.default_rng(1)
    for strength in (0.1, 1.0):
        own = player(
            seat, ZeroDeterminant, payoff, gamma, chi=chi, baseline=baseline, strength=strength
        )
        assert all(0.0 <= p <= 1.0 for p in own.probabilities)
        for probabilities in (ALLC, ALLD, TFT, *map(tuple, rng.uniform(size=(3, 5)))):
            other = player(1 - seat, probabilities=probabilities)
            pair = (own, other) if seat == 0 else (other, own)
            rewards = value(*pair, payoff, gamma)
            mine, theirs = rewards[seat], rewards[1 - seat]
            assert mine - base[0] == pytest.approx(chi * (theirs - base[0]), abs=2e-5 * chi)


@pytest.mark.parametrize(("chi", "expected"), ((2, (-0.8, -1.4)), (10, (-12 / 21, -13 / 7))))
def test_extortion_of_who_always_cooperates_comes_to_the_published_values(chi, expected):
    """Without discounting; gamma is as near to 1 as float32 resolves well."""
    own = player(0, ZeroDeterminant, gamma=0.9999, chi=float(chi))
    both = value(own, player(1, probabilities=ALLC), gamma=0.9999)
    np.testing.assert_allclose(both, expected, atol=2e-3)


def test_lopsided_payoffs_are_tied_in_either_seat():
    for seat in (0, 1):
        own = player(seat, ZeroDeterminant, LOPSIDED, 0.99, chi=1.5)
        for probabilities in (ALLC, RANDOM, WSLS):
            other = player(1 - seat, probabilities=probabilities)
            rewards = value(*((own, other) if seat == 0 else (other, own)), LOPSIDED, 0.99)
            gains = rewards - LOPSIDED[3]
            assert gains[seat] == pytest.approx(1.5 * gains[1 - seat], abs=1e-4)


def play(first, second, num_steps, num_envs):
    """Mean rewards `[B, 2]` of two agents in the iterated game."""
    env = IteratedMatrixGame(num_inner_steps=num_steps)
    params = env.make_params(payoff=PAYOFFS["ipd"])
    agents = [
        cls.for_env(env, seat, params, **settings)
        for seat, (cls, settings) in enumerate((first, second))
    ]
    states = [agent.make_initial_state(KEY, agent.initial_hidden(num_envs)) for agent in agents]
    observations, env_state = jax.vmap(env.reset, (0, None))(
        jax.random.split(KEY, num_envs), params
    )

    def step(carry, key):
        observations, env_state = carry
        keys = jax.random.split(key, 3)
        actions = tuple(
            agent.policy(*(states[seat][0], observations[seat], states[seat][1], keys[seat]))[0]
            for seat, agent in enumerate(agents)
        )
        observations, env_state, rewards, _, _ = jax.vmap(env.step, (None, 0, 0, None))(
            keys[2], env_state, actions, params
        )
        return (observations, env_state), jnp.stack(rewards, axis=-1)

    scan = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[1])
    return np.asarray(scan((observations, env_state), jax.random.split(KEY, num_steps))).mean(
        axis=0
    )


def axelrod_scores(first, second, num_steps, num_matches):
    import axelrod

    game = axelrod.Game(r=-1, s=-3, t=0, p=-2)
    scores = []
    for seed in range(num_matches):
        match = axelrod.Match((first, second), turns=num_steps, game=game, seed=seed)
        match.play()
        scores.append(match.final_score_per_turn())
    return np.array(scores)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    (
        ((0.9, 0.2, 0.7, 0.3, 1.0), (0.6, 0.1, 0.8, 0.4, 0.0)),
        (WSLS, (0.95, 0.05, 0.9, 0.1, 1.0)),
        (RANDOM, GRIM),
    ),
)
def test_matches_of_the_axelrod_library_have_the_same_means(first, second):
    import axelrod

    num_steps = 60
    players = []
    for probabilities in (first, second):
        initial = axelrod.Action.C if probabilities[4] == 1 else axelrod.Action.D
        if probabilities[4] == 0.5:
            players.append(axelrod.Random(0.5))
        else:
            players.append(axelrod.MemoryOnePlayer(tuple(probabilities[:4]), initial=initial))
    theirs = axelrod_scores(*players, num_steps, 300)
    ours = play(
        (MemoryOne, {"probabilities": first}),
        (MemoryOne, {"probabilities": second}),
        num_steps,
        2000,
    )
    error = np.sqrt(theirs.var(axis=0) / len(theirs) + ours.var(axis=0) / len(ours))
    assert (abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 3 * error + 1e-6).all()


@pytest.mark.slow
def test_an_extortioner_of_the_axelrod_library_is_ours():
    """ZD-Extort-2 there: chi 2, in the same undiscounted game with payoffs 3, 0, 5, 1."""
    import axelrod

    payoff = ((3.0, 3.0), (0.0, 5.0), (5.0, 0.0), (1.0, 1.0))
    env = IteratedMatrixGame()
    c, d = axelrod.Action.C, axelrod.Action.D
    theirs = axelrod.ZDExtort2()._four_vector
    # Its phi of 1 / 9 is half of the most that probabilities allow.
    own = ZeroDeterminant.for_env(env, 0, env.make_params(payoff=payoff), chi=2.0, strength=0.5)
    expected = [theirs[pair] for pair in ((c, c), (c, d), (d, c), (d, d))]
    np.testing.assert_allclose(own.probabilities[:4], expected, atol=1e-6)


@pytest.mark.parametrize("seat", (0, 1))
def test_extortion_in_an_iterated_game(seat):
    extort, random = (ZeroDeterminant, {"chi": 3.0}), (MemoryOne, {"probabilities": RANDOM})
    pair = (extort, random) if seat == 0 else (random, extort)
    rewards = play(*pair, 400, 500)
    gains = rewards[:, seat] + 2 - 3 * (rewards[:, 1 - seat] + 2)
    # What the first rounds leave over vanishes with their share.
    assert abs(gains.mean()) <= 3 * gains.std() / np.sqrt(len(gains)) + 10 / 400


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    (
        (MemoryOne, {"probabilities": (1, 0, 1, 0)}, "give five numbers from 0 to 1"),
        (MemoryOne, {"probabilities": (1, 0, 1, 0, 1.5)}, "give five numbers from 0 to 1"),
        (MemoryOne, {"probabilities": (1, 0, 1, 0, float("nan"))}, "give five numbers from 0 to 1"),
        (ZeroDeterminant, {"chi": 0.0}, "chi is 0.0, and no ZeroDeterminant strategy"),
        (ZeroDeterminant, {"chi": -3.0}, "chi is -3.0, and no ZeroDeterminant strategy"),
        (ZeroDeterminant, {"baseline": "revenge"}, "choose one of punishment, reward"),
        (ZeroDeterminant, {"strength": 0.0}, "give more than 0, up to 1"),
    ),
)
def test_settings_out_of_range(cls, settings, message):
    with pytest.raises(ConfigError, match=message):
        cls.for_env(ENV, 0, ENV.default_params, **settings)


@pytest.mark.parametrize("cls", (MemoryOne, WinStayLoseShift, ZeroDeterminant))
def test_they_play_two_player_matrix_games_only(cls):
    with pytest.raises(ConfigError, match="two-player matrix games only"):
        cls.for_env(CoinGame(), 0)


@pytest.mark.parametrize("concentration", (1.0, 0.1, 5.0))
def test_random_strategies_are_drawn_when_they_start_afresh(concentration):
    agent = RandomMemoryOne.for_env(IteratedMatrixGame(), concentration=concentration)
    drawn = np.asarray(jax.vmap(agent.init)(jax.random.split(KEY, 4000)).params)
    assert drawn.shape == (4000, 5)
    # Beta(c, c): mean 1/2, variance 1 / (4 (2 c + 1)), no correlation; five standard errors.
    variance = 1 / (4 * (2 * concentration + 1))
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=5 * (variance / 4000) ** 0.5)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(5) * variance, atol=0.1 * variance)


@pytest.mark.parametrize("one_hot", (False, True))
def test_random_strategies_play_what_was_drawn(one_hot):
    agent = RandomMemoryOne.for_env(IteratedMatrixGame(one_hot=one_hot))
    state = agent.init(KEY)
    situations = jnp.repeat(jnp.arange(5), 4000)
    observations = jax.nn.one_hot(situations, 5) if one_hot else situations
    memory = agent.initial_memory(agent.initial_hidden(len(situations)))
    actions, _ = agent.policy(state, observations, memory, KEY)
    cooperation = (actions == 0).reshape(5, 4000).mean(axis=1)
    np.testing.assert_allclose(cooperation, state.params, atol=5 * (0.25 / 4000) ** 0.5)

"""Sweeps: how they are written down, and what is refused before anything starts."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from pax.config.command_line import as_flags, read_flags
from pax.config.files import load_config
from pax.configs import ipd
from pax.errors import ConfigError
from pax.sweeps import sweep
from pax.sweeps.sweep import check_sweep, describe, load_sweep, product

RATE = "agent1.learning_rate"


def test_product_has_every_combination_and_the_last_axis_is_fastest():
    assert product(**{RATE: (0.1, 0.2)}, seed=range(2)) == [
        {RATE: 0.1, "seed": 0},
        {RATE: 0.1, "seed": 1},
        {RATE: 0.2, "seed": 0},
        {RATE: 0.2, "seed": 1},
    ]
    assert product() == [{}]


def test_zip_goes_along_its_axes_and_can_be_an_axis_itself():
    pairs = sweep.zip(num_envs=[4, 8], num_opps=[2, 1])
    assert pairs == [{"num_envs": 4, "num_opps": 2}, {"num_envs": 8, "num_opps": 1}]
    assert product(pairs, seed=[7, 8]) == [
        {"num_envs": 4, "num_opps": 2, "seed": 7},
        {"num_envs": 4, "num_opps": 2, "seed": 8},
        {"num_envs": 8, "num_opps": 1, "seed": 7},
        {"num_envs": 8, "num_opps": 1, "seed": 8},
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: product(seed=[]), "the axis seed of a sweep has no values: give some"),
        (lambda: product(seed=3), "the axis seed of a sweep is 3: give a list of values"),
        (lambda: product(roles="ab"), "the axis roles of a sweep is 'ab': give a list"),
        (lambda: product([{"seed": 1}], seed=[2]), "seed is on two axes of a sweep"),
        (lambda: sweep.zip(a=[1], b=[1, 2]), r"differ in their number of values \(a 1, b 2\)"),
    ],
)
def test_axes_that_are_none_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def write(folder, body):
    path = folder / "mine.py"
    path.write_text(f"import numpy as np\nfrom pax.sweeps import product\n\n{body}\n")
    return str(path)


def test_a_sweep_may_depend_on_the_variant_and_come_from_numpy(tmp_path):
    body = (
        "def get_sweep(argument='a'):\n    return product(**{argument: np.geomspace(0.01, 1, 3)})"
    )
    path = write(tmp_path, body)
    expected = [{"b": pytest.approx(value)} for value in (0.01, 0.1, 1.0)]
    assert load_sweep(f"{path}:b") == expected
    assert [type(run["a"]) for run in load_sweep(path)] == [float] * 3


def test_arrays_of_jax_are_axes_of_numbers():
    # Trainers that a program makes take numbers, and no arrays without axes.
    runs = product(seed=jnp.arange(2), **{RATE: jnp.array([0.5, 0.25])})
    assert runs == product(seed=[0, 1], **{RATE: [0.5, 0.25]})
    assert [type(run["seed"]) for run in runs] == [int] * 4
    pairs = sweep.zip(seed=jnp.arange(2))
    assert [type(run["seed"]) for run in pairs] == [int] * 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "has no get_sweep(): define one that returns a list of overrides"),
        ("def get_sweep():\n    return []", "returned []: return a list with one dict per run"),
        ("def get_sweep():\n    return None", "returned None: return a list with one dict per run"),
        (
            "def get_sweep():\n    return {'seed': (0, 1)}",
            "returned {'seed': (0, 1)}: return a list with one dict per run",
        ),
        ("def get_sweep():\n    return [3]", "returned 3 for run 000: return a dict of settings"),
        ("def get_sweep():\n    return 1 / 0", "fails in line 5 with ZeroDivisionError"),
        (
            "def get_sweep():\n    return [{'seed': 1}, {'seed': 2}, {'seed': 1}]",
            "runs 000 and 002 of the sweep",
        ),
        ("def get_sweep():\n    return [{'seed': object()}]", "use numbers, text and tuples only"),
    ],
)
def test_a_sweep_that_is_none_is_refused(body, message, tmp_path):
    path = write(tmp_path, body)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sede": 1}, "sede is no setting: the config has no 'sede', did you mean seed?"),
        ({"agent1.learning_rat": 1.0}, "did you mean learning_rate?"),
        ({"seed": 0.5}, "seed is 0.5: give a whole number, such as 0"),
        ({"agent1": 3}, "agent1 is 3, but a section"),
        ({"callbacks.scalars.every": 3}, "every"),
        ({"agent1.type": "PPP"}, "did you mean PPO?"),
    ],
)
def test_overrides_that_do_not_fit_are_told_with_their_run(overrides, message):
    config = ipd.get_config("tabular,quicktest")
    with pytest.raises(ConfigError) as caught:
        check_sweep(config, [{"seed": 1}, overrides])
    assert message in str(caught.value)
    assert f"run 001 of the sweep ({describe(overrides)})" in str(caught.value)
    assert "\n" not in str(caught.value)


# How ml_collections loads a file is not ours to change.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_flags_set_what_the_overrides_say():
    overrides = {
        "seed": 3,
        RATE: 1e-3,
        "agent1.path": "a b",
        "callbacks.video.enabled": True,
        "env.payoff": ((-2, -2), (0, -3), (-3, 0), (-1.5, -1)),
    }
    path = pathlib.Path(ipd.__file__)
    argv = ["pax.main", f"--config={path}:tabular", *as_flags(overrides)]
    flag_values = sweep_flags(argv)
    assert read_flags(argv, flag_values) == ["pax.main"]
    expected = load_config(f"{path}:tabular")
    expected.update_from_flattened_dict(overrides)
    assert flag_values.config.to_dict() == expected.to_dict()
    assert flag_values.config.to_dict() != load_config(f"{path}:tabular").to_dict()


def sweep_flags(argv):
    flag_values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=flag_values, sys_argv=argv)
    return flag_values


def test_the_shipped_sweep_can_be_built():
    found = load_sweep(f"{ipd.__file__}:ppo")
    assert len(found) == 12
    assert {run["seed"] for run in found} == {0, 1, 2}
    check_sweep(ipd.get_config("ppo"), found[:1] + found[-1:])
    assert not any(isinstance(value, np.generic) for run in found for value in run.values())

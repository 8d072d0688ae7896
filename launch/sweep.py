"""Sweeps: all runs that the `get_sweep()` of a config file lists, on this machine or on a cluster.

    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates
    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates --max_parallel=2
    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates --executor=slurm --time=60
    tensorboard --logdir=exp/rates

As `python -m pax.sweeps`, with Slurm besides.
"""

import functools

from absl import app, flags

from launch.slurm import job
from pax.config.command_line import parse_flags
from pax.sweeps import __main__ as program

ELSEWHERE = {"slurm": job.submit_sweep}

sweep = functools.partial(program.sweep, elsewhere=ELSEWHERE)
main = functools.partial(program.main, elsewhere=ELSEWHERE)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this program."""
    program.define_flags(flag_values, elsewhere=tuple(ELSEWHERE))
    job.define_flags(flag_values)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse_flags)

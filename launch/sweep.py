"""Sweeps: all runs that the `get_sweep()` of a config file lists, on this machine or on a cluster.

    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates
    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates --max_parallel=2
    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates --executor=slurm --time=60
    tensorboard --logdir=exp/rates

As `python -m pax.sweeps`, with Slurm besides.
"""

import functools

from absl import app, flags

from launch.slurm.job import define_flags, submit_sweep
from pax.config.command_line import parse_flags
from pax.sweeps import __main__ as program

ELSEWHERE = {"slurm": submit_sweep}

if __name__ == "__main__":
    program.define_flags(elsewhere=tuple(ELSEWHERE))
    define_flags(flags.FLAGS)
    app.run(functools.partial(program.main, elsewhere=ELSEWHERE), flags_parser=parse_flags)

"""Sweeps: all runs that the `get_sweep()` of a config file lists, on this machine or on a cluster.

    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates
    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates --max_parallel=2
    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates --executor=slurm --time=60
    tensorboard --logdir=exp/rates

As `python -m pax.sweeps`, with Slurm besides.
"""

from absl import flags

from launch.slurm import job
from pax.config.command_line import run_program
from pax.sweeps import __main__ as program

ELSEWHERE = {"slurm": job.submit_sweep}


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    program.define_flags(flag_values, elsewhere=tuple(ELSEWHERE))
    job.define_flags(flag_values)


def main(arguments: list[str], given: flags.FlagValues) -> int:
    """Runs the sweep; returns the exit code."""
    return program.sweep(given, ELSEWHERE)


if __name__ == "__main__":
    run_program(main, define_flags, takes_arguments=False, computes=program.computes)

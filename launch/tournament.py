"""Tournaments: `python -m launch.tournament` is `python -m pax.evaluation.tournament`."""

from absl import app

from pax.config.command_line import parse_flags
from pax.evaluation.tournament import __doc__, define_flags, main  # noqa: F401
from pax.loop.xla import use_all_cores

if __name__ == "__main__":
    use_all_cores()
    define_flags()
    app.run(main, flags_parser=parse_flags)

"""Writes a report of runs: `python -m launch.report` is `python -m pax.report`."""

from absl import app

from pax.report.__main__ import __doc__, main, parse_flags  # noqa: F401

if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)

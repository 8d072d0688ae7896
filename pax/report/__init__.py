"""The HTML page about runs: `python -m pax.report`."""

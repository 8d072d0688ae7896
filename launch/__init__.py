"""Launchers, benchmarks and tables of the literature, run in the checkout: `python -m launch.<name>`."""

"""What starts programs and measures them: used from the checkout, each by `python -m launch.<name>`."""

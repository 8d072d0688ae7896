"""The one compiled computation, from a step to an iteration, and where it runs."""

"""Metrics of a run: how they are computed, and where they are written."""

"""Saved policies judged: beside training, and against each other."""

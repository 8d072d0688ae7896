"""Runs and sweeps on Slurm."""

"""Measures the speed of games, training and starting, and compares it with hardware limits and libraries."""

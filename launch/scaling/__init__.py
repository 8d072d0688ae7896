"""Measures how time and memory of an iteration grow with batch axes and devices."""

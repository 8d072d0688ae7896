"""The folder and the process of a run: files, locks, signals, other processes."""

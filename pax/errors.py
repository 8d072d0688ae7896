"""Errors that a user can cause; the message is one sentence that names the key, the value and the remedy."""


class PaxError(Exception):
    """Base of all of them."""


class ConfigError(PaxError, ValueError):
    """Something in the configuration cannot work."""


class CheckpointError(PaxError):
    """A checkpoint or a policy file cannot be read or written."""


class TrainingError(PaxError):
    """Training went wrong, such as a loss that is not a number."""

"""What a config is, before it is run: its settings and their meaning, its roles, what it will cost."""

from pax.describe.page import describe

__all__ = ["describe"]

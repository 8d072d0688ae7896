"""What a config is, before it is run: its settings and their meaning, its roles, what it will cost."""

from pax.describe.page import describe
from pax.describe.variants import variants_page

__all__ = ["describe", "variants_page"]

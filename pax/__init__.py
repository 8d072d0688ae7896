"""Pax: learning among learners in JAX."""

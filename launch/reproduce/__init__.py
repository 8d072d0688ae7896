"""Tables of the literature in one command each."""

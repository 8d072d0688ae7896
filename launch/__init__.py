"""Programs around training: tables of the literature in one command each."""

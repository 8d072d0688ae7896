"""The league: every method against every other, against learners, and what a best response wins."""

"""Train every system on the same hours and compare."""

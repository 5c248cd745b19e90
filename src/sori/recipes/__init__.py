"""Complete settings of runs, as functions that return data."""

"""Figures; each function returns a matplotlib figure and saves nothing."""

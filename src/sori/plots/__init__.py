"""Figures and HTML pages; plotting functions return a matplotlib figure and write no files."""

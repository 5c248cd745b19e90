"""Measurements of a trained system."""

"""Runs: a recipe and data in, a trained model out."""

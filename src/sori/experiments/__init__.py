"""Experiments that combine several runs."""

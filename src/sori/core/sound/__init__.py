"""Decoding of sound files of every common kind, to the end and whatever their headers state.

The modules import numpy, soundfile and, for what soundfile cannot decode, PyAV; nothing else, so that the processes of
`sori prepare` start in a fraction of a second.
"""

"""Scenes: the embedded data set, drawn from a seed with its ground truth.

A laboratory, not a benchmark: its figures never stand beside a web-scale figure.
"""

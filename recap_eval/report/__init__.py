"""Renderers: a table of results in, markdown, csv, plots and html out."""

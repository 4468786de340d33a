"""Plots of boards: plain data, its digest, and a painter of each."""

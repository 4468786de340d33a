"""A study: a declared grid of our own commands, run as a graph whose done nodes are skipped."""

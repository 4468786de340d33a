"""A captioning run in a folder: every row once, whoever works on it and whatever dies. docs/recaptioning.md tells how."""

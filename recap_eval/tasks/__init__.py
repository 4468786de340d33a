"""Tasks: what is asked of a model on a data set, one file a kind."""

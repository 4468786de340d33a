"""What a run would take, found out by captioning a few images of its input."""

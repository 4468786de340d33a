"""What `recap-caption` does, one file a command. Standard library only at import."""

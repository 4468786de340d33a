"""What the commands of `recap-caption` do, one file a command. Standard library only at import."""

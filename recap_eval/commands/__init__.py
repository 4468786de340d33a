"""What the commands of `recap-eval` do, once their words are parsed; one file a command."""

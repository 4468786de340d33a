"""What a gallery of generated images shows; no formatting."""

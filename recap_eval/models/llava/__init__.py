"""What every LLaVA needs beside its weights: chat template, tokens for images and padding, ends of answers."""

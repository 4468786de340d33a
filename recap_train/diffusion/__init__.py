"""Text-to-image diffusion transformers on mixed captions."""

"""Training on mixed captions: CLIP, diffusion transformers and captioners."""

"""Prompts and a text-to-image model to a folder of images with its manifest, and such folders read back."""

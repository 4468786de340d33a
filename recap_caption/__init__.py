"""Recaptioning image-text data."""

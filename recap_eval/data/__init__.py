"""Data sets: one file or folder a family, each yielding images with their texts and a fingerprint."""

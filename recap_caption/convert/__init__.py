"""Checkpoints in LLaVA's original format → folders that transformers and vLLM load. Nothing in a checkpoint is executed."""

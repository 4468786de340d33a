"""Captioners: LLaVAs trained in stages with TRL, and a small one for scenes trained whole."""

"""A vision LLM as a judge of captions and images: what it is asked, how its answers are read and kept."""

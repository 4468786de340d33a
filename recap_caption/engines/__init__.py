"""What makes captions: models in this process, and servers. An engine knows nothing of shards, files and commits."""

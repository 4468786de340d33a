"""What is captioned: shards, parquet files, folders of images. A reader knows nothing of engines, rows and commits."""

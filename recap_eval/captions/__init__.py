"""Caption sets: read in batches, and what their texts alone say, as states that add up."""

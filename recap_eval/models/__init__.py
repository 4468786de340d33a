"""Model adapters: one file a library, each a `DualEncoder`."""

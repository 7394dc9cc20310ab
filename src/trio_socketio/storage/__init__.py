"""What a node keeps on its own disk: one SQLite file, which one thread owns."""

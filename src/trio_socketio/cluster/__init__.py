"""The nodes of a cluster: which there are, and what they ask each other."""

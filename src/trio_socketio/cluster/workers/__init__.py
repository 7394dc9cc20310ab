"""Several processes of one program: a parent, and workers that share its public listeners."""

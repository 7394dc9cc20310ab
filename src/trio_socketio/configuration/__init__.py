"""The configuration of the program: read from a file, the environment and the command line."""

"""What holds for every test: a time limit, and that some run alone."""

pytest_plugins = ["tests.time_limit", "tests.alone"]

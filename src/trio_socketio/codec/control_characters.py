"""Makes text from elsewhere safe for a terminal and for the log."""


def escape(text: str) -> str:
    """Escape control characters, so that text from a client cannot look like a line of ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""The name of a namespace, of which callers may omit the leading slash."""


def full_name(name: str) -> str:
    """Return the name of a namespace with its leading slash (CHAT-03, IM-30)."""
    return name if name.startswith("/") else f"/{name}"

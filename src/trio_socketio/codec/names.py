"""Which characters a name may have: that of a user, a room, a namespace, an event or a message.

People write names in their own scripts, which need characters that Python does not call printable:
joiners within words and emoji, and spaces other than ours. So only those are refused that would
break a line, reorder the text around them, or cannot be encoded. What a terminal or the log cannot
show is escaped there.
"""

import re
from typing import Final

_find_unfit: Final = re.compile(
    "[\0-\x1f\x7f-\x9f"  # control characters
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"  # marks that reorder the text around them
    "\ufeff\ufff9-\ufffb"  # the byte order mark, and marks of annotations
    "\ud800-\udfff]"  # halves of surrogate pairs
).search


def unfit_character(name: str) -> str:
    """Return the first character that no name can have, as U+000A; empty if there is none."""
    if name.isprintable():
        return ""
    found = _find_unfit(name)
    return "" if found is None else f"U+{ord(found[0]):04X}"

"""Lists that are shown page by page, in the order of their items' names."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Final, TypeVar

import msgspec
import trio
from msgspec import Meta

from trio_socketio.control.failures import invalid

Item = TypeVar("Item")

_CHUNK: Final = 2000

Limit = Annotated[int, Meta(ge=1, le=1000)]
"""The most items on a page."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of every page that describe the whole list."""

    total: Annotated[int, Meta(description="how many there are.")]
    next: Annotated[
        str | None,
        Meta(description="the value of after for the next page; null if this is the last one."),
    ]


def check_place(after: str | None, form: Callable[[str], object], what: str) -> None:
    """Refuse an ``after`` that can never be the ``next`` of a page (CONTROL-18).

    Args:
        after: the parameter of the call; None for the first page.
        form: matches the names that may be in the list.
        what: describes those names, for the error.
    Raises:
        ControlError: form does not match.
    """
    if after is not None and not form(after):
        raise invalid(
            "after",
            f"expected the value of next from the previous page, {what}, not {after[:100]!r}",
        )


async def cut_page(
    items: Iterable[Item],
    name: Callable[[Item], str],
    after: str | None,
    limit: int,
    keep: Callable[[Item], bool] | None = None,
) -> tuple[list[Item], int, str | None]:
    """Cut the page out of a list that follows a name.

    A page is found by names, not numbers, so that no item is shown twice or left out when others
    come and go meanwhile (CONTROL-08). Long lists are processed in chunks, between which other
    tasks run.

    Args:
        items: the whole list, in any order; it must not change.
        name: returns the name of an item.
        after: the last name of the page before; None for the first page.
        limit: how many items the page may hold.
        keep: whether an item belongs to the list; None means that all do.
    Returns:
        The page, the length of the whole list, and the last name if more follow.
    """
    rest = iter(items)
    best: list[Item] = []
    total = 0
    while chunk := list(islice(rest, _CHUNK)):
        is_last = len(chunk) < _CHUNK
        if keep is not None:
            chunk = [item for item in chunk if keep(item)]
        total += len(chunk)
        if after is not None:
            chunk = [item for item in chunk if name(item) > after]
        best = sorted(best + chunk, key=name)[: limit + 1]
        if not is_last:
            await trio.lowlevel.checkpoint()
    page = best[:limit]
    return page, total, name(page[-1]) if len(best) > limit else None

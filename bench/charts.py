"""Draws SVG charts: lines on logarithmic axes, and bars."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 20, 50, 60
COLORS = ("#0b6e99", "#d9730d", "#4d8a4f", "#9a5bb5", "#b03a48", "#777777")
Points = Sequence[tuple[float, float]]


def _text(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str = "#dddddd") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}"/>'


def _number(value: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def _document(title: str, body: Sequence[str]) -> str:
    style = 'font-family="sans-serif" font-size="12" fill="#333333"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" {style}>'
    )
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    heading = _text(WIDTH / 2, 22, title, extra='font-size="15"')
    return "\n".join([head, background, heading, *body, "</svg>", ""])


def _legend(names: Sequence[str]) -> list[str]:
    parts: list[str] = []
    x = float(LEFT)
    for at, name in enumerate(names):
        color = COLORS[at % len(COLORS)]
        parts.append(f'<rect x="{x:.1f}" y="31" width="10" height="10" fill="{color}"/>')
        parts.append(_text(x + 14, 40, name, "start"))
        x += 30 + 6.6 * len(name)
    return parts


def _axis_names(x_name: str, y_name: str) -> list[str]:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'transform="rotate(-90 16 {middle:.1f})"'
    return [
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_name),
        _text(16, middle, y_name, extra=turned),
    ]


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten in reach; only 1 when that would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) < 4 else (1,)
    found = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]


def line_chart(title: str, x_name: str, y_name: str, series: Mapping[str, Points]) -> str:
    """Both axes logarithmic; points without a place there are left out."""
    shown = {name: [p for p in points if min(p) > 0] for name, points in series.items()}
    xs = [x for points in shown.values() for x, _ in points]
    ys = [y for points in shown.values() for _, y in points]
    if not xs:
        return _document(title, [_text(WIDTH / 2, HEIGHT / 2, "not measured")])
    x_low, x_high = min(xs), max(max(xs), min(xs) * 1.01)
    y_low, y_high = min(ys) / 1.5, max(ys) * 1.5

    def place(x: float, y: float) -> tuple[float, float]:
        across = math.log(x / x_low) / math.log(x_high / x_low)
        up = math.log(y / y_low) / math.log(y_high / y_low)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    body = [*_legend(list(shown)), *_axis_names(x_name, y_name)]
    for tick in _ticks(y_low, y_high):
        _, y = place(x_low, tick)
        body += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 6, y + 4, _number(tick), "end")]
    for tick in sorted(set(xs)):
        x, _ = place(tick, y_low)
        body += [_line(x, TOP, x, HEIGHT - BOTTOM), _text(x, HEIGHT - BOTTOM + 16, _number(tick))]
    for at, points in enumerate(shown.values()):
        color = COLORS[at % len(COLORS)]
        placed = [place(x, y) for x, y in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in placed]
    return _document(title, body)


def bar_chart(
    title: str, y_name: str, groups: Sequence[str], series: Mapping[str, Sequence[float | None]]
) -> str:
    """Bars from zero, side by side in each group; None leaves a gap."""
    values = [value for column in series.values() for value in column if value is not None]
    if not values or max(values) <= 0:
        return _document(title, [_text(WIDTH / 2, HEIGHT / 2, "not measured")])
    scale = (HEIGHT - TOP - BOTTOM) / (max(values) * 1.1)
    floor = HEIGHT - BOTTOM
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    width = slot * 0.8 / len(series)
    body = [*_legend(list(series)), *_axis_names("", y_name)]
    step = 10.0 ** math.floor(math.log10(max(values)))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if max(values) / s <= 8)
    for count in range(int(max(values) * 1.1 / step) + 1):
        y = floor - count * step * scale
        body += [
            _line(LEFT, y, WIDTH - RIGHT, y),
            _text(LEFT - 6, y + 4, _number(count * step), "end"),
        ]
    for at, group in enumerate(groups):
        body.append(_text(LEFT + (at + 0.5) * slot, floor + 18, group))
        for which, column in enumerate(series.values()):
            value = column[at]
            if value is None:
                continue
            x = LEFT + at * slot + slot * 0.1 + which * width
            height = value * scale
            color = COLORS[which % len(COLORS)]
            box = f'x="{x:.1f}" y="{floor - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
            body.append(f'<rect {box} fill="{color}"/>')
            body.append(_text(x + width / 2, floor - height - 3, _number(value)))
    return _document(title, body)

"""Plots of seconds against sizes, both on logarithmic scales, as SVG without a script or a font of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 290, 50, 50
COLORS = ("#2f6fb0", "#c2571a", "#2e8b57", "#8a4fa3", "#b03a48", "#64748b", "#9a7b0f")
_LEAST_BETWEEN = 16
"""Pixels between two labels."""
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2937}.grid{stroke:#9ca3af;stroke-opacity:.35}svg{background:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}svg{background:#111827}}"
)


@dataclass(frozen=True)
class Line:
    """The seconds of one kind of work by size."""

    label: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class _Scale:
    """Maps the powers of ten between two values to pixels."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Scale:
        low, high = floor(log10(min(values))), ceil(log10(max(values)))
        return cls(low, max(high, low + 1), start, end)

    def __call__(self, value: float) -> float:
        return self.start + (log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def powers(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def plot(title: str, of_sizes: str, lines: Sequence[Line]) -> str:
    """Return a plot as SVG. A line that grows with the size rises by one step of the grid in each step to the right."""
    x = _Scale.over([size for line in lines for size, _ in line.points], LEFT, WIDTH - RIGHT)
    y = _Scale.over([seconds for line in lines for _, seconds in line.points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}: seconds by number of {escape(of_sizes)}">',
        f"<style>{_STYLE}</style>",
        f'<text x="{LEFT}" y="24" font-weight="bold">{escape(title)}</text>',
        *_grid(x, y, of_sizes),
    ]
    at = _labels([y(line.points[-1][1]) for line in lines])
    for line, color, label in zip(lines, COLORS, at, strict=False):
        path = " ".join(f"{x(size):.1f},{y(seconds):.1f}" for size, seconds in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x(size):.1f}" cy="{y(seconds):.1f}" r="3" fill="{color}">'
            f"<title>{escape(line.label)}, {size:,}: {spelled(seconds)}</title></circle>"
            for size, seconds in line.points
        ]
        text = f"{line.label}, {spelled(line.points[-1][1])}"
        parts.append(
            f'<text x="{x(line.points[-1][0]) + 10:.1f}" y="{label + 4:.1f}" style="fill:{color}">{escape(text)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def spelled(seconds: float) -> str:
    """Return a duration with a unit that suits it."""
    if seconds >= 1:
        return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.3g} s"  # noqa: PLR2004 -- three digits
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"  # noqa: PLR2004 -- a millisecond


def _grid(x: _Scale, y: _Scale, of_sizes: str) -> Iterator[str]:
    for size in x.powers:
        yield f'<line class="grid" x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{size:,.0f}</text>'
    for seconds in y.powers:
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(seconds):.1f}" y2="{y(seconds):.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y(seconds) + 4:.1f}" text-anchor="end">{spelled(seconds)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(of_sizes)}</text>'


def _labels(wanted: Sequence[float]) -> list[float]:
    """Return the heights of labels near the wanted ones, with room between them."""
    placed: dict[int, float] = {}
    last = float("-inf")
    for at in sorted(range(len(wanted)), key=wanted.__getitem__):
        last = placed[at] = max(wanted[at], last + _LEAST_BETWEEN)
    return [placed[at] for at in range(len(wanted))]

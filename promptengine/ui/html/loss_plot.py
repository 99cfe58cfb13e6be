"""The losses of a training as a drawing that takes the page's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["LossPoint", "losses_svg", "thinned"]

LossPoint = tuple[int, float, float]
"""Step, loss and smoothed loss."""

_WIDTH: Final = 720
_HEIGHT: Final = 280
_LEFT: Final = 56
_RIGHT: Final = 24
_TOP: Final = 14
_BOTTOM: Final = 34
_TICKS: Final = 4


def thinned(points: list[LossPoint], most: int = 600) -> list[LossPoint]:
    """Every second point where there are too many; the last one stays."""
    return points if len(points) <= most else [*points[:-1][::2], points[-1]]


def losses_svg(points: Sequence[LossPoint], steps: int) -> str:
    """Draw each loss as a point and the smoothed loss as a line.

    Args:
        points: In the order of their steps.
        steps: Of the whole training, which is the width of the drawing.
    """
    # A few points above would press all others flat; they are drawn at the upper edge.
    high = max((point[2] for point in points), default=0.5) * 2 or 1.0

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(steps, 1)

    def y(loss: float) -> float:
        share = min(max(loss / high, 0.0), 1.0)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    rules = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3g}</text>'
        for loss in (high * tick / _TICKS for tick in range(_TICKS + 1))
    )
    marks = "".join(
        f'<text x="{x(step):.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{step:.0f}</text>'
        for step in (steps * tick / _TICKS for tick in range(_TICKS + 1))
    )
    dots = "".join(
        f'<circle cx="{x(step):.1f}" cy="{y(loss):.1f}" r="1.6"/>' for step, loss, _ in points
    )
    line = " ".join(f"{x(step):.1f},{y(smoothed):.1f}" for step, _, smoothed in points)
    return (
        f'<svg class="pe-losses" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="loss over the steps">{rules}{marks}<g>{dots}</g><polyline points="{line}"/></svg>'
    )

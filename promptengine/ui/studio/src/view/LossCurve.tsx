// The losses of a training: each as a point, and the smoothed loss as a line.
import { useEffect, useRef, useState } from "preact/hooks";
import type { TrainingStatus } from "../api";

const HEIGHT = 220;
const [LEFT, RIGHT, TOP, BOTTOM] = [48, 24, 12, 28];
const TICKS = [0, 1, 2, 3, 4];

type Points = TrainingStatus["points"];

export function LossCurve({ points, steps }: { points: Points; steps: number }) {
  const drawn = useRef<SVGSVGElement>(null);
  const width = useWidth(drawn);
  // A few points above would press all others flat; they are drawn at the upper edge.
  const high = Math.max(...points.map((one) => one.smoothed_loss)) * 2 || 1;
  const x = (step: number) => LEFT + ((width - LEFT - RIGHT) * step) / Math.max(steps, 1);
  const y = (loss: number) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * Math.min(Math.max(loss / high, 0), 1);
  const line = points.map((one) => `${x(one.step).toFixed(1)},${y(one.smoothed_loss).toFixed(1)}`).join(" ");
  return (
    <svg ref={drawn} class="losses" viewBox={`0 0 ${width} ${HEIGHT}`} height={HEIGHT} role="img" aria-label={described(points)}>
      {TICKS.map((tick) => {
        const loss = (high * tick) / 4;
        return (
          <g key={tick}>
            <line x1={LEFT} x2={width - RIGHT} y1={y(loss)} y2={y(loss)} />
            <text x={LEFT - 8} y={y(loss) + 4} text-anchor="end">{loss.toPrecision(2)}</text>
            <text x={x((steps * tick) / 4)} y={HEIGHT - 8} text-anchor="middle">{Math.round((steps * tick) / 4)}</text>
          </g>
        );
      })}
      {points.map((one) => <circle key={one.step} cx={x(one.step)} cy={y(one.loss)} r="2" />)}
      <polyline points={line} />
    </svg>
  );
}

/** The width that an element has, so that what is written in it keeps its size. */
function useWidth(element: { current: Element | null }): number {
  const [width, setWidth] = useState(720);
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(Math.round(entry?.contentRect.width ?? 0), 200)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** What the curve shows, for those who do not see it. */
function described(points: Points): string {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last) return "Loss over the steps";
  const lowest = Math.min(...points.map((one) => one.smoothed_loss));
  return (
    `Loss over the steps: the smoothed loss was ${first.smoothed_loss.toFixed(4)} at step ${first.step}, is ` +
    `${last.smoothed_loss.toFixed(4)} at step ${last.step}, and was ${lowest.toFixed(4)} at its lowest.`
  );
}

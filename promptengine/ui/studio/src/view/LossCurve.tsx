// The losses of a training: each as a point, and the smoothed loss as a line.
import type { TrainingStatus } from "../api";

const [WIDTH, HEIGHT] = [720, 240];
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 24, 12, 28];
const TICKS = [0, 1, 2, 3, 4];

type Points = TrainingStatus["points"];

export function LossCurve({ points, steps }: { points: Points; steps: number }) {
  const smoothed = points.map(([, , loss]) => loss);
  // A few points above would press all others flat; they are drawn at the upper edge.
  const high = Math.max(...smoothed) * 2 || 1;
  const x = (step: number) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / Math.max(steps, 1);
  const y = (loss: number) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * Math.min(Math.max(loss / high, 0), 1);
  const line = points.map(([step, , loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  return (
    <svg class="losses" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={described(points)}>
      {TICKS.map((tick) => {
        const loss = (high * tick) / 4;
        return (
          <g key={tick}>
            <line x1={LEFT} x2={WIDTH - RIGHT} y1={y(loss)} y2={y(loss)} />
            <text x={LEFT - 8} y={y(loss) + 4} text-anchor="end">{loss.toPrecision(2)}</text>
            <text x={x((steps * tick) / 4)} y={HEIGHT - 8} text-anchor="middle">{Math.round((steps * tick) / 4)}</text>
          </g>
        );
      })}
      {points.map(([step, loss]) => <circle key={step} cx={x(step)} cy={y(loss)} r="1.6" />)}
      <polyline points={line} />
    </svg>
  );
}

/** What the curve shows, for those who do not see it. */
function described(points: Points): string {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last) return "Loss over the steps";
  const lowest = Math.min(...points.map(([, , loss]) => loss));
  return (
    `Loss over the steps: the smoothed loss was ${first[2].toFixed(4)} at step ${first[0]}, is ` +
    `${last[2].toFixed(4)} at step ${last[0]}, and was ${lowest.toFixed(4)} at its lowest.`
  );
}

// What the charts of a site have in common: the site's clock on the time axis, and a line at its latest tick.

import type uPlot from "uplot";
import type { Colours } from "./plot";

/** All charts of a site share the cursor and the width of their axes, so that a time is at the same place in all that cover it. */
export const CURSOR: uPlot.Cursor = { sync: { key: "site" }, drag: { x: false, y: false }, points: { size: 6 } };
export const AXIS = 52;

export function axis(colours: Colours, more: uPlot.Axis): uPlot.Axis {
  return {
    stroke: colours.text,
    grid: { stroke: colours.grid, width: 1 },
    ticks: { stroke: colours.grid, width: 1, size: 4 },
    font: "12px system-ui, sans-serif",
    ...more,
  };
}

export function timeAxis(colours: Colours): uPlot.Axis {
  const text = (ticks: number[], offset: number) =>
    ticks.map((tick) => new Date((tick + offset) * 1000).toISOString().slice(11, 16));
  return axis(colours, {
    space: 56,
    size: 32,
    incrs: [60, 300, 900, 3600, 7200, 10800, 14400, 21600, 43200, 86400],
    values: (u, ticks) => text(ticks, offsets.get(u) ?? 0),
  });
}

/** Offset of the site's clock per chart, for its axis. */
const offsets = new WeakMap<uPlot, number>();
const nows = new WeakMap<uPlot, number>();

/** A line at the time of the latest tick: left of it happened, right of it is planned. */
export function nowLine(colours: Colours): uPlot.Plugin {
  return {
    hooks: {
      draw: (u) => {
        const now = nows.get(u);
        if (now === undefined) return;
        const x = Math.round(u.valToPos(now, "x", true));
        const { left, top, width, height } = u.bbox;
        if (x < left || x > left + width) return;
        u.ctx.save();
        u.ctx.strokeStyle = colours.text;
        u.ctx.lineWidth = devicePixelRatio;
        u.ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
        u.ctx.beginPath();
        u.ctx.moveTo(x, top);
        u.ctx.lineTo(x, top + height);
        u.ctx.stroke();
        u.ctx.restore();
      },
    },
  };
}

export function clockOptions(u: { offset: number; now: number }): uPlot.Plugin {
  return { hooks: { init: (plot) => { offsets.set(plot, u.offset); nows.set(plot, u.now); } } };
}

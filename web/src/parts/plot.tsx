// A uPlot chart that follows its container's width and the system's light or dark colours.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Colours {
  text: string;
  grid: string;
  blue: string;
  grey: string;
  red: string;
  amber: string;
  green: string;
}

/** The palette is in the style sheet, once; a canvas has to be told. */
function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: read("muted"), grid: read("line"), blue: read("blue"), grey: read("plan"), red: read("red"), amber: read("amber"), green: read("green"),
  };
}

interface Props {
  /** Made again when the colours change. */
  options: (colours: Colours) => Omit<uPlot.Options, "width" | "height">;
  data: uPlot.AlignedData;
  height: number;
  /** What the chart shows, for those who do not see it. */
  label: string;
}

export function Plot({ options, data, height, label }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(data);
  const [theme, setTheme] = useState(0);

  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const change = () => { setTheme((n) => n + 1); };
    dark.addEventListener("change", change);
    return () => { dark.removeEventListener("change", change); };
  }, []);

  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const size = () => ({ width: Math.max(200, element.clientWidth), height });
    const made = new uPlot({ ...options(colours()), ...size() }, latest.current, element);
    plot.current = made;
    const observer = new ResizeObserver(() => { made.setSize(size()); });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [theme, height, options]);

  useEffect(() => {
    latest.current = data;
    plot.current?.setData(data);
  }, [data]);

  return <div class="plot" ref={box} role="img" aria-label={label} />;
}

// A line chart of the last minutes, drawn as SVG in the size that it has on the
// screen. The pointer, or the arrow keys, choose the sample that is read out.

import { clock } from "./format.js";

const svg = (name, attributes = {}) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  return node;
};

const margin = { top: 6, right: 4, bottom: 18, left: 62 };
const near = 4000; // milliseconds, from a mark

export class Chart {
  /**
   * series: [{key, format}], at most two, the first filled and the second
   * dashed, on one axis that is labelled by the function axis.
   */
  constructor(figure, series, axis, span, describe) {
    this.series = series;
    this.axis = axis;
    this.span = span; // milliseconds
    this.describe = describe;
    this.samples = [];
    this.marks = []; // of events: {time, look, text}
    this.chosen = null; // time of the sample that is read out; null for the last
    this.when = figure.querySelector(".when");
    this.values = series.map(({ key }) => figure.querySelector(`[data-of="${key}"]`));

    this.root = svg("svg", { class: "chart", tabindex: "0", role: "img" });
    this.grid = this.root.appendChild(svg("g"));
    this.area = this.root.appendChild(svg("path", { class: "area" }));
    this.flags = this.root.appendChild(svg("g"));
    this.lines = ["one", "two"].slice(0, series.length).map((name) => this.root.appendChild(svg("path", { class: name })));
    this.cursor = this.root.appendChild(svg("line", { class: "cursor" }));
    figure.append(this.root);

    new ResizeObserver(() => this.draw()).observe(this.root);
    this.root.addEventListener("pointermove", (event) => this.point(event));
    this.root.addEventListener("pointerleave", () => this.choose(null));
    this.root.addEventListener("blur", () => this.choose(null));
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  update(samples, marks) {
    this.samples = samples;
    this.marks = marks;
    this.draw();
  }

  get visible() {
    const now = this.samples.at(-1)?.time ?? 0;
    return this.samples.filter(({ time }) => time >= now - this.span);
  }

  draw() {
    const { width, height } = this.root.getBoundingClientRect();
    if (width === 0) {
      return;
    }
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const samples = this.visible;
    const now = samples.at(-1)?.time ?? Date.now();
    const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
    const drawn = thin(samples, this.span / Math.max(1, inner.width / 2), this.series);
    const highest = Math.max(0, ...drawn.flatMap((s) => this.series.map(({ key }) => s[key])));
    const top = roundUp(highest);
    this.x = (time) => margin.left + inner.width * (1 - (now - time) / this.span);
    this.timeAt = (x) => now - this.span * (1 - (x - margin.left) / inner.width);
    const y = (value) => margin.top + inner.height * (1 - value / top);

    this.drawGrid(width, height, y, top);
    this.drawMarks(height, now);
    this.series.forEach(({ key }, i) => {
      const points = drawn.map((s) => `${this.x(s.time).toFixed(1)},${y(s[key]).toFixed(1)}`);
      const line = points.length > 1 ? "M" + points.join("L") : "";
      this.lines[i].setAttribute("d", line);
      if (i === 0) {
        const [first, last] = [drawn[0], drawn.at(-1)].map((s) => (s ? this.x(s.time).toFixed(1) : 0));
        this.area.setAttribute("d", line && `${line}L${last},${y(0)}L${first},${y(0)}Z`);
      }
    });
    this.root.setAttribute("aria-label", this.describe(samples));
    this.read(height);
  }

  drawGrid(width, height, y, top) {
    const nodes = [];
    for (const value of [0, top / 2, top]) {
      const at = Math.round(y(value)) + 0.5;
      nodes.push(svg("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: at, y2: at }));
      const label = svg("text", { x: margin.left - 6, y: at + 4, "text-anchor": "end" });
      label.textContent = this.axis(value);
      nodes.push(label);
    }
    const minutes = this.span / 60000;
    for (const [share, anchor, text] of [[0, "start", `${minutes} min ago`], [0.5, "middle", `${minutes / 2} min ago`], [1, "end", "now"]]) {
      const label = svg("text", { x: margin.left + (width - margin.left - margin.right) * share, y: height - 3, "text-anchor": anchor });
      label.textContent = text;
      nodes.push(label);
    }
    this.grid.replaceChildren(...nodes);
  }

  drawMarks(height, now) {
    const shown = this.marks.filter(({ time }) => time > now - this.span && time <= now);
    this.flags.replaceChildren(...shown.slice(-60).flatMap(({ time, look }) => {
      const x = this.x(time).toFixed(1);
      const foot = height - margin.bottom;
      return [
        svg("line", { class: `flag ${look}`, x1: x, x2: x, y1: margin.top, y2: foot }),
        svg("path", { class: `flag ${look}`, d: `M${x},${foot - 6}l4,6h-8z` }),
      ];
    }));
  }

  point(event) {
    const { left } = this.root.getBoundingClientRect();
    const time = this.timeAt(event.clientX - left);
    const nearest = this.visible.reduce((best, s) => (!best || Math.abs(s.time - time) < Math.abs(best.time - time) ? s : best), null);
    this.choose(nearest?.time ?? null);
  }

  key(event) {
    const samples = this.visible;
    let at = samples.findIndex(({ time }) => time === this.chosen);
    at = at < 0 ? samples.length - 1 : at;
    const step = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 60, PageDown: at + 60, Home: 0, End: samples.length - 1 }[event.key];
    if (event.key === "Escape") {
      this.choose(null);
    } else if (step !== undefined && samples.length > 0) {
      event.preventDefault();
      this.choose(samples[Math.min(Math.max(step, 0), samples.length - 1)].time);
    }
  }

  choose(time) {
    this.chosen = time;
    this.read(this.root.getBoundingClientRect().height);
  }

  /** Shows the values of the chosen sample, or of the last. */
  read(height) {
    const sample = this.samples.find(({ time }) => time === this.chosen);
    const shown = sample ?? this.samples.at(-1);
    const beside = sample ? this.marks.filter(({ time }) => Math.abs(time - sample.time) < near).at(-1) : null;
    this.when.textContent = sample ? `at ${clock(new Date(sample.time))}${beside ? `, ${beside.text}` : ""}` : "";
    this.series.forEach(({ key, format }, i) => {
      this.values[i].textContent = shown ? format(shown[key]) : "–";
    });
    this.cursor.toggleAttribute("hidden", !sample);
    if (sample && this.x) {
      const x = this.x(sample.time).toFixed(1);
      for (const [key, value] of Object.entries({ x1: x, x2: x, y1: margin.top, y2: height - margin.bottom })) {
        this.cursor.setAttribute(key, value);
      }
    }
  }
}

/**
 * The mean of the samples in each stretch of at least so many milliseconds. The
 * stretches stand still in time, so that the line does not flicker as it moves.
 */
function thin(samples, least, series) {
  const stretch = Math.ceil(least / 1000) * 1000;
  const means = [];
  let begin = null;
  let n = 0;
  for (const s of samples) {
    const at = Math.floor(s.time / stretch);
    if (at !== begin) {
      begin = at;
      n = 0;
      means.push({ ...s });
    }
    n++;
    const mean = means.at(-1);
    for (const key of ["time", ...series.map(({ key }) => key)]) {
      mean[key] += (s[key] - mean[key]) / n;
    }
  }
  return means;
}

/** The next number above that has a half that reads well; at least 2. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return Math.max(2, [1, 2, 3, 4, 6, 8, 10].map((n) => n * power).find((n) => n >= value) ?? value);
}

/** A small curve without a scale, for a glance. */
export class Spark {
  constructor() {
    this.node = svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.area = this.node.appendChild(svg("path", { class: "area" }));
    this.line = this.node.appendChild(svg("path", { class: "one" }));
    this.drawn = "";
  }

  /** Draws the last values, oldest first, of so many that there may be. */
  draw(values, most) {
    const top = Math.max(4, ...values) * 1.1;
    const from = 100 - (100 * (values.length - 1)) / (most - 1);
    const points = values.map((v, i) => `${(from + (100 * i) / (most - 1)).toFixed(1)},${(23 - (22 * v) / top).toFixed(1)}`);
    const line = points.length > 1 ? "M" + points.join("L") : "";
    if (line !== this.drawn) {
      this.drawn = line;
      this.line.setAttribute("d", line);
      this.area.setAttribute("d", line && `${line}L100,24L${from.toFixed(1)},24Z`);
    }
  }
}

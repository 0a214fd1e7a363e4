// Numbers and times, as people read them.

const plain = new Intl.NumberFormat("en");

/** 12,345 */
export function count(n) {
  return plain.format(n);
}

/** Three digits and a unit: 999, 1.2 k, 34 M. */
export function short(n, units = ["", " k", " M", " G", " T", " P"]) {
  let i = 0;
  while (n >= 999.5 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  const digits = n >= 100 || Number.isInteger(n) ? 0 : n >= 10 ? 1 : 2;
  return Number(n.toFixed(digits)) + units[i];
}

export function bytes(n) {
  return short(n, [" B", " kB", " MB", " GB", " TB", " PB"]);
}

export function rate(n) {
  return short(n) + "/s";
}

export function byteRate(n) {
  return bytes(n) + "/s";
}

export function clock(time) {
  return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

/** The two largest units: 3 d 4 h. */
export function duration(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let first = parts.findIndex(([, size]) => seconds >= size);
  if (first < 0) {
    return "0 s";
  }
  const words = [];
  for (const [unit, size] of parts.slice(first, first + 2)) {
    const n = Math.floor(seconds / size);
    seconds -= n * size;
    if (n > 0) {
      words.push(`${n} ${unit}`);
    }
  }
  return words.join(" ");
}

/** Seconds, as long as connecting takes: 0.42 ms. */
export function latency(seconds) {
  return seconds < 1 ? `${Number((seconds * 1000).toPrecision(2))} ms` : `${Number(seconds.toPrecision(2))} s`;
}

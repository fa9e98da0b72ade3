// The question of the page, answered in the page: what reports/verdict.py does, word for word.
// `data` is what page.py embeds: the contenders with their sizes and laws, and the question to begin with.
"use strict";

const FLOWERS = 150, LEAST_SAMPLING = 10, REACH = 10, ONE_VALUE = 0.2, NOISE_FLOOR = 0.05, SETTLED = 100_000;
const YES = "yes", NO = "no", NOT_KNOWN = "not known";

// Numbers for people, as in benchmarks/units.py

function significant(value, digits) {
  if (value === 0) return "0";
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(value)));
  const [whole, part] = value.toFixed(decimals).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return part === undefined ? grouped : `${grouped}.${part}`.replace(/\.?0+$/, "");
}

function showSeconds(value, digits = 2) {
  for (const [unit, factor] of [["s", 1], ["ms", 1e3], ["µs", 1e6]]) {
    if (value * factor >= 0.9995 || value === 0) return `${significant(value * factor, digits)} ${unit}`;
  }
  return `${significant(value * 1e9, digits)} ns`;
}

function showMemory(value) {
  for (const [unit, power] of [["TiB", 4], ["GiB", 3], ["MiB", 2], ["KiB", 1]]) {
    if (value >= 1024 ** power) return `${significant(value / 1024 ** power, 2)} ${unit}`;
  }
  return `${significant(value, 2)} B`;
}

const showRows = (value) =>
  value >= 1e6 && value < 1e10
    ? `${significant(value / 1e6, 4)} M`
    : BigInt(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
const showShare = (value, digits = 4) => significant(value, digits);

// What a law says: reports/scaling.py

function percentile(sorted, share) {
  const place = share * (sorted.length - 1), before = Math.floor(place);
  const next = sorted[Math.min(before + 1, sorted.length - 1)];
  return sorted[before] + (place - before) * (next - sorted[before]);
}

function at(law, rows) {
  if (!law || rows < law.smallest || rows > REACH * law.largest) return null;
  const found = law.samples.map(([startup, c, k, factor]) => (startup + c * rows ** k) * factor).sort((a, b) => a - b);
  return { value: law.startup + law.c * rows ** law.k, low: percentile(found, 0.025), high: percentile(found, 0.975) };
}

// What is known of a number of rows

const highOf = (span) => (span.high === null ? Infinity : span.high);
const limitOf = (size) => (size.log_loss_limit === null ? Infinity : size.log_loss_limit);
const failedLogLoss = (size) => size.shortfall && size.log_loss !== null && size.log_loss > limitOf(size);
const stoppedSize = (size) => [...Object.values(size.times), size.memory].some((span) => span && span.stopped);

function predicted(law, rows, larger, name, show) {
  const found = at(law, rows);
  if (!found || (larger.length && rows > law.largest)) return null;
  const words = `predicted, not measured: ${name} ${show(found.value)} (${show(found.low)} to ${show(found.high)})`;
  return { low: found.low, high: found.high, words, value: found.value };
}

function between(known, rows, name, show) {
  const below = known.filter(([size, span]) => span && size.rows < rows);
  const above = known.filter(([size, span]) => span && size.rows > rows);
  const low = below.length ? Math.max(...below.map(([, span]) => span.low)) : 0;
  const high = above.length ? Math.min(...above.map(([, span]) => highOf(span))) : Infinity;
  const least = below.find(([, span]) => span.low === low);
  const most = above.find(([, span]) => highOf(span) === high && high < Infinity);
  if (least && least[1].stopped) return { low, high, words: least[1].words, value: null, stopped: true };
  const parts = [];
  if (least) parts.push(`at least the ${show(low)} of ${showRows(least[0].rows)} rows`);
  if (most) parts.push(`at most the ${show(high)} of ${showRows(most[0].rows)} rows`);
  return parts.length ? { low, high, words: `not measured: ${name} ${parts.join(" and ")}`, value: null } : null;
}

function nearest(smaller, larger) {
  const known = (size) => size.accuracy;
  return [smaller.filter(known).slice(-1), larger.filter(known).slice(0, 1)];
}

function rising(smaller, larger, words) {
  const [below, above] = nearest(smaller, larger);
  const ends = [...below, ...above].map((size) => size.accuracy.low);
  if (!ends.length) return null;
  return { low: below.length ? Math.min(...ends) : 0, high: above.length ? Math.max(...ends) : 1, words, value: null };
}

function marginOf(smaller, larger, words) {
  const [below, above] = nearest(smaller, larger);
  const accuracies = [...below, ...above].map((size) => size.accuracy.low);
  const targets = [...below, ...above].map((size) => size.target).filter((target) => target !== null);
  if (!targets.length || !accuracies.length) return null;
  const settled = above.length || below.some((size) => size.rows >= SETTLED);
  const low = below.length && settled ? Math.min(...accuracies) - Math.max(...targets) : -1;
  return { low, high: above.length ? Math.max(...accuracies) - Math.min(...targets) : 1, words, value: null };
}

function sizeOf(contender, question) {
  const rows = question.rows;
  const failure = (words) => (
    { rows, failure: [NOT_KNOWN, words], times: {}, memory: null, accuracy: null, margin: null, target: null, shortfall: "" });
  const exact = contender.sizes.find((size) => size.rows === rows);
  if (exact) return exact;
  for (const size of contender.sizes) {
    if (size.failure && (size.failure[0] === NOT_KNOWN || size.failure[1].startsWith("unsupported"))) return size;
  }
  for (const size of contender.sizes) {
    if (size.failure && FLOWERS < size.rows && size.rows < rows) {
      return failure(`not measured at ${showRows(rows)} rows; at ${showRows(size.rows)} rows ${size.failure[1]}`);
    }
  }
  const known = contender.sizes.filter((size) => size.rows > FLOWERS && !size.failure);
  const smaller = known.filter((size) => size.rows < rows), larger = known.filter((size) => size.rows > rows);
  if (!known.length || rows <= FLOWERS) {
    const failed = contender.sizes.find((size) => size.failure);
    return failure(`not measured at ${showRows(rows)} rows, nor near${failed ? `: ${failed.failure[1]}` : ""}`);
  }
  const name = data.clocks[question.clock];
  const stopped = smaller.some(stoppedSize);
  const times = known.map((size) => [size, size.times[question.clock]]);
  const memories = known.map((size) => [size, size.memory]);
  const time = (!stopped && predicted(contender.times[question.clock], rows, larger, name, showSeconds))
    || between(times, rows, name, showSeconds);
  const memory = (!stopped && predicted(contender.memory, rows, larger, "memory", showMemory))
    || between(memories, rows, "memory", showMemory);
  const near = [...smaller.slice(-1), ...larger.slice(0, 1)].filter((size) => size.accuracy);
  const told = near.map((size) => `${size.accuracy.words} at ${showRows(size.rows)} rows`).join(" and ");
  return {
    rows, failure: null, target: null,
    times: time ? { [question.clock]: time } : {},
    memory,
    accuracy: rising(smaller, larger, told),
    margin: marginOf(smaller, larger, told),
    shortfall: near.filter(failedLogLoss).map((size) => `${size.shortfall} (at ${showRows(size.rows)} rows)`).join(" and "),
  };
}

// The answer

function within(span, limit) {
  if (span.low > limit || (span.stopped && span.low === limit)) return NO;
  return highOf(span) <= limit ? YES : NOT_KNOWN;
}

function inTime(question, size) {
  const time = size.times[question.clock];
  if (!time) {
    return stoppedSize(size) ? [] : [[NOT_KNOWN, `the time is not known: no record of ${data.clocks[question.clock]}`]];
  }
  const verdict = within(time, question.seconds);
  const close = verdict === NOT_KNOWN && time.value != null ? "too close to call: " : "";
  return [[verdict, `${close}${time.words}, of ${showSeconds(question.seconds, 3)} allowed`]];
}

function inMemory(question, size, contender) {
  const asked = question.memory !== null;
  const limit = asked ? question.memory : contender.memory_limit;
  if (!size.memory || limit === null) {
    return asked && !stoppedSize(size) ? [[NOT_KNOWN, "the memory is not known: no record of it"]] : [];
  }
  const verdict = within(size.memory, limit);
  const unknown = verdict === NOT_KNOWN && highOf(size.memory) === Infinity;
  if (!asked && (verdict === YES || unknown)) return [];
  return [[verdict, `${size.memory.words}, of ${showMemory(limit)} allowed`]];
}

function accurate(question, size) {
  if (stoppedSize(size)) return [];
  const asked = question.accuracy;
  const span = asked === null ? size.margin : size.accuracy;
  if (!span || !size.accuracy) return [[NOT_KNOWN, "the accuracy is not known: no record of it"]];
  if (asked === null && size.shortfall && span.value !== null) return [[NO, `below target: ${size.shortfall}`]];
  if (asked === null && size.shortfall && span.high >= 0) {
    return [[NOT_KNOWN, `whether it reaches the target is not known: ${size.shortfall}`]];
  }
  const least = asked || 0;
  let told = size.accuracy.words;
  let name = asked === null ? "the target" : `the asked ${showShare(asked)}`;
  if (size.target !== null && asked === null) name += ` ${showShare(size.target)}`;
  if (span.low >= least) return [[YES, `accuracy ${told} reaches ${name}`]];
  if (span.high < least) {
    const exactly = size.accuracy.value;
    if (exactly !== null && told === showShare(asked !== null ? asked : size.target || 0)) told = showShare(exactly, 7);
    return [[NO, `accuracy ${told} is below ${name}`]];
  }
  return [[NOT_KNOWN, `whether the accuracy reaches ${name} is not known: it is ${told}`]];
}

function answer(question, contender) {
  const size = sizeOf(contender, question);
  if (size.failure) return { contender, verdict: size.failure[0], reason: size.failure[1], time: null, place: null };
  const clauses = [...inTime(question, size), ...accurate(question, size), ...inMemory(question, size, contender)];
  const verdict = [NO, NOT_KNOWN, YES].find((one) => clauses.some(([own]) => own === one));
  const reason = clauses.filter(([own]) => own === verdict).map(([, words]) => words).join("; ");
  return { contender, verdict, reason, time: size.times[question.clock] || null, place: null };
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

function ranking(question) {
  const asked = data.contenders.filter((one) => one.model === question.model && one.track === question.track
    && (question.device === "any" || question.device === one.device));
  const middle = ({ time }) => (!time ? Infinity : time.value == null ? highOf(time) : time.value);
  const rank = ({ verdict }) => [YES, NOT_KNOWN, NO].indexOf(verdict);
  const answers = asked.map((one) => answer(question, one)).sort((a, b) =>
    rank(a) - rank(b) || compare(middle(a), middle(b)) || compare(a.contender.name, b.contender.name));
  let leader = null, place = 0;
  answers.forEach((one, index) => {
    if (one.verdict !== YES || !one.time) return;
    const doubt = one.time.low === one.time.high ? ONE_VALUE : NOISE_FLOOR;
    if (leader === null || one.time.low > highOf(leader) * (1 + doubt)) {
      leader = one.time;
      place = index + 1;
    }
    one.place = place;
  });
  return answers;
}

function withTarget(question, ranked) {
  const known = ranked.flatMap((one) => one.contender.sizes)
    .filter((size) => size.target !== null && size.rows >= Math.min(question.rows, SETTLED) && size.rows !== FLOWERS)
    .map((size) => [Math.abs(size.rows - question.rows), size.target, limitOf(size)]);
  return known.length ? least(known).slice(1) : [null, Infinity];
}

function sampleOf(question, contender, asked, logLossLimit) {
  if (contender.framework === "baseline") return null;
  for (const size of contender.sizes) {
    const time = size.times[question.clock];
    if (size.failure || size.rows <= FLOWERS || size.rows > question.rows / LEAST_SAMPLING || !time || !size.accuracy) continue;
    const roomy = inMemory(question, size, contender).every(([verdict]) => verdict === YES);
    if (size.log_loss !== null && size.log_loss > logLossLimit) continue;
    if (roomy && size.accuracy.low >= asked && highOf(time) <= question.seconds) {
      const words = `accuracy ${size.accuracy.words} reaches ${showShare(asked)}`;
      return [size.rows, time.value == null ? highOf(time) : time.value, contender.name, words];
    }
  }
  return null;
}

const least = (rows) => rows.reduce((best, row) => {
  for (let i = 0; i < row.length; i += 1) if (row[i] !== best[i]) return row[i] < best[i] ? row : best;
  return best;
});

function enough(question, ranked) {
  const able = ranked.filter((one) => one.verdict === YES && one.contender.framework !== "baseline");
  const weighed = able.filter((one) => one.contender.megabytes)
    .map((one) => [one.contender.megabytes, one.contender.name, one.contender.weight, one.reason]);
  const lines = [];
  if (new Set(able.map((one) => one.contender.framework)).size > 1 && weighed.length === able.length) {
    const [, name, weight, reason] = least(weighed);
    lines.push(`${name} is enough, the lightest to install of those that can (${weight}): ${reason}.`);
  }
  const [asked, logLossLimit] = question.accuracy !== null ? [question.accuracy, Infinity] : withTarget(question, ranked);
  const samples = asked
    ? ranked.map((one) => sampleOf(question, one.contender, asked, logLossLimit)).filter(Boolean) : [];
  if (samples.length) {
    const [rows, seconds, name, words] = least(samples);
    lines.push(`A sample is enough: ${showRows(rows)} of the ${showRows(question.rows)} rows. `
      + `On them ${name} needs ${showSeconds(seconds, 3)}, and its ${words}.`);
  }
  return lines;
}

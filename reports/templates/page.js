// The page around the question: its controls, its address, the charts and the downloads.

const form = document.getElementById("controls");
const field = (name) => form.elements.namedItem(name);
const GIB = 1024 ** 3;
const LABELS = { tuned: "tuned, by an expert", default: "default, as getting started" };
let question = { ...data.question };
let typing = null;

// The address: #model=mlp&rows=1000000&…, of which what is missing is as in the first question

function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = { ...data.question };
  const models = new Set(data.contenders.map((one) => one.model));
  const number = (name, least, most = Infinity) => {
    const value = Number(given.get(name));
    return given.get(name) && Number.isFinite(value) && value >= least && value <= most ? value : undefined;
  };
  if (models.has(given.get("model"))) found.model = given.get("model");
  found.rows = Math.round(number("rows", 1, 1e15) ?? found.rows);
  found.seconds = number("seconds", 1e-9) ?? found.seconds;
  found.accuracy = number("accuracy", 0, 1) ?? null;
  found.memory = number("memory", 1) ?? null;
  if (["any", "cpu", "gpu"].includes(given.get("device"))) found.device = given.get("device");
  if (Object.hasOwn(data.clocks, given.get("clock") ?? "")) found.clock = given.get("clock");
  if (Object.hasOwn(LABELS, given.get("track") ?? "")) found.track = given.get("track");
  return found;
}

function toAddress() {
  const given = Object.entries(question).filter(([, value]) => value !== null);
  history.replaceState(null, "", `#${new URLSearchParams(given)}`);
}

// Not at every step of a slider: browsers refuse to change the address so often.
let addressed = 0;

function toAddressSoon() {
  clearTimeout(addressed);
  addressed = setTimeout(toAddress, 200);
}

// What stands on the page

function element(name, words, className) {
  const made = document.createElement(name);
  if (words !== undefined) made.textContent = words;
  if (className) made.className = className;
  return made;
}

function showAnswers() {
  const ranked = ranking(question);
  const list = element("ol", undefined, "ranking");
  for (const one of ranked) {
    const line = element("li");
    line.append(
      element("span", one.place ?? "", "place"), " ", element("span", one.verdict, `verdict ${one.verdict.replace(" ", "-")}`), " ",
      element("strong", one.contender.name), " ", element("span", one.reason, "reason"),
    );
    list.append(line);
  }
  if (!ranked.length) list.append(element("li", "Nothing in these records is about this question."));
  document.getElementById("answers").replaceChildren(list);
  const count = (verdict) => ranked.filter((one) => one.verdict === verdict).length;
  document.getElementById("said").textContent = `${count(YES)} yes, ${count(NOT_KNOWN)} not known, ${count(NO)} no`
    + (count(YES) ? `; first ${ranked[0].contender.name}` : "");
  document.getElementById("first").replaceChildren(...enough(question, ranked).map((line) => element("li", line)));
  const accuracy = question.accuracy === null ? "the target quality" : `an accuracy of ${showShare(question.accuracy)}`;
  const memory = question.memory === null ? "" : ` and in ${showMemory(question.memory)} of memory`;
  const device = question.device === "any" ? "" : `, on the ${question.device.toUpperCase()}`;
  const track = question.track === "tuned" ? "" : " by its default recipe";
  document.getElementById("asked").textContent = `Which framework trains the ${question.model} on ${showRows(question.rows)} rows`
    + ` within ${showSeconds(question.seconds, 3)}, ${data.clocks[question.clock]}, to ${accuracy}${memory}${device}${track}?`;
}

// What is being typed stays as it is.
function write(name, words) {
  if (typing !== field(name)) field(name).value = words;
}

function showControls() {
  for (const name of ["model", "device", "clock", "track"]) field(name).value = question[name];
  field("memory").value = question.memory === null ? "" : String(question.memory);
  if (question.memory !== null && field("memory").value === "") {
    field("memory").add(new Option(showMemory(question.memory), String(question.memory)));
    field("memory").value = String(question.memory);
  }
  write("rows", question.rows.toLocaleString("en-US"));
  field("rows-slider").value = Math.log10(question.rows);
  write("seconds", String(question.seconds));
  field("seconds-slider").value = Math.log10(question.seconds);
  field("accuracy-kind").value = question.accuracy === null ? "target" : "least";
  for (const name of ["accuracy", "accuracy-slider"]) field(name).hidden = question.accuracy === null;
  if (question.accuracy !== null) {
    write("accuracy", String(question.accuracy));
    field("accuracy-slider").value = question.accuracy;
  }
  for (const output of form.querySelectorAll("output")) {
    output.value = output.htmlFor.contains("rows-slider") ? `${showRows(question.rows)}` : showSeconds(question.seconds);
    field(output.htmlFor.value).setAttribute("aria-valuetext", output.value);
  }
}

function showCharts() {
  for (const figure of document.querySelectorAll("figure[data-model]")) {
    figure.hidden = figure.dataset.model !== "" && figure.dataset.model !== question.model;
  }
  draw();
}

function show() {
  showControls();
  showAnswers();
  showCharts();
}

// What the controls ask

const twoDigits = (value) => Number(value.toPrecision(2));

// A comma parts the thousands of rows, and is a point elsewhere, as many people write it.
function typed(name, least, most = Infinity) {
  const words = field(name).value.replace(/[_\s]/g, "").replace(/,/g, name === "rows" ? "" : ".");
  const value = Number(words);
  const good = words !== "" && Number.isFinite(value) && value >= least && value <= most;
  const problem = document.getElementById("problem");
  problem.hidden = good || typing !== null;
  problem.textContent = good ? "" : `${name}: "${field(name).value}" is no number that can be asked for; write ${
    { rows: "1000000 or 1e6", seconds: "30 or 0.5", accuracy: "0.98" }[name]}.`;
  return good ? value : question[name];
}

function changed(event) {
  const { name, value, type } = event.target;
  typing = event.type === "input" && type === "text" ? event.target : null;
  const set = {
    rows: () => Math.round(typed("rows", 1, 1e15)),
    seconds: () => typed("seconds", 1e-9),
    accuracy: () => typed("accuracy", 0, 1),
    memory: () => (value === "" ? null : Number(value)),
  };
  if (name === "rows-slider") question.rows = twoDigits(10 ** Number(value));
  else if (name === "seconds-slider") question.seconds = twoDigits(10 ** Number(value));
  else if (name === "accuracy-slider") question.accuracy = Number(value);
  else if (name === "accuracy-kind") question.accuracy = value === "target" ? null : question.accuracy ?? 0.98;
  else if (name in set) question[name] = set[name]();
  else if (name in question) question[name] = value;
  if (!(name in set)) document.getElementById("problem").hidden = true;
  show();
  toAddressSoon();
}

function begin() {
  const models = [...new Set(data.contenders.map((one) => one.model))];
  field("model").replaceChildren(...models.map((model) => new Option(model, model)));
  const sizes = [0.5, 1, 2, 4, 8, 16, 32, 64, 128].map((size) => size * GIB);
  field("memory").replaceChildren(new Option("what the run allowed", ""), ...sizes.map((size) => new Option(showMemory(size), size)));
  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  field("reset").addEventListener("click", () => { question = { ...data.question }; toAddress(); show(); });
  field("share").addEventListener("click", async () => {
    const said = document.getElementById("shared");
    toAddress();
    try {
      await navigator.clipboard.writeText(location.href);
      said.textContent = "copied";
    } catch {
      said.textContent = location.hash;
    }
  });
  // The other addresses are those of the parts of the page.
  window.addEventListener("hashchange", () => { if (location.hash.includes("=")) { question = fromAddress(); show(); } });
  question = fromAddress();
  for (const other of document.querySelectorAll(".other")) other.hidden = true;
  form.hidden = false;
  show();
}

// Charts are drawn when they are first shown; the switches hide a framework in all of them

const views = new Map();

function draw() {
  if (!window.vegaEmbed) return;
  const options = { mode: "vega-lite", renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false } };
  for (const place of document.querySelectorAll("figure:not([hidden]) .chart")) {
    if (views.has(place)) continue;
    const specification = JSON.parse(place.querySelector("script").textContent);
    views.set(place, window.vegaEmbed(place, specification, options).then(({ view }) => {
      // A chart is read from the table below it: mark by mark would have no end.
      place.querySelector("svg.marks").setAttribute("aria-hidden", "true");
      place.querySelector("summary").setAttribute("aria-label", "Save this chart");
      hide(place, view);
      return view;
    })
      .catch((error) => { place.textContent = `This chart cannot be drawn: ${error}`; }));
  }
}

function hide(place, view) {
  const switches = document.querySelector(`.switches[data-part="${place.closest(".charts").dataset.part}"]`);
  const off = [...switches.querySelectorAll("input:not(:checked)")].map((input) => input.value);
  if (view && off.join() !== (view.signal("hidden") ?? []).join()) view.signal("hidden", off).run();
}

for (const switches of document.querySelectorAll(".switches")) {
  const charts = document.querySelector(`.charts[data-part="${switches.dataset.part}"]`);
  for (const name of JSON.parse(switches.dataset.frameworks)) {
    const label = element("label"), input = element("input");
    Object.assign(input, { type: "checkbox", checked: true, value: name });
    label.append(input, name);
    switches.append(label);
  }
  switches.addEventListener("change", () => {
    for (const place of charts.querySelectorAll(".chart")) if (views.has(place)) views.get(place).then((view) => hide(place, view));
  });
  switches.hidden = false;
}

// Downloads are unpacked when they are asked for

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

document.getElementById("downloads").addEventListener("click", async ({ target: { dataset } }) => {
  if (!dataset.from) return;
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([await unpacked(dataset.from)], { type: dataset.type }));
  link.download = dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});

window.addEventListener("charts", draw);
if (data.contenders.length) begin();

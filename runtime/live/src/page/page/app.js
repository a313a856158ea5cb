// The page of a running session: everything it shows and does goes through the interface that /openapi.json describes.

const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- asking the server

let token = sessionStorage.getItem("token") ?? "";
let asking = null;

class Refused extends Error {
  constructor(status, said) {
    super(said);
    this.status = status;
  }
}

/** Asks for a path; a wrong token is asked for, once for all who wait. */
async function ask(path, { method = "GET", body, picture, signal } = {}) {
  for (;;) {
    // The token is asked for here, and not by the browser.
    const headers = { "X-Requested-With": "XMLHttpRequest" };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (picture) headers["Content-Type"] = picture.type;
    const used = token;
    const response = await fetch(path, { method, headers, signal, body: picture ?? (body === undefined ? undefined : JSON.stringify(body)) });
    if (response.ok) return response;
    if (response.status === 401) {
      if (used === token) await askToken(used !== "");
      continue;
    }
    const said = await response.json().then((fault) => fault.error, () => response.statusText);
    throw new Refused(response.status, said);
  }
}

function askToken(wrong) {
  asking ??= new Promise((done) => {
    $("ask-why").textContent = wrong ? "That token was refused." : "This camera wants a token before it shows anything.";
    $("token").value = "";
    $("ask").showModal();
    $("ask").addEventListener("close", () => {
      token = $("token").value.trim();
      sessionStorage.setItem("token", token);
      asking = null;
      done();
    }, { once: true });
  });
  return asking;
}
// Without a token there is nothing to go back to.
$("ask").addEventListener("cancel", (event) => event.preventDefault());

function say(text, bad = false) {
  $("said").textContent = text;
  $("said").toggleAttribute("data-bad", bad);
}

/** Runs what a person asked for, and says what went wrong with it, where they look. */
async function attempt(work, tell = say) {
  try {
    await work();
    return true;
  } catch (fault) {
    tell(fault instanceof Refused ? fault.message : "The camera does not answer.", true);
    return false;
  }
}

// ---- the picture

let after = null;
let latest = null;
let paused = false;
/** Whether the picture stands still while somebody draws a box on it. */
let drawing = false;

function link(state, text) {
  const place = $("link");
  document.body.classList.toggle("stale", state !== "live");
  if (place.dataset.state !== state) place.dataset.state = state;
  if (place.textContent !== text) place.textContent = text;
}

function draw(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
}

/** Writes the numbers of things onto the masks. */
function number({ things, width }) {
  if (!things?.length) return;
  const canvas = $("masks");
  const scale = canvas.width / width;
  const context = canvas.getContext("2d");
  const size = Math.max(canvas.width / 30, 12);
  Object.assign(context, { font: `600 ${size}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle", lineWidth: size / 5 });
  for (const { id, centroid, box } of things) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.strokeRect(...box.map((side) => side * scale));
    context.strokeStyle = "#000";
    context.lineWidth = size / 5;
    context.strokeText(id, centroid[0] * scale, centroid[1] * scale);
    context.fillStyle = "#fff";
    context.fillText(id, centroid[0] * scale, centroid[1] * scale);
  }
}

/** Counts that find room as large numbers; more are lines of a list, what is there first. */
const MANY = 8;

/** What is counted, as large numbers: words, zones, lines. */
function count({ classes, tallies = [] }) {
  const lines = classes.filter((c) => c.count !== undefined).map((c) => [c.name, c.count, ""]);
  for (const { word, zone, line, count, entered, left, to_right, to_left } of tallies) {
    lines.push(zone === undefined ? [`${line}: ${word}`, to_right + to_left, `→ ${to_right}  ← ${to_left}`] : [`${zone}: ${word}`, count, `in ${entered}  out ${left}`]);
  }
  $("counts-card").hidden = lines.length === 0;
  const list = $("counts");
  if (lines.length !== list.children.length || lines.some(([name], i) => list.children[i].firstChild.textContent !== name)) {
    list.replaceChildren(...lines.map(([name]) => {
      const [group, dt, dd] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      dt.textContent = dt.title = name;
      group.append(dt, dd);
      return group;
    }));
  }
  lines.forEach(([, value, more], i) => {
    const small = document.createElement("small");
    small.textContent = more ? ` ${more}` : "";
    list.children[i].lastChild.replaceChildren(String(value), small);
    list.children[i].classList.toggle("none", value === 0);
  });
  list.classList.toggle("many", lines.length > MANY);
}

async function frames() {
  let pause = 500;
  for (;;) {
    if (paused || drawing || document.hidden) {
      await wait(150);
      continue;
    }
    try {
      const form = await (await ask(after === null ? "api/frame" : `api/frame?after=${after}`)).formData();
      const told = JSON.parse(form.get("report"));
      const [picture, masks] = await Promise.all([createImageBitmap(form.get("picture")), createImageBitmap(form.get("masks"))]);
      draw($("picture"), picture);
      draw($("masks"), masks);
      number(told.report);
      $("stage").style.setProperty("--ratio", told.report.width / told.report.height);
      $("empty").hidden = true;
      const rejoined = pause > 500 || latest === null;
      pause = 500;
      [after, latest] = [told.count, told];
      show(told);
      if (rejoined) attempt(refresh);
    } catch (fault) {
      if (fault instanceof Refused && fault.status === 503) {
        link("waiting", "No pictures come");
      } else {
        link("lost", "Connection lost, trying again");
      }
      await wait(pause);
      pause = Math.min(pause * 1.6, 5000);
    }
  }
}

function fillMeter(meter, value) {
  meter.value = value;
  meter.style.setProperty("--value", value);
}

/** What else holds of the picture: the profile that is on, and how much is hidden. */
function tellNow({ profile, hidden }) {
  const parts = [];
  if (profile !== undefined) parts.push(`Profile: ${profile}.`);
  if (hidden?.whole !== undefined) parts.push("The whole picture is hidden until it is known what is to be.");
  else if (hidden !== undefined) parts.push(`${(100 * hidden.share).toFixed(0)} % of the picture is hidden.`);
  $("now").hidden = parts.length === 0;
  if ($("now").textContent !== parts.join(" ")) $("now").textContent = parts.join(" ");
}

let shown = 0;
const STAGES = [["prepare", "Resize"], ["plan", "Plan"], ["encode", "Encoder"], ["score", "Scores"], ["mask", "Masks"]];

function show({ frames_per_second, report }) {
  const now = performance.now();
  // Numbers that change thirty times a second cannot be read.
  if (now - shown < 250) return;
  shown = now;
  link("live", `${frames_per_second.toFixed(1)} frames/s`);
  count(report);
  tellNow(report);
  for (const { name, score } of report.classes) {
    const chip = chips.get(name);
    if (!chip) continue;
    fillMeter(chip.querySelector(".score"), score);
    chip.querySelector(".value").textContent = score.toFixed(2);
  }
  const lines = [
    ["Frames a second", frames_per_second.toFixed(1)],
    ["Latency", `${report.latency_ms.toFixed(0)} ms`],
    ...STAGES.map(([key, text]) => [text, `${(report.milliseconds[key] ?? 0).toFixed(1)} ms`]),
    ["Frame", `${report.width}×${report.height}, number ${report.sequence}`],
    ["Dropped", String(report.dropped)],
  ];
  const list = $("speed");
  if (list.children.length !== lines.length * 2) {
    list.replaceChildren(...lines.flatMap(([key]) => {
      const dt = document.createElement("dt");
      dt.textContent = key;
      return [dt, document.createElement("dd")];
    }));
  }
  lines.forEach(([, value], i) => { list.children[2 * i + 1].textContent = value; });
  if (report.words_version !== version && !changing) attempt(loadWords);
}

$("opacity").addEventListener("input", () => { $("masks").style.opacity = $("opacity").value / 100; });
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  if (paused) link("waiting", "Paused");
});

// ---- one point of the picture

let cross = [0.5, 0.5];

function place(x, y) {
  cross = [Math.min(Math.max(x, 0), 1), Math.min(Math.max(y, 0), 1)];
  $("cross").hidden = false;
  $("cross").style.left = `${cross[0] * 100}%`;
  $("cross").style.top = `${cross[1] * 100}%`;
}

async function probe() {
  if (!latest) return;
  const { width, height } = latest.report;
  const [x, y] = [Math.min(Math.floor(cross[0] * width), width - 1), Math.min(Math.floor(cross[1] * height), height - 1)];
  const found = await (await ask(`api/scores?x=${x}&y=${y}`)).json();
  const head = document.createElement("p");
  head.textContent = `${x}, ${y} (patch row ${found.row + 1}, column ${found.col + 1}): ${found.name ?? "no word"}`;
  const list = document.createElement("ul");
  for (const { name, score } of found.words.filter((w) => w.on).sort((a, b) => b.score - a.score).slice(0, 12)) {
    const item = document.createElement("li");
    const [word, meter, value] = ["span", "meter", "span"].map((tag) => document.createElement(tag));
    word.textContent = name;
    word.classList.toggle("here", name === found.name);
    Object.assign(meter, { min: 0, max: 1 });
    fillMeter(meter, score);
    meter.setAttribute("aria-hidden", "true");
    value.textContent = score.toFixed(3);
    item.append(word, meter, value);
    list.append(item);
  }
  $("point").replaceChildren(head, list);
}

$("stage").addEventListener("click", (event) => {
  if (drawing) return;
  const box = $("picture").getBoundingClientRect();
  place((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  attempt(probe);
});
$("stage").addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.1 : 0.02;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[event.key]) {
    event.preventDefault();
    place(cross[0] + moves[event.key][0], cross[1] + moves[event.key][1]);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    place(...cross);
    attempt(probe);
  } else if (event.key.toLowerCase() === "b" && latest) {
    event.preventDefault();
    if (corner) {
      outline(corner, cross);
      askName();
    } else {
      begin(cross);
      place(...cross);
    }
  } else if (event.key === "Escape") {
    endDrawing();
  }
  if (corner && drawing && $("show").hidden) outline(corner, cross);
});

// ---- a box around a thing, which becomes a word

let corner = null;
let boxed = null;
/** Where the pointer went down, and whether it has gone far enough to be no click. */
let down = null;

const at = (event) => {
  const box = $("picture").getBoundingClientRect();
  const share = (value) => Math.min(Math.max(value, 0), 1);
  return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
};

function begin(point) {
  drawing = true;
  [corner, boxed] = [point, null];
  $("show").hidden = true;
}

function outline([ax, ay], [bx, by]) {
  const [x, y, w, h] = [Math.min(ax, bx), Math.min(ay, by), Math.abs(ax - bx), Math.abs(ay - by)];
  boxed = [x, y, w, h];
  $("box").hidden = false;
  [["left", x], ["top", y], ["width", w], ["height", h]].forEach(([key, value]) => { $("box").style[key] = `${100 * value}%`; });
}

function askName() {
  if (!boxed || boxed[2] === 0 || boxed[3] === 0) return endDrawing();
  corner = null;
  $("show").hidden = false;
  $("show-name").focus();
}

function endDrawing() {
  if (!$("show").hidden) $("stage").focus();
  [corner, boxed, drawing, down] = [null, null, false, null];
  $("box").hidden = true;
  $("show").hidden = true;
}

$("stage").addEventListener("pointerdown", (event) => {
  const byFinger = event.pointerType === "touch" && $("point-out").getAttribute("aria-pressed") !== "true";
  if (event.button !== 0 || !latest || byFinger) return;
  down = { point: at(event), x: event.clientX, y: event.clientY };
  // From here on, since the first move may end outside already.
  $("stage").setPointerCapture(event.pointerId);
});
$("stage").addEventListener("pointermove", (event) => {
  if (!down) return;
  if (!corner && Math.hypot(event.clientX - down.x, event.clientY - down.y) < 6) return;
  if (!corner) begin(down.point);
  outline(corner, at(event));
});
$("stage").addEventListener("pointerup", () => {
  // The click that follows asks for nothing.
  if (down && corner) setTimeout(askName);
  down = null;
});
$("stage").addEventListener("pointercancel", endDrawing);
$("point-out").addEventListener("click", () => {
  const on = $("point-out").getAttribute("aria-pressed") !== "true";
  $("point-out").setAttribute("aria-pressed", String(on));
  $("stage").classList.toggle("drawing", on);
});
$("show-cancel").addEventListener("click", endDrawing);
$("show").addEventListener("keydown", (event) => { if (event.key === "Escape") endDrawing(); });
$("show").addEventListener("submit", async (event) => {
  event.preventDefault();
  const canvas = $("picture");
  const name = $("show-name").value.trim();
  const [x, y, w, h] = boxed;
  const inside = (share, length) => Math.min(Math.floor(share * length), length - 1);
  const [left, top] = [inside(x, canvas.width), inside(y, canvas.height)];
  const query = new URLSearchParams({
    name, x: left, y: top, w: Math.max(1, Math.round(w * canvas.width)), h: Math.max(1, Math.round(h * canvas.height)),
    counter: $("show-counter").checked,
  });
  changing += 1;
  try {
    const done = await attempt(async () => {
      say("…");
      const picture = await new Promise((made) => canvas.toBlob(made, "image/jpeg", 0.95));
      showWords(await (await ask(`api/examples?${query}`, { method: "POST", picture })).json());
      say(`${name} is looked for as it is shown.`);
    });
    if (!done) return;
  } finally {
    changing -= 1;
  }
  $("show-name").value = "";
  $("show-counter").checked = false;
  endDrawing();
});

// ---- words

const chips = new Map();
let version = 0;
let changing = 0;

async function loadWords() {
  showWords(await (await ask("api/words")).json());
}

/** Sends a change of the words and shows what came of it. */
async function change(path, method, body, said) {
  changing += 1;
  try {
    return await attempt(async () => {
      say("…");
      showWords(await (await ask(path, { method, body })).json());
      say(said);
    });
  } finally {
    changing -= 1;
  }
}

const wordPath = (name) => `api/words/${encodeURIComponent(name)}`;

function showWords({ version: told, words, background }) {
  version = told;
  const names = new Set(words.map((w) => w.name));
  $("show-known").replaceChildren(...words.map((w) => new Option(w.name)));
  for (const [name, chip] of chips) {
    if (names.has(name)) continue;
    chip.remove();
    chips.delete(name);
  }
  words.forEach((word, i) => {
    let chip = chips.get(word.name);
    if (!chip) {
      chip = newChip(word.name);
      chips.set(word.name, chip);
    }
    chip.word = word;
    fill(chip);
    // Only what stands elsewhere is moved: moving takes the focus away.
    if ($("chips").children[i] !== chip) $("chips").insertBefore(chip, $("chips").children[i] ?? null);
  });
  drawHidden();
  if (document.activeElement !== $("background")) {
    $("background").value = background.threshold ?? 0;
    $("background-value").textContent = background.threshold === null ? "none" : background.threshold.toFixed(2);
  }
}

function fill(chip) {
  const { name, colour, on, threshold, synonyms, examples = [], meaning } = chip.word;
  const means = chip.querySelector(".meaning");
  means.hidden = !meaning;
  means.textContent = told(meaning);
  const shows = chip.querySelector(".examples");
  shows.hidden = chip.querySelector(".forget").hidden = examples.length === 0;
  shows.textContent = `${examples.length} ${examples.length === 1 ? "example" : "examples"}`;
  chip.classList.toggle("off", !on);
  const colours = chip.querySelector(".colour");
  if (document.activeElement !== colours) colours.value = colour;
  chip.querySelector(".name").title = [name, ...synonyms].join(", ") + (threshold === null ? "" : ` (from ${threshold.toFixed(2)})`);
  const toggle = chip.querySelector(".toggle");
  toggle.textContent = on ? "on" : "off";
  toggle.setAttribute("aria-pressed", String(on));
}

/** What a word of another language means, or that nothing knows it. */
function told(meaning) {
  if (!meaning) return "";
  if (meaning.kind === "unknown") return meaning.near ? `unknown; near: ${meaning.near.join(", ")}` : "unknown word";
  const others = (meaning.others ?? []).map(({ language, english }) => `${language}: ${english}`);
  return [...(meaning.kind === "translated" ? [`means ${meaning.english}`] : ["English"]), ...others].join("; ");
}

function newChip(name) {
  const chip = $("chip").content.firstElementChild.cloneNode(true);
  const find = (selector) => chip.querySelector(selector);
  const form = find(".edit");
  find(".name").textContent = name;
  find(".name").setAttribute("aria-label", `Edit ${name}`);
  find(".colour").setAttribute("aria-label", `Colour of ${name}`);
  find(".score").setAttribute("aria-label", `Score of ${name}`);
  find(".toggle").setAttribute("aria-label", `Look for ${name}`);
  find(".remove").setAttribute("aria-label", `Remove ${name}`);

  const open = (yes) => {
    form.hidden = !yes;
    find(".name").setAttribute("aria-expanded", String(yes));
    if (!yes) return;
    const { synonyms, threshold } = chip.word;
    form.elements.name.value = name;
    form.elements.synonyms.value = synonyms.join(", ");
    form.elements.threshold.value = threshold === null ? "" : String(Math.round(threshold * 1000) / 1000);
    form.elements.name.focus();
  };
  find(".name").addEventListener("click", () => open(form.hidden));
  find(".cancel").addEventListener("click", () => {
    open(false);
    find(".name").focus();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    open(false);
    find(".name").focus();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const written = form.elements.threshold.value;
    const body = {
      name: form.elements.name.value.trim(),
      synonyms: form.elements.synonyms.value.split(",").map((s) => s.trim()).filter(Boolean),
      threshold: written === "" ? null : Number(written),
    };
    if (!(await change(wordPath(name), "PATCH", body, `${body.name} changed.`))) return;
    open(false);
    chips.get(body.name)?.querySelector(".name").focus();
  });
  find(".forget").addEventListener("click", async () => {
    if (await change(wordPath(name), "PATCH", { examples: [] }, `${name} is looked for by its name.`)) open(false);
  });
  find(".colour").addEventListener("change", (event) => change(wordPath(name), "PATCH", { colour: event.target.value }, `${name} has another colour.`));
  find(".toggle").addEventListener("click", () => {
    const on = !chip.word.on;
    change(wordPath(name), "PATCH", { on }, on ? `${name} is looked for.` : `${name} is not looked for.`);
  });
  find(".remove").addEventListener("click", async () => {
    if (await change(wordPath(name), "DELETE", undefined, `${name} removed.`)) $("add-name").focus();
  });
  return chip;
}

$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const names = $("add-name").value.split(",").map((s) => s.trim()).filter(Boolean);
  for (const name of names) {
    if (!(await change("api/words", "POST", name, `${name} added.`))) return;
  }
  $("add-name").value = "";
  $("add-name").focus();
});
$("background").addEventListener("input", () => { $("background-value").textContent = Number($("background").value).toFixed(2); });
$("background").addEventListener("change", () => {
  const threshold = Number($("background").value);
  change("api/background", "PATCH", { threshold }, `Background below ${threshold.toFixed(2)}.`);
});

// ---- what is hidden

let hidden = { switches: false, words: [] };
const hideRows = new Map();

/** All words that are hidden by one switch. */
function wordsOf({ name, synonyms = [] }) {
  return [name, ...synonyms].map((word) => word.toLowerCase());
}

/** What is hidden, and the words that could be. */
function drawHidden() {
  const known = new Set(hidden.words.flatMap(wordsOf));
  const offered = hidden.switches ? [...chips.keys()].filter((name) => !known.has(name.toLowerCase())) : [];
  const rows = [...hidden.words.map((word) => ({ ...word, on: true })), ...offered.map((name) => ({ name, locked: false, on: false, meaning: chips.get(name).word?.meaning }))];
  const names = new Set(rows.map(({ name }) => name));
  for (const [name, row] of hideRows) {
    if (names.has(name)) continue;
    row.remove();
    hideRows.delete(name);
  }
  rows.forEach(({ name, locked, on, meaning }, i) => {
    const row = hideRows.get(name) ?? newHideRow(name);
    hideRows.set(name, row);
    const control = row.querySelector("button");
    control.setAttribute("aria-checked", String(on));
    control.setAttribute("aria-disabled", String(locked));
    row.querySelector(".why").hidden = !locked;
    const means = row.querySelector(".meaning");
    means.hidden = !meaning;
    means.textContent = told(meaning);
    means.toggleAttribute("data-bad", meaning?.kind === "unknown");
    // Only what stands elsewhere is moved: moving takes the focus away.
    if ($("hides").children[i] !== row) $("hides").insertBefore(row, $("hides").children[i] ?? null);
  });
  $("hide-add").hidden = !hidden.switches;
}

function newHideRow(name) {
  const row = $("hides-row").content.firstElementChild.cloneNode(true);
  const control = row.querySelector("button");
  row.querySelector(".name").textContent = name;
  control.setAttribute("aria-label", `Hide ${name}`);
  control.addEventListener("click", () => {
    if (control.getAttribute("aria-disabled") === "true") {
      sayHidden(`${name} is hidden since the start; the page cannot change that.`);
    } else {
      switchHidden(name, control.getAttribute("aria-checked") !== "true");
    }
  });
  return row;
}

function showHidden(told) {
  const known = new Set(hidden.words.flatMap(wordsOf));
  const news = told.words.flatMap(wordsOf).filter((word) => !known.has(word));
  // The picture that is on the screen shows it; so does one that is paused.
  if (news.length > 0 && latest) {
    for (const canvas of [$("picture"), $("masks")]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    $("empty").hidden = false;
  }
  hidden = told;
  drawHidden();
}

async function loadHidden() {
  showHidden(await (await ask("api/hide")).json());
}

function sayHidden(text, bad = false) {
  $("hide-said").textContent = text;
  $("hide-said").toggleAttribute("data-bad", bad);
}

/** Has a word hidden, or shown again; tells whether it is. */
async function switchHidden(name, on) {
  sayHidden("…");
  const before = new Set(hidden.words.map((word) => word.name));
  try {
    const [path, options] = on ? ["api/hide", { method: "POST", body: name }] : [`api/hide/${encodeURIComponent(name)}`, { method: "DELETE" }];
    const now = await (await ask(path, options)).json();
    showHidden(now);
    // What is hidden is what the word means, and of a word that nothing knows it is no more than a guess.
    const means = on ? now.words.filter((word) => word.meaning && (!before.has(word.name) || word.name.toLowerCase() === name.toLowerCase())) : [];
    const unsure = means.some(({ meaning }) => meaning.kind === "unknown");
    const still = now.words.find((word) => wordsOf(word).includes(name.toLowerCase()));
    const done = !on ? (still ? `${name} stays hidden, with ${still.name}.` : `${name} is shown again.`) : unsure ? `${name} is switched on.` : `${name} is hidden.`;
    const look = unsure ? ["Look whether the picture hides what is meant."] : [];
    sayHidden([done, ...means.map((word) => `${word.name}: ${told(word.meaning)}.`), ...look].join(" "), unsure);
    return true;
  } catch (fault) {
    sayHidden(fault instanceof Refused ? fault.message : "The camera does not answer.", true);
    return false;
  }
}

$("hide-add").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await switchHidden($("hide-name").value.trim(), true)) $("hide-name").value = "";
  $("hide-name").focus();
});

// ---- saved sets

async function loadSets(chosen) {
  const { sets } = await (await ask("api/sets")).json();
  $("set").replaceChildren(...sets.map((name) => new Option(name, name, false, name === chosen)));
  $("set").disabled = $("set-load").disabled = $("set-delete").disabled = sets.length === 0;
}
const setPath = () => `api/sets/${encodeURIComponent($("set").value)}`;
$("set-load").addEventListener("click", () => change(`${setPath()}/load`, "POST", {}, `Words of ${$("set").value} loaded.`));
$("set-delete").addEventListener("click", () => attempt(async () => {
  const name = $("set").value;
  await ask(setPath(), { method: "DELETE" });
  await loadSets();
  say(`Set ${name} deleted.`);
}));
$("set-save").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("set-name").value.trim();
  attempt(async () => {
    await ask(`api/sets/${encodeURIComponent(name)}`, { method: "PUT", body: {} });
    await loadSets(name);
    $("set-name").value = "";
    say(`Words saved as ${name}.`);
  });
});

// ---- what was seen before

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = $("search-words").value.trim();
  const told = (text, bad = false) => {
    $("search-said").textContent = text;
    $("search-said").toggleAttribute("data-bad", bad);
  };
  $("search-found").replaceChildren();
  told("…");
  attempt(async () => {
    const { answers, milliseconds, damage, shown_in: sets = [] } = await (await ask(`api/search?${new URLSearchParams({ words })}`)).json();
    const said = [answers.length === 0 ? `${words}: not seen.` : `${answers.length === 1 ? "Once" : `${answers.length} times`}, found in ${milliseconds.toFixed(0)} ms.`];
    said.push(...sets.map(({ word, set }) => `The set ${set} has examples of ${word}: load it, then search again.`));
    if (damage) said.push(`The index is damaged: ${damage.frames === 1 ? "a frame is" : `${damage.frames ?? `${damage.bytes} bytes, and the`} frames are`} lost.`);
    told(said.join(" "), Boolean(damage));
    $("search-found").replaceChildren(...answers.map(sighting));
  }, told);
});

function sighting({ word, score, camera, from, to, box_px: box, frame_px: frame, thumbnail }) {
  const [item, text] = ["li", "span"].map((tag) => document.createElement(tag));
  const [first, last] = [new Date(from), new Date(to)];
  const until = last - first >= 1000 ? ` to ${last.toLocaleTimeString()}` : "";
  text.textContent = `${first.toLocaleString()}${until}: ${word} ${score.toFixed(2)}, ${camera}`;
  if (thumbnail) {
    const [seen, image, mark] = ["span", "img", "i"].map((tag) => document.createElement(tag));
    seen.className = "seen";
    Object.assign(image, { src: thumbnail, alt: "" });
    [["left", box[0], frame[0]], ["top", box[1], frame[1]], ["width", box[2], frame[0]], ["height", box[3], frame[1]]]
      .forEach(([key, value, of]) => { mark.style[key] = `${(100 * value) / of}%`; });
    seen.append(image, mark);
    item.append(seen);
  }
  item.append(text);
  return item;
}

// ---- what rules told

const STATES = { noticed: "noticed, not confirmed yet", started: "on now", ended: "", cleared: "not confirmed" };
const MOST_ENTRIES = 50;
const entries = new Map();
let run = null;
let revision = 0;
let loading = false;
let again = false;

/** Brings the timeline up to date; what is told meanwhile is asked for when that is done. */
async function loadTimeline() {
  again = true;
  if (loading) return;
  loading = true;
  try {
    while (again) {
      again = false;
      takeEvents(await (await ask(`api/timeline?after=${revision}&most=${MOST_ENTRIES}`)).json());
    }
  } finally {
    loading = false;
  }
}

function takeEvents(told) {
  const first = revision === 0;
  if (run !== told.run && !first) {
    // The program was started again: its events count from one.
    entries.forEach((entry) => entry.remove());
    entries.clear();
    [revision, again] = [0, true];
    return;
  }
  [run, revision] = [told.run, told.revision];
  for (const event of told.events.reverse()) {
    const isNews = entries.get(event.id)?.dataset.state !== event.state;
    showEntry(event);
    if (!first && isNews) $("timeline-said").textContent = `${event.rule}: ${STATES[event.state] || "over"}`;
  }
  $("timeline-card").hidden = entries.size === 0;
}

function showEntry({ id, rule, state, from, duration_ms: ms, measured, thumbnail }) {
  let entry = entries.get(id);
  if (!entry) {
    entry = $("entry").content.firstElementChild.cloneNode(true);
    entry.dataset.id = id;
    entries.set(id, entry);
    $("timeline").insertBefore(entry, [...$("timeline").children].find((other) => other.dataset.id < id) ?? null);
  }
  const find = (selector) => entry.querySelector(selector);
  const began = new Date(from);
  const today = began.toDateString() === new Date().toDateString();
  entry.dataset.state = state;
  find(".rule").textContent = rule;
  find("time").dateTime = from;
  find("time").textContent = today ? began.toLocaleTimeString() : began.toLocaleString();
  find(".state").textContent = state === "ended" ? lasted(ms) : STATES[state];
  find(".measured").textContent = measured.map(measure).join(", ");
  find("img").hidden = !thumbnail;
  if (!thumbnail) find("img").removeAttribute("src");
  else if (find("img").src !== thumbnail) find("img").src = thumbnail;
  while (entries.size > MOST_ENTRIES) {
    const oldest = Math.min(...entries.keys());
    entries.get(oldest).remove();
    entries.delete(oldest);
  }
}

function lasted(ms) {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function measure({ word, zone, line, share, count, usual }) {
  const place = zone ?? line;
  const written = (value) => count === undefined ? `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %` : String(Math.round(10 * value) / 10);
  const range = usual === undefined ? "" : ` (usual: ${written(usual[0])} to ${written(usual[1])})`;
  return `${word}${place === undefined ? "" : ` in ${place}`}: ${written(count ?? share)}${range}`;
}

// ---- labels and recording

/** Saves what a path answers with as a file. */
async function download(path) {
  const response = await ask(path);
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(await response.blob());
  anchor.download = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "";
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}
$("labels").addEventListener("click", () => attempt(() => download("api/labels.png")));

async function loadRecordings() {
  const { recordings } = await (await ask("api/recordings")).json();
  $("recordings").hidden = recordings.length === 0;
  $("recordings").querySelector("summary").textContent = `${recordings.length} ${recordings.length === 1 ? "recording" : "recordings"}`;
  $("recordings").querySelector("ul").replaceChildren(...recordings.map(({ name, bytes }) => {
    const [item, anchor] = ["li", "a"].map((tag) => document.createElement(tag));
    const path = `api/recordings/${encodeURIComponent(name)}`;
    Object.assign(anchor, { href: path, download: name, textContent: `${name}, ${(bytes / 1e6).toFixed(1)} MB` });
    // A link cannot show a token; without one the browser saves what it reads at once.
    anchor.addEventListener("click", (event) => {
      if (!token) return;
      event.preventDefault();
      attempt(() => download(path));
    });
    item.append(anchor);
    return item;
  }));
}

function showRecording({ recording, name, seconds, frames: count, lost, whole, error }) {
  $("record").setAttribute("aria-pressed", String(recording));
  $("record").textContent = recording ? "Stop recording" : "Record";
  $("format").disabled = recording;
  const outcome = error ? `${name}: ${error}` : whole ? `${name} is finished.` : name ? `${name} is being finished.` : "";
  $("record-state").textContent = recording ? `${name}: ${seconds.toFixed(0)} s, ${count} frames${lost ? `, ${lost} lost` : ""}` : outcome;
  return recording || (name !== null && whole === null);
}

let watching = false;
async function watchRecording() {
  if (watching) return;
  watching = true;
  try {
    while (showRecording(await (await ask("api/recording")).json())) await wait(1000);
    await loadRecordings();
  } finally {
    watching = false;
  }
}
$("record").addEventListener("click", () => attempt(async () => {
  const on = $("record").getAttribute("aria-pressed") !== "true";
  showRecording(await (await ask("api/recording", { method: "POST", body: on ? { on, format: $("format").value } : { on } })).json());
  attempt(watchRecording);
}));

// ---- events

const MOST_EVENTS = 50;

function note(kind, data) {
  if (kind === "rule") return;
  if (kind === "profile") data = data.name ?? "none";
  // What was lost may have been the timeline's.
  if (kind === "timeline" || kind === "lost") return void attempt(loadTimeline);
  if (kind === "hide") return showHidden(data);
  if (kind === "words") return void (changing || attempt(loadWords));
  if (kind === "recording") return void attempt(watchRecording);
  const item = document.createElement("li");
  const text = data && typeof data === "object" ? Object.entries(data).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ") : String(data);
  item.textContent = `${new Date().toLocaleTimeString()} ${kind}: ${text}`;
  $("events").prepend(item);
  while ($("events").children.length > MOST_EVENTS) $("events").lastElementChild.remove();
  $("events-card").hidden = false;
}

/** Server-sent events, read by hand since EventSource cannot show a token. */
async function events() {
  for (;;) {
    try {
      const reader = (await ask("api/events?frames=false")).body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const whole = text.split("\n\n");
        text = whole.pop();
        for (const block of whole) {
          const lines = block.split("\n");
          const field = (name) => lines.filter((l) => l.startsWith(`${name}:`)).map((l) => l.slice(name.length + 1).trim()).join("\n");
          if (field("data")) note(field("event"), JSON.parse(field("data")));
        }
      }
    } catch {
      // The frames say when the connection is lost.
    }
    await wait(3000);
  }
}

// ---- start

async function refresh() {
  const status = await (await ask("api/status")).json();
  $("source").textContent = `${status.source} · ${status.model.name}`;
  document.title = `${status.source} · edge-seg`;
  $("sets").hidden = !status.saves_sets;
  $("recorder").hidden = !status.records;
  $("search-card").hidden = !status.searches;
  $("hide-card").hidden = !status.hides;
  await loadWords();
  if (status.hides) await loadHidden();
  await loadTimeline();
  if (status.saves_sets) await loadSets($("set").value);
  if (status.records) await watchRecording();
}

attempt(refresh);
frames();
events();

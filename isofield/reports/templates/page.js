"use strict";
document.documentElement.classList.add("scripted");
// Cards and tables of an evaluation: sorted by their buttons and heads.
for (const button of document.querySelectorAll("button[data-sort]")) button.onclick = () => {
  const cards = document.querySelector(".cards"), by = button.dataset.sort;
  const sign = by === "worst" ? -1 : 1, key = card => Number(card.dataset.badness);
  [...cards.children].sort((a, b) => by === "name" ? a.dataset.name.localeCompare(b.dataset.name)
    : key(a) === key(b) ? 0 : sign * (key(a) < key(b) ? -1 : 1)).forEach(card => cards.append(card));
};
for (const head of document.querySelectorAll(".sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button"; button.append(...head.childNodes); head.append(button);
  button.onclick = () => sortRows(head);
}
function sortRows(head) {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sign = head.dataset.sign = head.dataset.sign === "1" ? -1 : 1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const text = row => row.cells[Math.min(column, row.cells.length - 1)].textContent;
  [...body.rows].sort((a, b) => sign * text(a).localeCompare(text(b), undefined, {numeric: true}))
    .forEach(row => body.append(row));
}

// What every script of ours makes elements and words with; what would turn text around is shown as an escape.
const shown = text => String(text).replace(/[\u202a-\u202e\u2066-\u2069]/g, c => "\\u" + c.charCodeAt(0).toString(16));
const element = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = shown(text);
  if (kind) made.className = kind;
  return made;
};
const number = value => value === null ? Infinity : value === "inf" ? Number.MAX_VALUE : Number(value);
const short = value => value === null || value === undefined ? "-"
  : typeof value === "number" ? String(Number(value.toPrecision(3))) : value;
const words = value => Array.isArray(value) ? value.join(", ")
  : value !== null && typeof value === "object" ? Object.entries(value).map(([k, v]) => k + " " + short(v)).join(", ")
  : String(value);
const heading = row => {
  const head = element("h2");
  head.append(element("bdi", row.organ || "(file)"), " \u00b7 ", element("bdi", row.scan), element("span", row.status, "s-" + row.status));
  if (row.flagged && row.status !== "OUTLIER") head.append(element("span", "flagged", "flagged"));
  return head;
};
const numbers = row => {
  const made = element("p", undefined, "numbers");
  for (const [key, name] of [["p", "p"], ["q", "q"], ["score", "score"], ["dice", "Dice"], ["hd95", "HD95 mm"],
      ["assd", "ASSD mm"], ["volume_ml", "ml"]])
    if (row[key] !== null) {
      const one = element("span", name + " ");
      one.append(element("b", short(row[key]))); made.append(one, " ");
    }
  return made;
};
const others = row => {
  const made = element("dl");
  for (const [key, value] of Object.entries(row.more))
    made.append(element("dt", key.replaceAll("_", " ")), element("dd", words(value)));
  return made;
};
// The picture of an organ, beside the page.
const sheet = (row, address) => {
  const picture = element("img");
  picture.src = address;
  picture.alt = "slices, surface and calibration of " + row.organ + " in " + row.scan;
  picture.onerror = () => picture.replaceWith(element("p", row.picture + " is not beside this page", "bad"));
  return picture;
};
const typing = event => event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea")
  || event.ctrlKey || event.altKey || event.metaKey;

// The list of an analysis: sorted, filtered, cards made when they come into view. The choice stands in the address
// (#status=OUTLIER&sort=p), so that it can be sent to somebody.
function showList(rows) {
  const STEP = 40;
  rows.forEach((row, place) => row.worst = place);
  const list = document.getElementById("list"), end = document.getElementById("end");
  const form = document.getElementById("controls"), tiles = [...document.querySelectorAll(".tile")];
  const FIELDS = ["sort", "organ", "p", "find"];
  let chosen = [], made = 0;

  const order = {
    worst: (a, b) => a.worst - b.worst,
    p: (a, b) => number(a.p) - number(b.p),
    dice: (a, b) => number(a.dice) - number(b.dice),
    score: (a, b) => (a.score === null) - (b.score === null) || number(b.score) - number(a.score),
    hd95: (a, b) => (a.hd95 === null) - (b.hd95 === null) || number(b.hd95) - number(a.hd95),
    organ: (a, b) => a.organ.localeCompare(b.organ, undefined, {numeric: true}),
    scan: (a, b) => a.scan.localeCompare(b.scan, undefined, {numeric: true}),
  };

  function card(row) {
    const made = element("article");
    let small;
    if (row.thumbnail) {
      small = element("img");
      small.loading = "lazy"; small.decoding = "async"; small.width = 256; small.height = 64;
      small.alt = "slices and surface of " + row.organ + " in " + row.scan;
      small.src = "data:image/webp;base64," + row.thumbnail;
    } else small = element("div", undefined, "none");
    const text = element("div");
    text.append(heading(row), element("p", row.reason), numbers(row));
    made.append(small, text);
    const open = () => {
      if (made.querySelector(".whole")) made.querySelector(".whole").remove();
      else { made.append(whole(row)); if (row.shape) turnBoth(made.querySelector(".whole"), row); }
      button.setAttribute("aria-expanded", String(!!made.querySelector(".whole")));
    };
    made.shut = () => { if (made.querySelector(".whole")) open(); };
    made.open = () => { if (!made.querySelector(".whole")) open(); };
    small.onclick = open;
    const button = element("button", "details");
    button.type = "button"; button.setAttribute("aria-expanded", "false"); button.onclick = open;
    button.setAttribute("aria-label", "details of " + (row.organ || "the file") + " in " + row.scan);
    const page = element("a", "slices and all organs of the scan");
    page.href = row.page;
    text.append(button, " ", page);
    return made;
  }
  function whole(row) {
    const made = element("div", undefined, "whole");
    if (row.picture) made.append(sheet(row, row.picture.split("/").map(encodeURIComponent).join("/")));
    made.append(others(row));
    return made;
  }
  // Mask and reconstruction, from the file of the organ: it is read when somebody looks.
  function turnBoth(made, row) {
    turning.attempt(async () => {
      const shape = await turning.shape(row.shape.split("/").map(encodeURIComponent).join("/"));
      made.prepend(turning.pair(row.organ + " in " + row.scan, shape.meshes));
      turning.watch(made);
    });
  }
  function grow() {
    const part = document.createDocumentFragment();
    for (const row of chosen.slice(made, made + STEP)) part.append(card(row));
    list.append(part);
    made = Math.min(made + STEP, chosen.length);
  }
  function near() { return end.getBoundingClientRect().top < innerHeight + 600; }
  function fill() { while (made < chosen.length && near()) grow(); }
  function show() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const statuses = (wanted.get("status") || "").split(",").filter(Boolean);
    for (const name of FIELDS) form.elements[name].value = wanted.get(name) || (name === "sort" ? "worst" : "");
    for (const tile of tiles) {
      tile.classList.toggle("chosen", statuses.includes(tile.dataset.status));
      tile.setAttribute("aria-pressed", String(statuses.includes(tile.dataset.status)));
    }
    const organ = wanted.get("organ"), most = wanted.get("p"), find = (wanted.get("find") || "").toLowerCase();
    chosen = rows.filter(row => (!statuses.length || statuses.includes(row.status)) && (!organ || row.organ === organ)
      && (!most || number(row.p) <= Number(most))
      && (!find || (row.scan + " " + row.organ).toLowerCase().includes(find)));
    const by = order[wanted.get("sort")] || order.worst;
    chosen.sort((a, b) => by(a, b) || a.worst - b.worst);
    document.getElementById("count").textContent = chosen.length + " of " + rows.length;
    list.replaceChildren(); made = 0; current = -1; fill();
  }
  function choose(change) {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of Object.entries(change)) value ? wanted.set(key, value) : wanted.delete(key);
    history.replaceState(null, "", "#" + wanted); show();
  }
  for (const tile of tiles) tile.onclick = () => {
    const now = new Set((new URLSearchParams(location.hash.slice(1)).get("status") || "").split(",").filter(Boolean));
    now.has(tile.dataset.status) ? now.delete(tile.dataset.status) : now.add(tile.dataset.status);
    choose({status: [...now].join(",")});
  };
  form.oninput = event => choose({[event.target.name]: event.target.value});
  form.onsubmit = event => event.preventDefault();
  form.onreset = event => { event.preventDefault(); choose({status: "", sort: "", organ: "", p: "", find: ""}); };
  // "n" opens the next card of the list, "p" the one before.
  let current = -1;
  addEventListener("keydown", event => {
    const step = {n: 1, p: -1}[event.key];
    if (!step || typing(event) || !chosen.length) return;
    list.children[current]?.shut();
    current = Math.max(0, Math.min(chosen.length - 1, current + step));
    while (made <= current) grow();
    const card = list.children[current];
    card.open(); card.tabIndex = -1; card.focus({preventScroll: true}); card.scrollIntoView({block: "start"});
  });
  addEventListener("hashchange", show);
  addEventListener("scroll", fill, {passive: true});
  addEventListener("resize", fill);
  show();
}
const listed = document.getElementById("rows");
if (listed) showList(JSON.parse(listed.textContent));

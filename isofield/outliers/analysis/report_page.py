"""How the report looks (CSS) and what it does (plain JavaScript): sort, filter, cards made when they come into view.

The choice stands in the address (#status=OUTLIER&sort=p), so that it can be sent to somebody.
"""

STYLE = """
:root { --ink: #1c2733; --soft: #5d6b7a; --line: #dde3e9; --panel: #f5f7f9; --mark: #0b63a5; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; color: var(--ink); background: #fff;
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 23px; margin: 0 0 14px; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 8px; }
.tile { flex: 1 1 120px; text-align: left; font: inherit; font-size: 13px; font-weight: 600; padding: 8px 12px;
  border: 1px solid var(--line); border-left: 5px solid var(--soft); border-radius: 6px; background: var(--panel);
  color: var(--ink); cursor: pointer; }
.tile b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile small { display: block; font-weight: 400; color: var(--soft); }
.tile.chosen { outline: 2px solid var(--mark); background: #fff; }
.tile.OUTLIER, .tile.ERROR { border-left-color: var(--bad); } .tile.OK { border-left-color: #2e7d32; }
.tile.UNSURE, .tile.PARTIAL { border-left-color: #b26a00; }
details { margin: 12px 0; overflow-x: auto; } summary { cursor: pointer; font-weight: 600; }
table { border-collapse: collapse; font-size: 13px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: left; border-bottom: 1px solid var(--line); font-weight: 400;
  overflow-wrap: anywhere; }
thead th, dt { color: var(--soft); }
.bad { color: var(--bad); }
#controls { position: sticky; top: 0; z-index: 1; background: #fff; padding: 10px 0; display: flex; flex-wrap: wrap;
  gap: 12px; align-items: center; border-bottom: 1px solid var(--line); font-size: 13px; }
#controls select, #controls input, #controls button { font: inherit; padding: 2px 6px; max-width: 220px; }
#controls input[type=number] { width: 70px; }
article { display: grid; grid-template-columns: 262px 1fr; gap: 0 16px; padding: 10px 0;
  border-bottom: 1px solid var(--line); min-height: 84px; }
article > img, article > .none { width: 256px; height: 64px; border: 1px solid var(--line); border-radius: 4px; }
article > img { cursor: zoom-in; } .none { background: var(--panel); }
article h2 { font-size: 15px; margin: 0; overflow-wrap: anywhere; }
article h2 span { font-size: 12px; padding: 1px 8px; border-radius: 9px; color: #fff; background: var(--soft);
  margin-left: 6px; }
.s-OUTLIER, .s-ERROR, .flagged { background: var(--bad) !important; } .s-OK { background: #2e7d32 !important; }
.s-UNSURE, .s-PARTIAL { background: #b26a00 !important; }
article p { margin: 2px 0; font-size: 13px; overflow-wrap: anywhere; }
article p.numbers { color: var(--soft); font-variant-numeric: tabular-nums; }
article p.numbers b { color: var(--ink); font-weight: 600; margin-right: 10px; }
.whole { grid-column: 1 / -1; margin-top: 8px; overflow-x: auto; }
.whole img { display: block; max-width: 100%; border: 1px solid var(--line); border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; font-size: 13px; margin: 10px 0 0; }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 700px) { article { grid-template-columns: 1fr; } }
"""

SCRIPT = """
"use strict";
const rows = JSON.parse(document.getElementById("rows").textContent), STEP = 40;
rows.forEach((row, place) => row.worst = place);
const list = document.getElementById("list"), end = document.getElementById("end");
const form = document.getElementById("controls"), tiles = [...document.querySelectorAll(".tile")];
const FIELDS = ["sort", "organ", "p", "find"];
let chosen = [], made = 0;

const element = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const number = value => value === null ? Infinity : value === "inf" ? Number.MAX_VALUE : Number(value);
const short = value => value === null || value === undefined ? "-"
  : typeof value === "number" ? String(Number(value.toPrecision(3))) : value;
const words = value => Array.isArray(value) ? value.join(", ")
  : value !== null && typeof value === "object" ? Object.entries(value).map(([k, v]) => k + " " + short(v)).join(", ")
  : String(value);
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
  const text = element("div"), head = element("h2", (row.organ || "(file)") + " \\u00b7 " + row.scan);
  head.append(element("span", row.status, "s-" + row.status));
  if (row.flagged && row.status !== "OUTLIER") head.append(element("span", "flagged", "flagged"));
  const numbers = element("p", undefined, "numbers");
  for (const [key, name] of [["p", "p"], ["q", "q"], ["score", "score"], ["dice", "Dice"], ["hd95", "HD95 mm"],
      ["assd", "ASSD mm"], ["volume_ml", "ml"]])
    if (row[key] !== null) numbers.append(name + " ", element("b", short(row[key])));
  text.append(head, element("p", row.reason), numbers);
  made.append(small, text);
  const open = () => made.querySelector(".whole") ? made.querySelector(".whole").remove() : made.append(whole(row));
  small.onclick = open;
  const button = element("a", "details");
  button.href = "#"; button.onclick = event => { event.preventDefault(); open(); };
  text.append(button);
  return made;
}
function whole(row) {
  const made = element("div", undefined, "whole");
  if (row.picture) {
    const picture = element("img");
    picture.src = row.picture.split("/").map(encodeURIComponent).join("/");
    picture.alt = "slices, surface and calibration of " + row.organ + " in " + row.scan;
    picture.onerror = () => picture.replaceWith(element("p", row.picture + " is not beside this page", "bad"));
    made.append(picture);
  }
  const more = element("dl");
  for (const [key, value] of Object.entries(row.more))
    more.append(element("dt", key.replaceAll("_", " ")), element("dd", words(value)));
  made.append(more);
  return made;
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
  for (const tile of tiles) tile.classList.toggle("chosen", statuses.includes(tile.dataset.status));
  const organ = wanted.get("organ"), most = wanted.get("p"), find = (wanted.get("find") || "").toLowerCase();
  chosen = rows.filter(row => (!statuses.length || statuses.includes(row.status)) && (!organ || row.organ === organ)
    && (!most || number(row.p) <= Number(most))
    && (!find || (row.scan + " " + row.organ).toLowerCase().includes(find)));
  const by = order[wanted.get("sort")] || order.worst;
  chosen.sort((a, b) => by(a, b) || a.worst - b.worst);
  document.getElementById("count").textContent = chosen.length + " of " + rows.length;
  list.replaceChildren(); made = 0; fill();
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
addEventListener("hashchange", show);
addEventListener("scroll", fill, {passive: true});
addEventListener("resize", fill);
show();
"""

"""How the report looks (CSS) and sorts (a few lines of JavaScript); both go into the page. No numbers, no names."""

STYLE = """
:root { --ink: #1c2733; --soft: #5d6b7a; --line: #dde3e9; --panel: #f5f7f9; --mark: #0b63a5; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 24px 60px; color: var(--ink); background: #fff;
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 25px; margin: 0 0 16px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 34px 0 10px; }
.summary { display: flex; flex-wrap: wrap; gap: 0; background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; margin: 10px 0; }
.summary > div { padding: 12px 18px; border-left: 1px solid var(--line); flex: 1 1 150px; font-weight: 600; }
.summary > div:first-child { border-left: 0; }
.summary span { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.summary .what span { color: var(--mark); }
.summary small { display: block; color: var(--soft); font-weight: 400; font-size: 12px; max-width: 260px; }
.many { flex-wrap: nowrap; }
.many > div { flex: 1 1 0; min-width: 0; padding: 12px; }
.many > div.what { flex: 1.6 1 0; }
.many > div:not(.what) span { font-size: 20px; }
.bad, small.bad, .reason { color: var(--bad); }
.failures { border-left: 4px solid var(--bad); padding-left: 16px; }
.failures ul { padding-left: 18px; margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; width: 100%; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line); font-weight: 400; }
th:first-child, .settings td { text-align: left; overflow-wrap: anywhere; }
thead th { white-space: nowrap; color: var(--soft); font-size: 13px; border-bottom: 2px solid var(--line); }
.published { font-weight: 650; color: var(--ink); }
tr.total th, tr.total td { background: var(--panel); }
td.reason { text-align: left; overflow-wrap: anywhere; }
.sortable thead th { cursor: pointer; }
.settings th { color: var(--soft); text-align: left; white-space: nowrap; vertical-align: top; width: 1%; }
details, section { overflow-x: auto; }
details { margin-top: 22px; }
summary { cursor: pointer; font-weight: 600; font-size: 16px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 16px; }
.triples { grid-template-columns: repeat(auto-fill, minmax(460px, 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
figure.bad { border-color: var(--bad); }
.pair { display: grid; grid-template-columns: 1fr 1fr; }
.pair > * { width: 100%; height: auto; aspect-ratio: 1; display: block; }
.pair > :first-child { border-right: 1px solid var(--line); }
.several { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); }
.several > div + div { border-left: 1px solid var(--line); }
.several img { width: 100%; height: auto; aspect-ratio: 1; display: block; }
.several small { display: block; padding: 4px 8px 8px; font-size: 12px; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 24px; }
.charts h3 { font-size: 15px; margin: 0; }
svg { width: 100%; font-size: 12px; fill: var(--soft); }
svg .bars { fill: var(--mark); opacity: 0.55; }
svg path { fill: none; stroke: var(--ink); stroke-width: 1.6; }
svg line { stroke-dasharray: 4 3; stroke: var(--mark); stroke-width: 1.5; }
svg line.of-references { stroke: var(--ink); }
.wide { width: 100%; height: auto; display: block; }
.none { display: grid; place-items: center; color: var(--soft); background: var(--panel); }
figcaption { padding: 8px 12px 10px; border-top: 1px solid var(--line); font-size: 13px; overflow-wrap: anywhere; }
figure.bad figcaption b { color: var(--ink); }
figcaption p { margin: 4px 0 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 8px; margin: 4px 0 0; font-size: 12px; }
dt { color: var(--mark); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
dd span { white-space: nowrap; margin-right: 5px; }
button { font: inherit; font-size: 13px; margin-right: 6px; padding: 2px 10px; border: 1px solid var(--line);
  border-radius: 12px; background: var(--panel); color: var(--ink); cursor: pointer; }
@media print { details { display: block; } button { display: none; } figure { break-inside: avoid; } }
"""

SCRIPT = """
for (const button of document.querySelectorAll("button[data-sort]")) button.onclick = () => {
  const cards = document.querySelector(".cards"), by = button.dataset.sort;
  const sign = by === "worst" ? -1 : 1, key = card => Number(card.dataset.badness);
  [...cards.children].sort((a, b) => by === "name" ? a.dataset.name.localeCompare(b.dataset.name)
    : key(a) === key(b) ? 0 : sign * (key(a) < key(b) ? -1 : 1)).forEach(card => cards.append(card));
};
for (const head of document.querySelectorAll(".sortable thead th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sign = head.dataset.sign = head.dataset.sign === "1" ? -1 : 1;
  const text = row => row.cells[Math.min(column, row.cells.length - 1)].textContent;
  [...body.rows].sort((a, b) => sign * text(a).localeCompare(text(b), undefined, {numeric: true}))
    .forEach(row => body.append(row));
};
"""

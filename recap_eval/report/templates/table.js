"use strict";
// Tables sort by a click on a header and filter by words, cards by words and flags; without this script all is there.
function amount(cell) {
  const shown = cell.querySelector("span") || cell;
  const found = shown.textContent.replace("−", "-").match(/^\s*([-+]?\d[\d,]*\.?\d*)/);
  return found ? Number(found[1].replaceAll(",", "")) : null;
}
function compare(a, b, down) {
  if (a.value === null || b.value === null) {
    if (a.value !== b.value) return a.value === null ? 1 : -1; // what was not run comes last either way
    return (down ? -1 : 1) * a.text.localeCompare(b.text, undefined, { numeric: true });
  }
  return (down ? -1 : 1) * (a.value - b.value) || a.place - b.place;
}
function sort(table, column, down) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row, place) => {
    const cell = row.cells[column];
    return { row, place, value: amount(cell), text: cell.textContent.trim() };
  });
  rows.sort((a, b) => compare(a, b, down)).forEach((one) => body.append(one.row));
}
function sortable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column, all) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : !head.textContent.includes("↓") && column > 0;
      all.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table, column, down);
    });
  });
}
function filterable(tables) {
  const rows = tables.flatMap((table) => Array.from(table.tBodies[0].rows));
  if (rows.length < 8) return;
  const label = document.createElement("label"), box = document.createElement("input"), told = document.createElement("output");
  label.className = "filter";
  box.type = "search";
  box.placeholder = "words that a row must have";
  box.size = 26;
  label.append("Filter rows ", box, " ", told);
  tables[0].closest("section, main").before(label);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row) => { row.hidden = !hasAll(row, words); });
    const left = rows.filter((row) => !row.hidden).length;
    told.textContent = words.length ? `${left} of ${rows.length} rows` : "";
  });
}
function hasAll(node, words) {
  const text = node.textContent.toLowerCase();
  return words.every((word) => text.includes(word));
}
function flagsOf(card) {
  return card.dataset.flags.split(" ").filter(Boolean);
}
function choice(cards, columns) {
  const select = document.createElement("select");
  const offer = (wish, text) => select.add(new Option(`${text} (${cards.filter((card) => fits(card, wish)).length})`, wish));
  offer("", "all");
  columns.forEach((column, place) => {
    const marks = new Set(cards.flatMap(flagsOf).filter((mark) => mark.startsWith(`${place}:`)));
    if (marks.size > 1) offer(`${place}:`, `${column}: any flag`);
    Array.from(marks).sort().forEach((mark) => offer(mark, `${column}: ${mark.slice(mark.indexOf(":") + 1).replaceAll("_", " ")}`));
  });
  return select;
}
function fits(card, wish) {
  return !wish || flagsOf(card).some((mark) => (wish.endsWith(":") ? mark.startsWith(wish) : mark === wish));
}
function browsable(list, cards) {
  const field = document.createElement("div"), box = document.createElement("input"), told = document.createElement("output");
  const select = choice(cards, JSON.parse(list.dataset.columns)), labels = ["Flag ", "Words "].map((text) => Object.assign(document.createElement("label"), { textContent: text }));
  field.className = "filter";
  box.type = "search";
  labels[0].append(select);
  labels[1].append(box);
  field.append(...labels, told);
  list.before(field);
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    cards.forEach((card) => { card.hidden = !(fits(card, select.value) && hasAll(card, words)); });
    told.textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} rows`;
  };
  [box, select].forEach((one) => one.addEventListener("input", apply));
}
function shades() {
  const order = ["", "light", "dark"], names = { "": "system", light: "light", dark: "dark" };
  const button = document.createElement("button"), root = document.documentElement;
  button.type = "button";
  button.className = "shade";
  const show = () => { button.textContent = `Colours: ${names[root.dataset.shade || ""]}`; };
  button.addEventListener("click", () => {
    root.dataset.shade = order[(order.indexOf(root.dataset.shade || "") + 1) % order.length];
    show();
  });
  show();
  document.body.prepend(button);
}
const tables = Array.from(document.querySelectorAll("table"));
tables.forEach(sortable);
if (tables.length) filterable(tables);
const cards = Array.from(document.querySelectorAll("[data-flags]"));
if (cards.length) browsable(cards[0].parentNode, cards);
shades();

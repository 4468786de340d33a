"use strict";
// Tables sort by a click on a header and filter by words; without this script they are plain tables.
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
  label.append("Filter rows ", box, " ", told);
  tables[0].closest("section, main").before(label);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row) => { row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word)); });
    const left = rows.filter((row) => !row.hidden).length;
    told.textContent = words.length ? `${left} of ${rows.length} rows` : "";
  });
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
shades();

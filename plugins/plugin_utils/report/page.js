// SPDX-License-Identifier: GPL-3.0-or-later
// Search, sorting, the theme, and each VIP's reals. What hosts told becomes text only, never markup.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("shares").textContent);
  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

  // Five bits in each character, the lowest first; all but a number's last have the sixth.
  const unpack = (text) => {
    const found = [];
    let value = 0, scale = 1;
    for (const each of text) {
      const digit = DIGITS.indexOf(each);
      value += (digit & 31) * scale;
      scale *= 32;
      if (digit < 32) { found.push(value); value = 0; scale = 1; }
    }
    return found;
  };

  const made = (name, text, kind) => {
    const found = document.createElement(name);
    if (text !== undefined) found.textContent = text;
    if (kind) found.className = kind;
    return found;
  };
  const drawn = (name, attributes) => {
    const found = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    return found;
  };
  const percent = (share) => (share * 100).toFixed(share < 0.0995 ? 2 : 1) + " %";
  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

  const realsOf = (place) => {
    let at = 0;
    return unpack(data.lists[data.vips[place][0]]).map((step) => data.reals[at += step]);
  };
  // Flows are told by how far they are from what is expected: an even number is so many more, an odd one fewer.
  const sharesOf = (place) => {
    const [, expected, total, offs] = data.vips[place];
    const parts = unpack(data.expected[expected]);
    const off = unpack(offs).map((each) => (each % 2 ? -(each + 1) / 2 : each / 2));
    const odd = new Set(data.odd[place] || []);
    return realsOf(place).map((real, index) => {
      const flows = total ? Math.floor((parts[index] * total + data.whole / 2) / data.whole) + off[index] : 0;
      return {real, flows, expected: parts[index] / data.whole, seen: total ? flows / total : null, odd: odd.has(index)};
    });
  };

  // A VIP's shares in a line: what is expected as columns, what is seen as a line over them.
  const spark = (shares) => {
    const width = 120, height = 20;
    const svg = drawn("svg", {width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"});
    const most = Math.max(...shares.map((each) => Math.max(each.expected, each.seen || 0)), 1e-9);
    const step = width / Math.max(shares.length, 1);
    const y = (share) => (height - 1 - (share / most) * (height - 2)).toFixed(1);
    const gap = step > 4 ? 1 : 0;
    let columns = "", line = "";
    shares.forEach((each, index) => {
      const x = index * step;
      columns += `M${x.toFixed(1)} ${height}V${y(each.expected)}h${(step - gap).toFixed(1)}V${height}z`;
      if (each.seen !== null) line += `${line ? "L" : "M"}${x.toFixed(1)} ${y(each.seen)}H${(x + step - gap).toFixed(1)}`;
    });
    svg.append(drawn("path", {d: columns, class: "s-expected"}));
    if (line) svg.append(drawn("path", {d: line, class: "s-seen"}));
    return svg;
  };

  const both = (each, most) => {
    const svg = drawn("svg", {width: 160, height: 12, viewBox: "0 0 160 12", "aria-hidden": "true"});
    svg.append(drawn("rect", {class: "s-expected", width: (160 * each.expected / most).toFixed(1), height: 12, rx: 2}));
    if (each.seen !== null) svg.append(drawn("rect", {class: "used", y: 4, width: (160 * each.seen / most).toFixed(1), height: 4, rx: 1}));
    return svg;
  };

  const LINE = 4;
  const belowOf = (row) => {
    const next = row.nextElementSibling;
    return next && next.classList.contains("more") ? next : null;
  };

  const details = (place, name) => {
    const shares = sharesOf(place);
    const most = Math.max(...shares.map((each) => Math.max(each.expected, each.seen || 0)), 1e-9);
    const row = made("tr", undefined, "more");
    const cell = row.appendChild(made("td"));
    cell.colSpan = 9;
    const scroll = cell.appendChild(made("div", undefined, "scroll"));
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Reals of ${name}`);
    const table = scroll.appendChild(made("table"));
    const head = table.appendChild(made("thead")).appendChild(made("tr"));
    ["Real", "Expected", "Seen", "Points off", "Flows", ""].forEach((title, index) => {
      const th = head.appendChild(made(title ? "th" : "td", title, index && index < 5 ? "n" : ""));
      if (title) th.scope = "col";
    });
    const body = table.appendChild(made("tbody"));
    for (const each of shares) {
      const line = body.appendChild(made("tr"));
      const th = line.appendChild(made("th", each.real, "a"));
      th.scope = "row";
      line.append(made("td", each.expected ? percent(each.expected) : "no new flows", "n"));
      line.append(made("td", each.seen === null ? "–" : percent(each.seen), "n"));
      const off = each.seen === null ? "–" : signed((each.seen - each.expected) * 100);
      const td = line.appendChild(made("td", undefined, "n"));
      if (each.odd) td.append(made("span", "▲ ", "odd"));
      td.append(off);
      line.append(made("td", grouped(each.flows), "n"));
      line.appendChild(made("td")).append(both(each, most));
    }
    return row;
  };
  const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(2);

  // VIPs: the line of shares, and the reals below on demand.
  const vips = document.getElementById("vip-table");
  const placeOf = new Map();
  if (vips) {
    const title = made("th", "Shares");
    title.scope = "col";
    vips.tHead.rows[0].cells[LINE].before(title);
    [...vips.tBodies[0].rows].forEach((row, place) => {
      placeOf.set(row, place);
      const cell = made("td", undefined, "line");
      cell.append(spark(sharesOf(place)));
      row.cells[LINE].before(cell);
      const name = row.cells[0].textContent.trim();
      const button = made("button", name, "open");
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => {
        const open = belowOf(row);
        if (open) open.remove();
        else row.after(details(place, name));
        button.setAttribute("aria-expanded", String(!open));
      });
      row.cells[0].replaceChildren(button);
    });
  }
  document.querySelector(".tools").hidden = false;
  document.getElementById("unscripted")?.remove();

  // Sorting: by a column's button, numbers downwards first.
  const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  const valueOf = (cell) => {
    const text = cell.textContent.trim();
    const found = /^(?:[▲<]|about)?\s*([−+]?[\d,]+(?:\.\d+)?)(?:–\d+)?(?: (%|[kMGTPE]?B)| of .*)?$/.exec(text);
    if (!found) return text === "–" ? -Infinity : text;
    const unit = UNITS.indexOf(found[2]);
    return Number(found[1].replace("−", "-").replace(/,/g, "")) * (unit > 0 ? 1000 ** unit : 1);
  };
  const natural = new Intl.Collator("en", {numeric: true});
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : natural.compare(String(a), String(b));
  for (const button of document.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const th = button.parentElement, table = th.closest("table"), index = th.cellIndex;
      const numeric = th.classList.contains("n");
      const before = th.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numeric;
      for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const bySize = th.dataset.size !== undefined;
      const rows = [...body.rows].filter((row) => !row.classList.contains("more")).map((row) => {
        const value = valueOf(row.cells[index]);
        return {row, more: belowOf(row), value: bySize && Number.isFinite(value) ? Math.abs(value) : value};
      });
      rows.sort((a, b) => compare(a.value, b.value) * (down ? -1 : 1));
      body.append(...rows.flatMap((each) => (each.more ? [each.row, each.more] : [each.row])));
    });
  }

  // Search: all words have to be in a row; a VIP is also found by its reals.
  const find = document.getElementById("find"), found = document.getElementById("found");
  let texts = null;
  const search = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    texts = texts || [...document.querySelectorAll("main .list > li, main .wrap > table > tbody > tr:not(.more)")].map((row) => {
      const reals = placeOf.has(row) ? realsOf(placeOf.get(row)).join(" ") : "";
      return {row, text: `${row.textContent} ${reals}`.toLowerCase()};
    });
    let count = 0;
    for (const {row, text} of texts) {
      const shown = words.every((word) => text.includes(word));
      row.hidden = !shown;
      const below = belowOf(row);
      if (below) below.hidden = !shown;
      count += shown;
    }
    found.textContent = words.length ? `${count} of ${texts.length} entries have it` : "";
  };
  find.addEventListener("input", search);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== find && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      find.focus();
    } else if (event.key === "Escape" && document.activeElement === find && find.value) {
      find.value = "";
      search();
    }
  });

  // The theme: the system's, unless somebody says otherwise. Where nothing can be stored, it lasts as long as the page.
  const theme = document.getElementById("theme"), themes = ["system", "light", "dark"];
  const show = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
  };
  let chosen = "system";
  try { chosen = localStorage.getItem("katran-fleet-theme") || chosen; } catch (error) { /* no storage here */ }
  if (!themes.includes(chosen)) chosen = "system";
  show(chosen);
  theme.addEventListener("click", () => {
    chosen = themes[(themes.indexOf(chosen) + 1) % themes.length];
    show(chosen);
    try { localStorage.setItem("katran-fleet-theme", chosen); } catch (error) { /* likewise */ }
  });
})();

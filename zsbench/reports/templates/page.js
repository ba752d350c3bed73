"use strict";
(() => {
  const root = document.documentElement, themes = ["system", "light", "dark"], key = "zsbench-theme";
  const kept = (value) => {  // a page from a file may be refused its storage
    try { return value === undefined ? localStorage.getItem(key) : localStorage.setItem(key, value); } catch { return null; }
  };
  const button = document.getElementById("theme");
  const show = (theme) => {
    root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  show(themes.includes(kept()) ? kept() : "system");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    show(next);
    kept(next);
  });

  const number = (text) => parseFloat(text.replace(/,/g, "").replace("−", "-"));
  const order = (rows, column, numeric, sign) => rows.sort((one, other) => {
    const [a, b] = [one, other].map((row) => row.cells[column].textContent.trim());
    if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
    const [x, y] = [number(a), number(b)];
    return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);  // what is undefined stands last
  });
  for (const head of document.querySelectorAll("th[aria-sort]")) {
    const text = document.createElement("button");
    text.type = "button";
    text.append(...head.childNodes);
    head.append(text);
    text.addEventListener("click", () => {
      const numeric = head.classList.contains("n"), before = head.getAttribute("aria-sort");
      const rising = before === "none" ? !numeric : before === "descending";
      for (const each of head.parentNode.querySelectorAll("th[aria-sort]")) each.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = head.closest("table").tBodies[0];
      body.append(...order([...body.rows], head.cellIndex, numeric, rising ? 1 : -1));
    });
  }

  const choices = [...document.querySelectorAll(".filters select")];
  const filter = () => {
    const wanted = choices.filter((choice) => choice.value).map((choice) => [choice.name, choice.value]);
    for (const each of document.querySelectorAll("[data-dataset]")) {
      each.classList.toggle("gone", wanted.some(([name, value]) => name in each.dataset && each.dataset[name] !== value));
    }
    for (const table of document.querySelectorAll("table[data-count]")) {
      const rows = [...table.tBodies[0].rows], shown = rows.filter((row) => !row.classList.contains("gone")).length;
      document.getElementById(table.dataset.count).textContent = `${shown} of ${rows.length} rows`;
    }
  };
  for (const choice of choices) choice.addEventListener("change", filter);
  if (choices.length) {
    choices[0].closest(".filters").hidden = false;
    filter();  // a page that is gone back to keeps its choices
  }
  for (const row of document.querySelectorAll("tr[data-row]")) {  // a row shows where it stands in the pictures
    const mark = (hot) => document.querySelectorAll(`g[data-row="${row.dataset.row}"]`).forEach((dot) => dot.classList.toggle("hot", hot));
    for (const [event, hot] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) row.addEventListener(event, () => mark(hot));
  }
  for (const each of document.querySelectorAll(".scroll")) {  // what can be scrolled can be reached by keyboard
    if (each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight) each.tabIndex = 0;
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
})();

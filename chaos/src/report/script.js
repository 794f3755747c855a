"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = data.runs.list;
  const view = document.getElementById("run-view");
  const choice = document.getElementById("run-choice");
  const filter = document.getElementById("run-filter");
  if (!view || !choice || !runs.length) return;
  const NS = "http://www.w3.org/2000/svg";
  const make = (name, attributes, text) => {
    const element = document.createElementNS(NS, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const tell = (name, text, parent) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (parent) parent.appendChild(element);
    return element;
  };
  const ms = (value) => value === null || value === undefined ? "–" : value >= 10000 ? (value / 1000).toFixed(2) + " s" : value.toFixed(1) + " ms";
  const at = (value) => value === null || value === undefined ? "–" : (value / 1000).toFixed(3) + " s";
  const label = (run) => (run.mark ? "⚑ " : "") + run.id + (run.workflow ? " · " + run.workflow : "") + (run.status ? " · " + run.status : "") + (run.mark ? " · " + run.mark : "");
  const fill = () => {
    const wanted = filter.value.trim().toLowerCase();
    choice.textContent = "";
    runs.forEach((run, index) => {
      if (wanted && !(label(run) + " " + run.uid).toLowerCase().includes(wanted)) return;
      const option = document.createElement("option");
      option.value = index;
      option.textContent = label(run);
      choice.appendChild(option);
    });
    show();
  };
  const show = () => {
    view.textContent = "";
    const run = runs[Number(choice.value)];
    if (!choice.options.length || !run) { tell("p", "No run of the page matches.", view); return; }
    const head = tell("p", "", view);
    tell("b", run.id, head);
    head.append(" " + [run.workflow, run.status, run.uid && "uid " + run.uid, "from " + at(run.from) + " to " + at(run.to)].filter(Boolean).join(", "));
    for (const text of run.violations) { const p = tell("p", "✗ " + text, view); p.className = "violated"; }
    const rows = [];
    const add = (bar, kind) => {
      const name = kind === "call" ? "client: " + bar.row : bar.row;
      let row = rows.find((one) => one.name === name);
      if (!row) { row = { name, kind, bars: [], lines: [] }; rows.push(row); }
      row.bars.push(bar);
      const end = bar.to === null ? run.to : bar.to;
      let line = row.lines.findIndex((busy) => busy <= bar.from);
      if (line < 0) { line = row.lines.length; row.lines.push(0); }
      row.lines[line] = Math.max(end, bar.from + (run.to - run.from) / 160);
      bar.line = line;
    };
    run.calls.forEach((bar) => add(bar, "call"));
    run.attempts.forEach((bar) => add(bar, "attempt"));
    const W = 1100, L = 190, R = 14, H = 17, T = 46;
    const total = Math.max(run.to - run.from, 1);
    const from = run.from - total * 0.03, to = run.to + total * 0.03;
    const x = (value) => L + (value - from) / (to - from) * (W - L - R);
    const height = rows.reduce((sum, row) => sum + Math.max(row.lines.length, 1) * H + 7, T) + 26;
    const svg = make("svg", { viewBox: "0 0 " + W + " " + height, role: "img", "aria-label": "Calls and attempts of run " + run.id + "; the same is in the table below" });
    const named = [];
    for (const fault of data.faults) {
      const end = fault.to === null ? fault.from : fault.to;
      if (end < from || fault.from > to || fault.state === "skipped") continue;
      const a = Math.max(x(fault.from), L), b = Math.min(x(end), W - R);
      const group = make("g", {});
      group.appendChild(make("title", {}, fault.text));
      group.appendChild(make("rect", { class: "shade " + fault.class, x: a, y: T - 4, width: Math.max(b - a, 1.5), height: height - T - 18 }));
      const left = Math.min(a + 2, W - 120), right = left + fault.kind.length * 6.5 + 8;
      let line = 0;
      while (named.some((one) => one.line === line && left < one.right && right > one.left)) line++;
      if (line < 3) {
        named.push({ line, left, right });
        group.appendChild(make("text", { class: "tick", x: left, y: 11 + line * 12 }, fault.kind));
      }
      svg.appendChild(group);
    }
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000, 120000, 600000].find((one) => (to - from) / one <= 10) || 3600000;
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) {
      if (tick < 0) continue;
      svg.appendChild(make("path", { class: "grid", d: "M" + x(tick) + " " + (T - 4) + "V" + (height - 20) }));
      svg.appendChild(make("text", { class: "tick middle", x: x(tick), y: height - 6 }, (tick / 1000).toFixed(step < 1000 ? 2 : 0) + " s"));
    }
    let y = T;
    for (const row of rows) {
      const name = row.name.length > 28 ? "…" + row.name.slice(-27) : row.name;
      const text = make("text", { class: "tick end", x: L - 8, y: y + 12 }, name);
      text.appendChild(make("title", {}, row.name));
      svg.appendChild(text);
      for (const bar of row.bars) {
        const top = y + bar.line * H;
        const group = make("g", {});
        group.appendChild(make("title", {}, row.name + ": " + bar.note + "; " + at(bar.from) + " to " + at(bar.to) + "; " + bar.end));
        const end = bar.to === null ? to : bar.to;
        const kind = bar.to === null ? "open" : bar.end;
        group.appendChild(make("rect", { class: "attempt " + kind.replace(/[^a-z]/g, ""), x: x(bar.from), y: top, width: Math.max(x(end) - x(bar.from), 2.5), height: H - 4, rx: 2 }));
        for (const effect of bar.effects || []) group.appendChild(make("path", { class: "effect", d: "M" + x(effect) + " " + (top - 1) + "v" + (H - 2) }));
        svg.appendChild(group);
      }
      y += Math.max(row.lines.length, 1) * H + 7;
    }
    const box = tell("div", "", view);
    box.className = "scroll";
    box.appendChild(svg);
    const details = tell("details", "", view);
    tell("summary", "As a table", details);
    const wrap = tell("div", "", details);
    wrap.className = "scroll";
    const table = tell("table", "", wrap);
    const top = tell("tr", "", tell("thead", "", table));
    for (const header of ["What", "Begin", "Took", "End", "Note"]) tell("th", header, top);
    const body = tell("tbody", "", table);
    for (const row of rows) for (const bar of row.bars) {
      const line = tell("tr", "", body);
      for (const cell of [row.name, at(bar.from), bar.to === null ? "–" : ms(bar.to - bar.from), bar.end, bar.note]) tell("td", cell, line);
    }
  };
  const move = (by) => {
    const next = choice.selectedIndex + by;
    if (next >= 0 && next < choice.options.length) { choice.selectedIndex = next; show(); }
  };
  filter.addEventListener("input", fill);
  choice.addEventListener("change", show);
  document.getElementById("run-before").addEventListener("click", () => move(-1));
  document.getElementById("run-after").addEventListener("click", () => move(1));
  for (const link of document.querySelectorAll("[data-run]")) link.addEventListener("click", () => {
    const index = runs.findIndex((run) => link.dataset.run.includes(run.id) || (run.uid && link.dataset.run.includes(run.uid)));
    if (index >= 0) { filter.value = ""; fill(); choice.value = index; show(); }
  });
  fill();
})();

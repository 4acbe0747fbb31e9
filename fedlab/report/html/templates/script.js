"use strict";
(() => {
  // ---- light and dark: as the system says, or as the reader chooses ----
  const root = document.documentElement;
  const toggle = document.querySelector(".toggle");
  const words = { auto: "Auto", light: "Light", dark: "Dark" };
  const stored = () => { try { return localStorage.getItem("fedlab-theme"); } catch { return null; } };
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    toggle.querySelector("span").textContent = words[theme];
    toggle.setAttribute("aria-label", `Colours: ${words[theme].toLowerCase()}; change`);
    toggle.value = theme;
  };
  const keep = (theme) => {
    try { localStorage.setItem("fedlab-theme", theme); } catch { /* a page on disk may keep nothing */ }
  };
  const kept = stored();
  show(kept in words ? kept : "auto"); // shown alone: what another page has just kept may still be on its way
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const order = Object.keys(words);
    const next = order[(order.indexOf(toggle.value) + 1) % order.length];
    show(next);
    keep(next);
  });

  // ---- legend: pick out one method in all pictures ----
  const buttons = [...document.querySelectorAll(".legend button")];
  const pick = (style) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === style));
    for (const drawn of document.querySelectorAll(".chart [class*=' m'], .chart [class^='m']")) {
      const own = [...drawn.classList].find((name) => /^m\d$/.test(name));
      drawn.classList.toggle("dim", style !== null && own !== undefined && own !== `m${style}`);
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => pick(button.getAttribute("aria-pressed") === "true" ? null : button.value));
  }

  // ---- curves: the numbers under the pointer ----
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const draw = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  for (const chart of document.querySelectorAll("[data-curves]")) {
    const { left, right, top, bottom, curves } = JSON.parse(chart.dataset.curves);
    const reading = chart.querySelector(".reading");
    const hide = () => { tip.hidden = true; reading.setAttribute("hidden", ""); };
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const x = (event.clientX - box.left) * chart.viewBox.baseVal.width / box.width;
      if (x < left - 8 || x > right + 8) return hide();
      const near = curves.filter((curve) => curve.points.length).map((curve) => {
        const nearer = (a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
        return { ...curve, point: curve.points.reduce(nearer) };
      });
      if (!near.length) return hide();
      const at = near[0].point[0];
      reading.replaceChildren(draw("line", { x1: at, x2: at, y1: top, y2: bottom }));
      for (const { style, point } of near) {
        reading.append(draw("circle", { cx: point[0], cy: point[1], r: 4, class: `m${style}` }));
      }
      reading.removeAttribute("hidden");
      const row = ({ label, style, point }) => {
        const line = document.createElement("p");
        const name = document.createElement("span");
        name.className = `m${style}`;
        name.append(document.createElement("i"), Object.assign(document.createElement("span"), { textContent: label }));
        line.append(name, Object.assign(document.createElement("b"), { textContent: point[3] }));
        return line;
      };
      const head = Object.assign(document.createElement("p"), { textContent: `${chart.dataset.x} ${near[0].point[2]}` });
      tip.replaceChildren(head, ...near.sort((a, b) => a.point[1] - b.point[1]).map(row));
      tip.hidden = false;
      const { width, height } = tip.getBoundingClientRect();
      const beside = event.clientX + 16 + width > innerWidth ? event.clientX - width - 16 : event.clientX + 16;
      tip.style.left = `${Math.max(4, beside)}px`;
      tip.style.top = `${Math.min(event.clientY + 12, innerHeight - height - 8)}px`;
    });
  }
})();

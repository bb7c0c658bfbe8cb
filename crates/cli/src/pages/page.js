"use strict";
// The page works without this script. The script adds zooming into curves, and shows grids one at a time.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

{
  const label = document.getElementById("theme"), select = label.querySelector("select");
  const key = "waxwork-theme";
  const apply = theme => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  // A browser may forbid a local file to store anything.
  try { select.value = localStorage.getItem(key) ?? ""; } catch { }
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    try { localStorage.setItem(key, select.value); } catch { }
  });
  label.hidden = false;
}

if (document.querySelector(".moving")) {
  // Animations play unless the system asks for less motion. The button stops and starts all of them.
  const button = document.createElement("button"), root = document.documentElement;
  button.type = "button";
  button.id = "motion";
  let plays = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    root.classList.toggle("playing", plays);
    root.classList.toggle("paused", !plays);
    button.textContent = plays ? "Pause clips" : "Play clips";
  };
  button.addEventListener("click", () => { plays = !plays; show(); });
  document.querySelector("main").prepend(button);
  show();
}

for (const slides of all(".slides")) {
  const tools = slides.querySelector(".tools");
  if (!tools) continue;
  const pictures = all(".slide", slides), slider = tools.querySelector("input");
  const output = tools.querySelector("output"), play = tools.querySelector("button");
  const show = () => {
    pictures.forEach((picture, place) => { picture.hidden = place !== Number(slider.value); });
    output.textContent = pictures[slider.value].dataset.step;
    slider.setAttribute("aria-valuetext", `step ${output.textContent}`);
  };
  let timer = null;
  const pause = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  slider.addEventListener("input", () => { pause(); show(); });
  play.addEventListener("click", () => {
    if (timer) return pause();
    if (slider.value === slider.max) slider.value = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) pause();
    }, 600);
  });
  show();
  tools.hidden = false;
}

for (const chart of all(".chart")) {
  // Paths are drawn in a square of 1000 by 1000; the view box is the visible part.
  const SIDE = 1000;
  const [firstStep, lastStep] = JSON.parse(chart.dataset.steps), [least, greatest] = JSON.parse(chart.dataset.values);
  const start = JSON.parse(chart.dataset.window);
  const drawing = chart.querySelector(".drawing"), lines = chart.querySelector(".lines");
  const cursor = chart.querySelector(".cursor"), curves = all(".curve", chart), buttons = all(".legend button", chart);
  const tools = chart.querySelector(".tools"), reading = tools.querySelector("input"), output = tools.querySelector("output");
  const names = buttons.map(button => button.textContent);
  const points = curves.map(curve =>
    [...curve.querySelector("path").getAttribute("d").matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)].map(match => [Number(match[1]), Number(match[2])]));
  const stepAt = x => firstStep + x / SIDE * (lastStep - firstStep);
  const valueAt = y => greatest - y / SIDE * (greatest - least);
  const places = [...new Set(points.flat().map(point => point[0]))].sort((a, b) => a - b);
  let [left, top, width, height] = start;

  const ticks = (low, high) => {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(step => step >= rough) ?? 10 * power;
    const digits = clamp(-Math.floor(Math.log10(step)), 0, 12);
    const found = [];
    for (let number = Math.ceil(low / step); number * step <= high; number += 1) {
      found.push([(number * step - low) / (high - low), (number * step + 0).toFixed(digits)]);
    }
    return found;
  };
  const label = (parent, side, found) => parent.replaceChildren(...found.map(([at, text]) => {
    const span = document.createElement("span");
    span.style[side] = `${100 * at}%`;
    span.textContent = text;
    return span;
  }));
  const draw = () => {
    width = clamp(width, SIDE / 1000, SIDE);
    left = clamp(left, 0, SIDE - width);
    height = Math.max(height, SIDE / 1e5);
    drawing.setAttribute("viewBox", `${left} ${top} ${width} ${height}`);
    const ofValues = ticks(valueAt(top + height), valueAt(top));
    label(chart.querySelector(".values"), "bottom", ofValues);
    label(chart.querySelector(".steps"), "left", ticks(stepAt(left), stepAt(left + width)));
    lines.replaceChildren(...ofValues.map(([at]) => {
      const line = document.createElementNS(drawing.namespaceURI, "path");
      line.setAttribute("d", `M0 ${top + height * (1 - at)}H${SIDE}`);
      return line;
    }));
    read();
  };
  const read = () => {
    const x = places[reading.value];
    cursor.setAttribute("d", `M${x} ${top}v${height}`);
    const step = Math.round(stepAt(x));
    const values = points.flatMap((series, place) => {
      const point = series.find(point => point[0] === x);
      return point && !hidden(place) ? [`${names[place]} ${Number(valueAt(point[1]).toPrecision(4))}`] : [];
    });
    output.textContent = `Step ${step}: ${values.join(", ")}`;
    reading.setAttribute("aria-valuetext", output.textContent);
  };
  const hidden = place => buttons[place].getAttribute("aria-pressed") === "false";
  const everything = () => {
    const shown = points.filter((_, place) => !hidden(place)).flat().map(point => point[1]);
    const low = Math.min(...shown), high = Math.max(...shown), margin = 0.05 * (high - low || SIDE / 10);
    [left, top, width, height] = shown.length ? [0, low - margin, SIDE, high - low + 2 * margin] : start;
  };
  const zoom = factor => {
    left += width * (1 - factor) / 2;
    top += height * (1 - factor) / 2;
    width *= factor;
    height *= factor;
  };
  const actions = {
    in: () => zoom(0.5), out: () => zoom(2),
    left: () => { left -= width / 4; }, right: () => { left += width / 4; },
    up: () => { top -= height / 4; }, down: () => { top += height / 4; },
    reset: () => { [left, top, width, height] = start; }, all: everything,
  };
  for (const button of all("[data-do]", tools)) {
    button.addEventListener("click", () => { actions[button.dataset.do](); draw(); });
  }
  buttons.forEach((button, place) => {
    button.disabled = false;
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", hidden(place));
      curves[place].style.display = hidden(place) ? "none" : "";
      // The remaining curves fill the drawing.
      if (buttons.some((_, place) => hidden(place))) everything();
      else actions.reset();
      draw();
    });
  });
  const under = event => {
    const box = drawing.getBoundingClientRect();
    return left + width * clamp((event.clientX - box.left) / box.width, 0, 1);
  };
  let from = null, choice = null;
  drawing.addEventListener("pointermove", event => {
    const x = under(event);
    let nearest = 0;
    places.forEach((place, number) => { if (Math.abs(place - x) < Math.abs(places[nearest] - x)) nearest = number; });
    reading.value = nearest;
    read();
    if (from !== null && choice) {
      choice.setAttribute("x", Math.min(from, x));
      choice.setAttribute("width", Math.abs(x - from));
    }
  });
  // Drag over the steps to zoom into.
  drawing.addEventListener("pointerdown", event => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    from = under(event);
    drawing.setPointerCapture(event.pointerId);
    choice = document.createElementNS(drawing.namespaceURI, "rect");
    for (const [name, value] of Object.entries({ class: "choice", x: from, y: top, width: 0, height })) {
      choice.setAttribute(name, value);
    }
    drawing.append(choice);
  });
  const dropped = event => {
    if (from === null) return;
    const to = under(event), wide = Math.abs(to - from);
    if (wide > width / 50) {
      left = Math.min(from, to);
      width = wide;
      const inside = points.filter((_, place) => !hidden(place)).flat().filter(([x]) => x >= left && x <= left + width);
      if (inside.length > 1) {
        const low = Math.min(...inside.map(point => point[1])), high = Math.max(...inside.map(point => point[1]));
        const margin = 0.05 * (high - low || SIDE / 100);
        [top, height] = [low - margin, high - low + 2 * margin];
      }
      draw();
    }
    choice?.remove();
    from = choice = null;
  };
  drawing.addEventListener("pointerup", dropped);
  drawing.addEventListener("pointercancel", () => { choice?.remove(); from = choice = null; });
  drawing.addEventListener("dblclick", () => { actions.reset(); draw(); });
  reading.max = places.length - 1;
  reading.value = places.length - 1;
  reading.addEventListener("input", read);
  tools.hidden = false;
  draw();
}

for (const button of all(".copy")) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
}

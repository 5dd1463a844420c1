
// An op that is pointed at or focused is read out beside its chart; arrow keys go on to the next.
{
  const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 };

  const goal = (key, at, last) => {
    if (key === "Home") return 0;
    if (key === "End") return last;
    return key in STEPS ? Math.min(Math.max(at + STEPS[key], 0), last) : null;
  };

  for (const chart of document.querySelectorAll(".chart")) {
    const points = [...chart.querySelectorAll(".point")];
    const readout = chart.querySelector(".readout");
    if (!readout) continue;

    const read = (point) => {
      readout.textContent = point ? point.getAttribute("aria-label") : readout.dataset.rest;
      readout.classList.toggle("rest", !point);
    };
    const focused = () => points.find((point) => point === document.activeElement);
    const move = (event, at) => {
      const next = goal(event.key, at, points.length - 1);
      if (next === null || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      points[at].tabIndex = -1;
      points[next].tabIndex = 0;
      points[next].focus();
    };

    points.forEach((point, at) => {
      point.querySelector("title").remove(); // it would stand over what is read out
      point.addEventListener("pointerenter", () => read(point));
      point.addEventListener("pointerleave", () => read(focused()));
      point.addEventListener("focus", () => read(point));
      point.addEventListener("blur", () => read(null));
      point.addEventListener("keydown", (event) => move(event, at));
    });
    read(null);
  }
}


// Boxes that are ticked off hide the findings of their severity.
{
  const filter = document.getElementById("filter");

  const show = () => {
    const boxes = [...filter.querySelectorAll("input")];
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const rows = [...document.querySelectorAll("#findings tbody tr")];
    for (const row of rows) row.hidden = !wanted.has(row.cells[0].textContent);
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent =
      shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
  };

  if (filter) {
    filter.hidden = false;
    filter.addEventListener("change", show);
    show(); // a browser may remember what was ticked off before the page was loaded again
  }
}

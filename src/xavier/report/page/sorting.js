
// The heads of tables become buttons that sort by their column, up and then down.
{
  const GRAVITY = ["error", "warning", "note"];
  const compareText = new Intl.Collator("en", { numeric: true }).compare;

  const asNumber = (text) => {
    const plain = text.replace(/[,%\s]/g, "").replace("inf", "Infinity");
    return plain === "" ? NaN : Number(plain);
  };

  // What has no value is null, which comes last in both directions.
  const keyOf = (kind, text) => {
    if (kind === "severity") return GRAVITY.indexOf(text);
    if (kind === "text") return text === "" ? null : text;
    const number = asNumber(text);
    return Number.isNaN(number) ? null : number;
  };

  const compare = (one, other, kind) => {
    if (kind === "text") return compareText(one, other);
    return one === other ? 0 : one < other ? -1 : 1;
  };

  const sort = (table, head) => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const kind = head.dataset.kind;
    const rows = [...table.tBodies[0].rows].map((row) => ({
      row,
      key: keyOf(kind, row.cells[head.cellIndex].textContent),
    }));
    rows.sort((one, other) => {
      if (one.key === null || other.key === null) {
        return (one.key === null) - (other.key === null);
      }
      return direction * compare(one.key, other.key, kind);
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    for (const each of head.parentElement.cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  };

  for (const table of document.querySelectorAll("table")) {
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.kind === "picture") continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, head));
      head.replaceChildren(button);
    }
  }
}

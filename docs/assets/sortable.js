/* A click on the head of a table's column sorts its rows: numbers by value, words by letter. */
document.addEventListener("DOMContentLoaded", () => {
  const value = (row, column) => row.cells[column].textContent.trim();
  for (const table of document.querySelectorAll(".md-typeset table")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      head.classList.add("sortable");
      head.addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") === "descending";
        const rows = [...table.tBodies[0].rows];
        const numbers = rows.map((row) => parseFloat(value(row, column).replace("+", "")));
        const numeric = numbers.filter((number) => !Number.isNaN(number)).length > rows.length / 2;
        const compare = (a, b) => {
          if (!numeric) return value(a, column).localeCompare(value(b, column));
          const [x, y] = [a, b].map((row) => parseFloat(value(row, column).replace("+", "")));
          return (Number.isNaN(x) ? -Infinity : x) - (Number.isNaN(y) ? -Infinity : y);
        };
        rows.sort((a, b) => (rising ? compare(a, b) : compare(b, a)));
        table.tBodies[0].append(...rows);
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      });
    });
  }
});

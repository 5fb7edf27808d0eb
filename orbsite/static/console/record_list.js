// Closes the open list of values when one clicks elsewhere or presses Escape. Without this script, its heading closes it.
"use strict";

document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll(".orb-facet[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" ? document.querySelector(".orb-facet[open]") : null;
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});

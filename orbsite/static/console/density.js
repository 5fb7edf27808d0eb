// Sets the density of rows that this browser remembers, before the page is shown.
"use strict";

try {
  document.documentElement.dataset.density = localStorage.getItem("orb-density") === "compact" ? "compact" : "comfortable";
} catch {
  document.documentElement.dataset.density = "comfortable"; // the browser keeps no data for this site
}

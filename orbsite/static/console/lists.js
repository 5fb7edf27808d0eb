// Adds buttons that move, remove and add the rows of a list with objects; chips.js makes chips of a list of texts.
// Without these scripts, number inputs and checkboxes do this.
"use strict";

for (const list of document.querySelectorAll("[data-orb-list]")) {
  const rows = list.querySelector(".orb-rows");
  watchJSON(list);
  if (rows && !list.classList.contains("orb-texts")) enhance(list, rows);
}

function enhance(list, rows) {
  const status = list.querySelector(".orb-status");
  let next = rows.children.length;
  for (const row of [...rows.children]) {
    if (row.classList.contains("orb-empty") && !isFilled(row)) row.remove();
    else addButtons(row);
  }
  number();
  list.querySelector(".help").textContent = "New rows that stay empty are not saved.";
  list.classList.add("orb-scripted");
  const adders = list.querySelector(".orb-adders");
  adders.hidden = false;
  adders.addEventListener("click", (event) => {
    const form = event.target.dataset.orbAdd;
    if (form) add(form);
  });

  function add(form) {
    const row = list.querySelector(`template[data-orb-form="${form}"]`).content.firstElementChild.cloneNode(true);
    for (const part of row.querySelectorAll("[name], [id], [for]")) {
      for (const name of ["name", "id", "for"]) {
        const value = part.getAttribute(name);
        if (value) part.setAttribute(name, value.replace("-__n__-", `-${next}-`));
      }
    }
    next += 1;
    addButtons(row);
    rows.append(row);
    number();
    row.querySelector('input[type="text"], textarea').focus();
    status.textContent = `A row was added at position ${rows.children.length}.`;
  }

  function addButtons(row) {
    const places = row.querySelector(".orb-places");
    const box = row.querySelector('[name$="-remove"]');
    const button = (text, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "button";
      made.textContent = text;
      made.setAttribute("aria-label", `${text}: ${row.querySelector("legend").textContent}`);
      made.addEventListener("click", () => act(made));
      places.append(made);
      return made;
    };
    button("Up", (made) => move(row, row.previousElementSibling, made));
    button("Down", (made) => move(row.nextElementSibling, row, made));
    button("Remove", (made) => {
      box.checked = !box.checked;
      show(made);
      status.textContent = box.checked ? "The row will be removed when you save." : "The row will be kept.";
    });
    show(places.lastElementChild);

    function show(made) {
      row.classList.toggle("orb-removed", box.checked);
      made.textContent = box.checked ? "Keep" : "Remove";
      made.setAttribute("aria-label", `${made.textContent}: ${row.querySelector("legend").textContent}`);
    }
  }

  function move(row, before, made) {
    if (!row || !before) return;
    rows.insertBefore(row, before);
    number();
    made.focus();
    status.textContent = `The row is now at position ${[...rows.children].indexOf(made.closest(".orb-row")) + 1}.`;
  }

  function number() {
    [...rows.children].forEach((row, at) => {
      row.querySelector('[name$="-place"]').value = at + 1;
    });
  }
}

function isFilled(row) {
  return [...row.querySelectorAll('input[type="text"], textarea')].some((one) => one.value !== one.defaultValue);
}

function watchJSON(list) {
  const box = list.querySelector('[name$="-as-json"]');
  const text = list.querySelector(".orb-raw textarea");
  if (box) text.addEventListener("input", () => { box.checked = text.value !== text.defaultValue; });
}

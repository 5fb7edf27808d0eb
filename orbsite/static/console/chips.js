// Makes chips of the rows of a list of texts, with a box that adds more. The rows keep their inputs, which are what the
// form sends. Without this script, the rows themselves are edited.
"use strict";

(() => {
  const HELP = "Enter or a comma adds what you have typed; paste many, one a line or with commas. With the arrow keys "
    + "you select one: Enter edits it, Alt and an arrow key move it, Backspace removes it.";

  for (const list of document.querySelectorAll("[data-orb-list].orb-texts")) {
    const rows = list.querySelector(".orb-rows");
    if (rows) makeChips(list, rows);
  }

  function makeChips(list, rows) {
    const label = list.dataset.orbLabel;
    const most = Number(list.dataset.orbMost);
    const status = list.querySelector(".orb-status");
    const help = list.querySelector(".help");
    const removed = [];
    let next = rows.children.length;

    for (const row of [...rows.children]) {
      if (row.classList.contains("orb-empty") && fieldOf(row).value === "") row.remove();
      else decorate(row);
    }
    const box = makeBox();
    const undo = makeButton("Undo", "orb-undo", restore);
    undo.hidden = true;
    rows.setAttribute("aria-label", `${label}s`);
    help.textContent = HELP;
    rows.after(box);
    status.after(undo);
    list.classList.add("orb-chips");
    rows.addEventListener("keydown", pressOnChip);
    list.closest("form").addEventListener("submit", () => take(box.value.split(",")));
    number();

    function makeBox() {
      const made = document.createElement("input");
      made.type = "text";
      made.className = "vTextField orb-box";
      made.placeholder = `Add ${label}`;
      made.setAttribute("aria-label", `Add ${label}`);
      made.setAttribute("aria-describedby", help.id);
      made.addEventListener("keydown", pressInBox);
      made.addEventListener("paste", paste);
      made.addEventListener("input", (event) => {
        if (event.isComposing || !made.value.includes(",")) return;
        const parts = made.value.split(",");
        made.value = parts.pop().trimStart();
        add(parts);
      });
      return made;
    }

    function decorate(row) {
      const chip = document.createElement("span");
      chip.className = "orb-chip";
      const text = makeButton("", "orb-chip-text", () => edit(row));
      text.tabIndex = -1;
      const cross = makeButton("×", "orb-chip-cross", () => remove(row));
      cross.tabIndex = -1;
      chip.append(text, cross);
      row.prepend(chip);
      row.querySelector(".orb-item").hidden = true;
      const places = row.querySelector(".orb-places");
      places.append(
        makeButton("Earlier", "button", () => move(row, -1)),
        makeButton("Later", "button", () => move(row, 1)),
        makeButton("Done", "button", () => finish(row)),
      );
      show(row);
      row.addEventListener("focusout", (event) => {
        if (isEdited(row) && event.relatedTarget !== null && !row.contains(event.relatedTarget)) finish(row, false);
      });
      fieldOf(row).addEventListener("keydown", (event) => {
        if (event.isComposing) return;
        if (event.key === "Escape") {
          fieldOf(row).value = row.dataset.orbBefore;
          finish(row);
        } else if (event.key === "Enter" && fieldOf(row).tagName === "INPUT") {
          event.preventDefault();
          finish(row);
        }
      });
    }

    function show(row) {
      const shown = textOf(row);
      const text = chipOf(row);
      text.textContent = shown;
      text.title = fieldOf(row).value;
      row.querySelector(".orb-chip-cross").setAttribute("aria-label", `Remove ${shown}`);
      fieldOf(row).setAttribute("aria-label", `Edit ${label} ${shown}`);
    }

    function live() {
      return [...rows.children].filter((row) => !row.hidden);
    }

    function number() {
      [...rows.children].forEach((row, at) => { row.querySelector('[name$="-place"]').value = at + 1; });
      const shown = live();
      const current = shown.find((row) => chipOf(row).tabIndex === 0) || shown[0];
      for (const row of shown) chipOf(row).tabIndex = row === current ? 0 : -1;
    }

    function select(row) {
      for (const one of live()) chipOf(one).tabIndex = one === row ? 0 : -1;
      chipOf(row).focus();
    }

    function take(texts) {
      const done = add(texts);
      if (done) box.value = "";
      return done;
    }

    // Adds each text that is not there yet, and says so. Returns whether there was room for all.
    function add(texts) {
      const wanted = [...new Set(texts.map((one) => one.trim()).filter((one) => one !== ""))];
      const there = new Set(live().map((row) => fieldOf(row).value));
      const fresh = wanted.filter((one) => !there.has(one));
      const room = Math.max(0, most - rows.children.length);
      fresh.slice(0, room).forEach(append);
      number();
      if (wanted.length === 0) return true;
      tell(told(wanted, fresh, room));
      return fresh.length <= room;
    }

    function told(wanted, fresh, room) {
      if (fresh.length > room) return `${room} of ${fresh.length} were added; edit a list of more than ${most} as JSON.`;
      if (fresh.length === 0) return wanted.length === 1 ? `“${wanted[0]}” is there already.` : "All are there already.";
      const same = wanted.length - fresh.length;
      const rest = same ? ` ${same} ${same === 1 ? "was" : "were"} there already.` : "";
      return `${fresh.length === 1 ? `“${fresh[0]}” was` : `${fresh.length} ${label}s were`} added.${rest}`;
    }

    function append(text) {
      const row = list.querySelector('template[data-orb-form="text"]').content.firstElementChild.cloneNode(true);
      for (const part of row.querySelectorAll("[name], [id], [for]")) {
        for (const name of ["name", "id", "for"]) {
          const value = part.getAttribute(name);
          if (value) part.setAttribute(name, value.replace("-__n__-", `-${next}-`));
        }
      }
      next += 1;
      fieldOf(row).value = text;
      rows.append(row);
      decorate(row);
    }

    // The row stays in the form with its box ticked, so that the removal can be undone and is sent.
    function remove(row) {
      const shown = live();
      const after = shown[shown.indexOf(row) + 1];
      removeBox(row).checked = true;
      row.hidden = true;
      removed.push(row);
      undo.hidden = false;
      number();
      tell(`“${textOf(row)}” was removed.`);
      if (after) select(after);
      else box.focus();
    }

    function restore() {
      const row = removed.pop();
      removeBox(row).checked = false;
      row.hidden = false;
      undo.hidden = removed.length === 0;
      number();
      select(row);
      tell(`“${textOf(row)}” is there again.`);
    }

    function move(row, by) {
      const shown = live();
      const other = shown[shown.indexOf(row) + by];
      if (!other) return;
      const focused = document.activeElement;
      rows.insertBefore(row, by < 0 ? other : other.nextElementSibling);
      number();
      if (isEdited(row)) focused.focus();
      else select(row);
      tell(`“${textOf(row)}” is now ${live().indexOf(row) + 1} of ${shown.length}.`);
    }

    function edit(row) {
      row.dataset.orbBefore = fieldOf(row).value;
      row.querySelector(".orb-chip").hidden = true;
      row.querySelector(".orb-item").hidden = false;
      fieldOf(row).focus();
      fieldOf(row).select();
    }

    function finish(row, isStaying = true) {
      if (!isEdited(row)) return;
      row.querySelector(".orb-item").hidden = true;
      row.querySelector(".orb-chip").hidden = false;
      const isEmptied = fieldOf(row).value === "" && row.dataset.orbBefore !== "";
      if (isEmptied) fieldOf(row).value = row.dataset.orbBefore;
      show(row);
      if (isEmptied) remove(row);
      else if (isStaying) select(row);
    }

    function pressInBox(event) {
      if (event.isComposing) return;
      if (event.key === "Enter") {
        event.preventDefault();
        take(box.value.split(","));
      } else if (["Backspace", "ArrowLeft"].includes(event.key) && box.value === "" && !event.altKey) {
        const last = live().pop();
        if (!last) return;
        event.preventDefault();
        select(last);
        say(`“${textOf(last)}” is selected.`);
      }
    }

    function paste(event) {
      const text = event.clipboardData.getData("text");
      const separator = /[\r\n\t]/.test(text) ? /[\r\n\t]+/ : ",";
      const parts = text.split(separator);
      if (parts.length === 1) return;
      event.preventDefault();
      add(parts);
    }

    function pressOnChip(event) {
      const row = event.target.closest(".orb-row");
      if (!event.target.classList.contains("orb-chip-text")) return;
      const shown = live();
      const at = shown.indexOf(row);
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (by && event.altKey) move(row, by);
      else if (by && !shown[at + by]) { if (by > 0) box.focus(); }
      else if (by) select(shown[at + by]);
      else if (event.key === "Home") select(shown[0]);
      else if (event.key === "End") select(shown[shown.length - 1]);
      else if (["Backspace", "Delete"].includes(event.key)) remove(row);
      else return;
      event.preventDefault();
    }

    // Says what has changed, to people and to other scripts of the page.
    function tell(text) {
      say(text);
      rows.dispatchEvent(new Event("change", { bubbles: true }));
    }

    function say(text) {
      status.textContent = text;
    }
  }

  function makeButton(text, name, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = name;
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  }

  function fieldOf(row) {
    return row.querySelector('[name$="-text"]');
  }

  function chipOf(row) {
    return row.querySelector(".orb-chip-text");
  }

  function removeBox(row) {
    return row.querySelector('[name$="-remove"]');
  }

  function isEdited(row) {
    return !row.querySelector(".orb-item").hidden;
  }

  function textOf(row) {
    return fieldOf(row).value.replace(/\r\n|\r|\n/g, " ⏎ ") || "(empty)";
  }
})();

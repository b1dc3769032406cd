// Comfort on top of pages that work without it: keys, what stays unfolded, copying, no polling unseen.
"use strict";
(() => {
  const editable = (node) => node.closest("input, textarea, select, [contenteditable]");
  const rows = () => [...document.querySelectorAll("[data-rows] tbody tr")].filter((row) => row.querySelector("a"));
  let chosen = -1;

  const choose = (index) => {
    const there = rows();
    if (!there.length) return;
    chosen = Math.max(0, Math.min(index, there.length - 1));
    mark();
    const link = there[chosen].querySelector("a");
    link.focus({ preventScroll: true });
    there[chosen].scrollIntoView({ block: "nearest" });
  };
  const mark = () => rows().forEach((row, index) => row.classList.toggle("chosen", index === chosen));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      document.querySelectorAll(".switch[open]").forEach((one) => one.removeAttribute("open"));
      if (editable(event.target)) event.target.blur();
      return;
    }
    if (editable(event.target)) return;
    const search = document.getElementById("search");
    if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "j" || event.key === "k") {
      choose(chosen + (event.key === "j" ? 1 : -1));
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-submits]")) event.target.form.requestSubmit();
  });

  document.addEventListener("click", (event) => {
    document.querySelectorAll(".switch[open]").forEach((one) => {
      if (!one.contains(event.target)) one.removeAttribute("open");
    });
    const button = event.target.closest("[data-copies]");
    if (!button || !navigator.clipboard) return;
    navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent).then(() => {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  });

  // A page that nobody sees asks for nothing.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });

  // What tells the same thing in a page and in the one that takes its place.
  const nameOf = (node) => {
    if (node.tagName === "SUMMARY") return `summary ${node.parentElement.id}`;
    const name = node.id || node.getAttribute("href") || node.dataset.copies || node.getAttribute("aria-label");
    return name && `${node.tagName} ${name}`;
  };

  // What somebody has unfolded, selected, focused or scrolled to stays so when the live part is replaced.
  let focused = null;
  let unfolded = new Map();
  let scrolled = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (String(document.getSelection()) && event.detail.target.contains(document.getSelection().anchorNode)) {
      event.detail.shouldSwap = false;
      return;
    }
    const active = document.activeElement;
    focused = event.detail.target.contains(active) ? nameOf(active) : null;
    unfolded = new Map([...event.detail.target.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    scrolled = [...event.detail.target.querySelectorAll(".scroll, pre.value")].map((one) => [one.scrollTop, one.scrollLeft]);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const [id, open] of unfolded) {
      const one = document.getElementById(id);
      if (one) one.open = open;
    }
    document.querySelectorAll("#live .scroll, #live pre.value").forEach((one, index) => {
      if (scrolled[index]) [one.scrollTop, one.scrollLeft] = scrolled[index];
    });
    if (focused && !document.querySelector("#live :focus")) {
      const same = [...document.querySelectorAll("#live a, #live summary, #live button, #live [tabindex]")];
      same.find((node) => nameOf(node) === focused)?.focus({ preventScroll: true });
    }
    mark();
  });
})();

// Refreshes the parts of the page that have changed. The server makes every page whole; nothing is put together here, and
// without this script nothing is missing but the refreshing.
"use strict";
(() => {
  const link = document.getElementById("link");
  const button = document.getElementById("live");
  let paused = false;
  let busy = false;
  let again = false;

  const say = (text) => {
    if (link.textContent !== text) link.textContent = text;
  };

  // What is open stays open, and nothing moves below a focus.
  const renew = (here, there) => {
    if (here.innerHTML === there.innerHTML || here.contains(document.activeElement)) return;
    const open = new Set([...here.querySelectorAll("details[open]")].map((details) => details.id));
    here.replaceChildren(...[...there.childNodes].map((node) => document.importNode(node, true)));
    for (const details of here.querySelectorAll("details")) details.open = open.has(details.id);
  };

  const refresh = async () => {
    if (paused) return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const there of page.querySelectorAll("[data-live]")) {
        const here = document.getElementById(there.id);
        if (here) renew(here, there);
      }
    } catch {
      say("not reached");
    } finally {
      busy = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  };

  const source = new EventSource("/events");
  source.onopen = () => {
    if (!paused) say("live");
    // Something may have happened since the page was made.
    refresh();
  };
  source.onmessage = refresh;
  source.onerror = () => say("not reached; trying again");

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    say(paused ? "paused" : "live");
    refresh();
  });
  // Times pass even where nothing happens.
  setInterval(refresh, 30000);
})();

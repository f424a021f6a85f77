// What makes the shop nicer where scripts run. Every page works without.
(() => {
  "use strict";
  const one = (selector, from = document) => from.querySelector(selector);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // Pictures fade in over their placeholders.
  const reveal = (image) => image.classList.add("is-loaded");
  for (const image of document.querySelectorAll(".photo picture img")) {
    if (image.complete && image.naturalWidth > 0) reveal(image);
    else image.addEventListener("load", () => reveal(image), { once: true });
  }

  // Who is here, and how much is in the cart: pages are the same for everybody, this is not.
  const showMe = (me, isChange) => {
    const name = one('[data-me="name"]');
    const badge = one('[data-me="cart"]');
    if (me.user) {
      name.textContent = me.user.name;
      name.href = "/account";
    } else {
      name.textContent = "Log in";
      name.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    }
    const before = badge.textContent;
    badge.textContent = me.cart_count;
    badge.hidden = !me.cart_count;
    if (isChange && before !== String(me.cart_count)) badge.classList.add("is-new");
  };
  const remembered = (() => {
    try { return JSON.parse(sessionStorage.getItem("me")); } catch { return null; }
  })();
  if (remembered) showMe(remembered, false);
  fetch("/api/me", { headers: { accept: "application/json" }, signal: AbortSignal.timeout(8000) })
    .then((response) => (response.ok ? response.json() : Promise.reject(new Error(response.status))))
    .then((me) => {
      showMe(me, Boolean(remembered));
      try { sessionStorage.setItem("me", JSON.stringify(me)); } catch { /* Private windows may refuse. */ }
    })
    .catch(() => { /* Nobody needs the badge to buy. */ });

  // Zoom: the link to the largest picture opens it here.
  const link = one("[data-zoom]");
  if (link && typeof HTMLDialogElement === "function") {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const image = make("img", { src: link.href, alt: one("img[alt]:not([alt=''])", link)?.alt ?? "" });
      const dialog = make("dialog", { class: "zoom", "aria-label": "The print in full size" }, image);
      document.body.append(dialog);
      dialog.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => dialog.remove());
      dialog.showModal();
      // Begin at the point that was clicked.
      const box = link.firstElementChild.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width;
      const y = (event.clientY - box.top) / box.height;
      image.addEventListener("load", () => {
        dialog.scrollTo((dialog.scrollWidth - dialog.clientWidth) * x, (dialog.scrollHeight - dialog.clientHeight) * y);
      }, { once: true });
    });
  }

  // The anatomy strip: how this very page came, from its own Server-Timing.
  const strip = one("#anatomy");
  const milliseconds = (value) => (value < 1 ? "<1" : value < 10 ? value.toFixed(1) : Math.round(value)) + " ms";

  // "postgres-3 replica 4ms" reads "postgres-3 (replica, 4 ms behind)".
  const inWords = ({ name, description }) => {
    if (name === "cache") return `cache ${description}`;
    if (name === "call") return description.split(", ").reverse().join(" by way of ");
    const [, host, role, lag] = /^(\S+) (primary|replica)(?: (\d+)ms)?$/.exec(description) ?? [];
    if (!host) return description || name;
    if (role === "primary") return `${host} (primary)`;
    return Number(lag) > 0 ? `${host} (replica, ${lag} ms behind)` : `${host} (replica)`;
  };

  // Processes lie within each other, outermost first; each one's own share is what the next inner one leaves. What
  // the innermost waited for (databases, the cache, other services) lies side by side, and so do tries that failed.
  const hopsOf = (timings) => {
    const kinds = { trace: "id", db: "wait", cache: "wait", sessions: "wait", call: "wait", failover: "failure" };
    const kind = ({ name }) => kinds[name] ?? "process";
    const of = (wanted) => timings.filter((entry) => kind(entry) === wanted);
    const sum = (entries) => entries.reduce((total, { duration }) => total + duration, 0);
    const [processes, waits, failures] = [of("process"), of("wait"), of("failure")];
    const hops = processes.map((entry, index) => {
      const inner = index + 1 < processes.length ? processes[index + 1].duration : sum(waits);
      return { words: inWords(entry), own: Math.max(0, entry.duration - inner - (index === 0 ? sum(failures) : 0)) };
    });
    const tries = failures.map(({ description, duration }) => ({
      words: `${description.split(" ")[0]} did not answer`, own: duration, failed: true,
    }));
    hops.splice(1, 0, ...tries);
    const together = new Map();
    for (const entry of waits) {
      const words = inWords(entry);
      const hop = together.get(words) ?? { words, own: 0, times: 0 };
      hop.own += entry.duration;
      hop.times += 1;
      together.set(words, hop);
    }
    return [...hops, ...together.values()];
  };

  const bar = (share) => {
    const element = make("span", { class: "bar", "aria-hidden": "true" });
    element.style.width = `${Math.max(1, Math.round(share * 64))}px`;
    return element;
  };

  const row = (heading, ...cells) => make("tr", {}, make("th", { scope: "row" }, heading), ...cells.map((cell) => make("td", {}, cell)));

  const pictureRows = () => performance.getEntriesByType("resource")
    .filter(({ name }) => /\/photos\//.test(name))
    .map((entry) => {
      const { pathname, origin } = new URL(entry.name);
      const edge = entry.serverTiming.find(({ name }) => name === "edge")?.description;
      const hit = entry.serverTiming.find(({ name }) => name === "cache")?.description;
      const age = entry.serverTiming.find(({ name }) => name === "age")?.description;
      const way = origin === location.origin ? "from the shop itself" : edge ?? "the edge did not say";
      const kept = entry.transferSize === 0 && entry.duration < 5 ? "kept by the browser" : [hit, hit === "hit" && age && `${age} s old`].filter(Boolean).join(", ");
      return row(pathname.replace("/photos/", "picture "), way, kept, milliseconds(entry.duration));
    });

  const showAnatomy = () => {
    const page = performance.getEntriesByType("navigation")[0];
    if (!strip || !page?.serverTiming?.length) return;
    const hops = hopsOf(page.serverTiming);
    const total = hops.reduce((sum, { own }) => sum + own, 0) || 1;
    one("summary", strip).replaceChildren(
      ...hops.map(({ words, own, times, failed }) =>
        make("span", { class: failed ? "hop is-failed" : "hop", title: milliseconds(own) }, times > 1 ? `${words} ×${times}` : words, bar(own / total))),
      make("span", { class: "total number" }, milliseconds(total)),
    );
    strip.hidden = false;
    strip.addEventListener("toggle", () => {
      if (!strip.open) return;
      const timing = (name) => page.serverTiming.find((entry) => entry.name === name)?.description;
      const failedOver = document.querySelectorAll("[data-failed-over]").length;
      const table = make("table", { class: "number" });
      if (timing("trace")) {
        const trace = row("Trace", timing("trace"));
        trace.lastChild.colSpan = 3;
        table.append(trace);
      }
      for (const { words, own } of hops) table.append(row(words, milliseconds(own)));
      table.append(...pictureRows());
      one(".anatomy-more", strip).replaceChildren(table, make("p", {}, failedOver
        ? `${failedOver} of this page's files came from the shop itself, because the edge did not answer.`
        : "Reload, and another instance may answer. Everything on this line is a process that may be killed while you shop."));
    });
  };
  if (document.readyState === "complete") showAnatomy();
  else addEventListener("load", showAnatomy);
})();

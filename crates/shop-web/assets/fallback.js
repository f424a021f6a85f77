// Served by the shop itself and not by the edge, and run before anything else is asked for: what the edge fails to deliver is
// fetched from the shop. Without this script a page still works, as long as the edge does.
(() => {
  "use strict";
  const origin = location.origin;
  document.documentElement.classList.add("js");

  const toOrigin = (address) => {
    const url = new URL(address, location.href);
    return url.origin === origin ? address : origin + url.pathname + url.search;
  };
  const allToOrigin = (srcset) =>
    srcset.split(",").map((entry) => entry.trim().replace(/^\S+/, toOrigin)).join(", ");

  const again = (element) => {
    if (element.dataset.failedOver) return;
    element.dataset.failedOver = "yes";
    if (element.tagName === "IMG") {
      const sources = element.closest("picture")?.querySelectorAll("source") ?? [];
      for (const source of sources) source.srcset = allToOrigin(source.srcset);
      if (element.srcset) element.srcset = allToOrigin(element.srcset);
      element.src = toOrigin(element.src);
    } else if (element.tagName === "LINK") {
      element.href = toOrigin(element.href);
    } else if (element.tagName === "SCRIPT") {
      // A script element runs once; the same one with another address would do nothing.
      const copy = document.createElement("script");
      copy.src = toOrigin(element.src);
      copy.dataset.failedOver = "yes";
      element.replaceWith(copy);
    }
  };

  const isFromElsewhere = (element) => {
    const address = element.currentSrc || element.src || element.href;
    return Boolean(address) && /^https?:/.test(address) && new URL(address).origin !== origin;
  };

  document.addEventListener("error", (event) => {
    if (event.target instanceof Element && isFromElsewhere(event.target)) again(event.target);
  }, true);

  // Fonts are asked for by the style, whose failures no element hears of.
  // The families that stand in meanwhile are the machine's own, and may be missing.
  document.fonts?.addEventListener("loadingerror", ({ fontfaces }) => {
    if (!fontfaces.some(({ family }) => family.includes("Shop"))) return;
    const style = document.querySelector('link[rel="stylesheet"]');
    if (style && isFromElsewhere(style)) again(style);
  });
})();

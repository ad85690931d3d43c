"use strict";

// Shows the view that the address names, so that links and the browser's back button work.

function route() {
  const number = /^#photo-(\d+)$/.exec(location.hash)?.[1];
  document.querySelector("dialog")?.close();
  if (number !== undefined && run.photos[number]?.has_results) {
    if (!viewer && document.getElementById("cards")) state.scroll = scrollY;
    photoView(Number(number));
  } else {
    viewer?.dispose();
    viewer = null;
    overview();
    scrollTo(0, state.scroll);
  }
}

addEventListener("hashchange", route);
route();

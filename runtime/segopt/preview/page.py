"""The page, in one piece: nothing is loaded from elsewhere."""

from __future__ import annotations

import secrets

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>segopt</title>
<meta name="viewport" content="width=device-width">
<style nonce="NONCE">
body{margin:0;background:#15161a;color:#e8e8ea;font:14px/1.45 system-ui,sans-serif;display:flex;flex-wrap:wrap}
main{flex:1 1 640px;min-width:0}
#live{display:block;width:100%;max-height:100vh;object-fit:contain}
aside{flex:0 0 240px;padding:12px 16px;box-sizing:border-box}
h2{font-size:14px;margin:0 0 4px;overflow-wrap:anywhere}
section{margin-bottom:16px}
.fps{font-size:24px}
table{width:100%;border-collapse:collapse}
td{padding:1px 0}td:last-child{text-align:right}
i{display:inline-block;width:10px;height:10px;margin-right:6px;border-radius:2px}
.quiet{color:#9a9aa2}
</style></head><body>
<main><img id="live" alt="what the model sees"></main>
<aside><div id="tiles" class="quiet">waiting for the first frame</div></aside>
<script nonce="NONCE">
"use strict";
const query = location.search;
function put(parent, tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  parent.appendChild(made);
  return made;
}
function row(table, name, value, color) {
  const line = put(table, "tr"), cell = put(line, "td");
  if (color) put(cell, "i").style.background = color;
  cell.appendChild(document.createTextNode(name));
  put(line, "td", value);
}
function show(figures) {
  const all = document.createDocumentFragment();
  for (const tile of figures.tiles) {
    const part = put(all, "section");
    put(part, "h2", tile.name);
    put(part, "div", tile.ended || tile.fps.toFixed(1) + " fps", tile.ended ? "quiet" : "fps");
    const stages = put(part, "table", undefined, "quiet");
    for (const name in tile.stages) row(stages, name, tile.stages[name].toFixed(1) + " ms");
    const classes = put(part, "table");
    for (const one of tile.classes) row(classes, one.name, one.count === null ? "" : one.count, one.color);
  }
  const tiles = document.getElementById("tiles");
  tiles.className = "";
  tiles.replaceChildren(all);
}
// A picture without an end would keep the page loading for ever, so it begins after that.
addEventListener("load", () => setTimeout(() => {
  document.getElementById("live").src = "/stream.mjpg" + query;
  const events = new EventSource("/events" + query);
  events.onmessage = event => show(JSON.parse(event.data));
  events.addEventListener("end", () => {
    events.close();
    put(document.getElementById("tiles"), "p", "the run has ended", "quiet");
  });
}));
</script></body></html>
"""


def page() -> tuple[bytes, str]:
    """The page, and the Content-Security-Policy that it is served under."""
    nonce = secrets.token_urlsafe(12)
    policy = (
        f"default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'nonce-{nonce}'; "
        f"script-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return _PAGE.replace("NONCE", nonce).encode(), policy

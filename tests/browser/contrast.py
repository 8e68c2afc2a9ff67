"""The contrast of a page's texts with their background, by WCAG's formula."""

from __future__ import annotations

from typing import Any

ENOUGH = 4.5
"""WCAG 2, level AA, for text of any size."""

_MEASURE = """enough => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255];
  };
  const poor = {};
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    const text = texts.map((node) => node.textContent).join("").trim();
    if (!text || !element.checkVisibility()) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < enough) poor[`${element.className || element.tagName}: ${text}`] = ratio;
  }
  return poor;
}"""


def hard_to_read(page: Any) -> dict[str, float]:
    """The visible texts with a contrast below ENOUGH, and their contrast."""
    found: dict[str, float] = page.evaluate(_MEASURE, ENOUGH)
    return found

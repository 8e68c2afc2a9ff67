"""A scrape of a panel, as a dictionary."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from actors import Panel
from actors.adapters.metrics import exposition


async def scrape(panel: Panel) -> dict[tuple[str, ...], float]:
    text = exposition((await panel.snapshots()).values()).decode()
    return {
        (
            sample.name,
            *(value for key, value in sorted(sample.labels.items()) if key != "service"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

"""The registry by itself."""

from service.metrics import Metrics


def test_presence_patterns_are_bounded() -> None:
    """Models of few modalities are counted by pattern, those of many by number, so that labels stay few."""
    metrics = Metrics()

    metrics.count_item(("image", "text"), ())
    metrics.count_item((), ("image", "text"))
    metrics.count_item(tuple("abc"), tuple("defgh"))

    values = {
        sample.labels["present"]
        for family in metrics.registry.collect()
        if family.name == "i3rec_items_posted"
        for sample in family.samples
    }
    assert values == {"image+text", "none", "3 of 8"}


def test_registries_are_separate() -> None:
    """Two apps in one process do not share metrics."""
    first, second = Metrics(), Metrics()

    first.recommendations.labels("popular").inc()

    assert second.registry.get_sample_value("i3rec_recommendations_total", {"strategy": "popular"}) == 0

"""What is read out of expressions."""

import pytest

from tools.deploy_queries import families, filled, names_in, selectors_in


@pytest.mark.parametrize(
    ("expr", "selectors"),
    [
        ('up{job="i3rec"} == 1 unless on (instance) i3rec_model_info', ['up{job="i3rec"}', "i3rec_model_info"]),
        (
            'sum(rate(i3rec_x_total{route=~"/a/{id}",status="503"}[5m]))',
            ['i3rec_x_total{route=~"/a/{id}",status="503"}'],
        ),
        ("i3rec:a:ratio1h < 0.1 and i3rec:a:ratio1h > 0", ["i3rec:a:ratio1h"]),
        ("vector(0)", []),
    ],
)
def test_selectors_are_found_whole(expr: str, selectors: list[str]) -> None:
    """Each selection once, with its matchers, also where these hold braces."""
    assert selectors_in(expr) == selectors


def test_names_are_ours_alone() -> None:
    """Metrics and recorded names are found in any text; those of others are not."""
    text = "see `i3rec_x_total`, i3rec:a_b:rate5m and process_start_time_seconds"

    assert names_in(text) == {"i3rec_x_total", "i3rec:a_b:rate5m"}


def test_families_are_named_as_in_the_registry() -> None:
    """Counters and histograms lose the suffixes of their samples."""
    assert families({"i3rec_x_total", "i3rec_y_seconds_bucket", "i3rec_z"}) == {"i3rec_x", "i3rec_y_seconds", "i3rec_z"}


def test_variables_are_filled_in() -> None:
    """No variable of Grafana's is left."""
    assert filled('rate(x{instance=~"$instance"}[$__rate_interval])') == 'rate(x{instance=~".*"}[30s])'

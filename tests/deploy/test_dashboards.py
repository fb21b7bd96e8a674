"""Dashboards and their provisioning: shaped as Grafana reads them, asking for what exists."""

from typing import Any

import pytest
import yaml

from tools.deploy_queries import GRAFANA, dashboards, families, names_in, panel_queries, panels, rules, selectors_in

DASHBOARDS = dashboards()
KINDS = {"timeseries", "stat", "table", "bargauge", "heatmap", "state-timeline"}
each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def boxes(dashboard: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    """Where the panels are: x, y, width, height."""
    grids = [panel["gridPos"] for panel in dashboard["panels"]]
    return [(grid["x"], grid["y"], grid["w"], grid["h"]) for grid in grids]


@each_dashboard
def test_dashboards_have_an_identity(name: str) -> None:
    """A title, a uid that stays what it is and is nobody else's, and unique ids of panels."""
    dashboard = DASHBOARDS[name]
    uids = [each["uid"] for each in DASHBOARDS.values()]
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert dashboard["uid"] == f"i3rec-{name.removesuffix('.json')}"
    assert dashboard["title"].startswith("I3Rec: ")
    assert len(set(uids)) == len(uids)
    assert len(set(ids)) == len(ids)


@each_dashboard
def test_dashboards_leave_the_data_source_to_whoever_looks(name: str) -> None:
    """The data source is a variable, used by every panel, target and annotation; instances can be chosen."""
    dashboard = DASHBOARDS[name]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    shown = list(panels(dashboard))
    asking = [*shown, *(target for panel in shown for target in panel["targets"]), *dashboard["annotations"]["list"]]

    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["instance"]["allValue"] == ".*"
    assert all(each["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for each in asking)


@each_dashboard
def test_panels_are_whole(name: str) -> None:
    """Every panel has a known kind, a title, a sentence for the reader, a unit and targets with expressions."""
    for panel in panels(DASHBOARDS[name]):
        assert panel["type"] in KINDS, panel["title"]
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert all(target["expr"].strip() for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@each_dashboard
def test_panels_do_not_overlap(name: str) -> None:
    """Panels lie within the 24 columns, beside and below each other."""
    placed = boxes(DASHBOARDS[name])

    assert all(x + w <= 24 for x, _, w, _ in placed)
    for n, (x, y, w, h) in enumerate(placed):
        for other_x, other_y, other_w, other_h in placed[n + 1 :]:
            apart = x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y
            assert apart


def test_dashboards_ask_for_what_exists(measured: set[str]) -> None:
    """Every metric of every panel is measured by the service, or recorded by a rule."""
    recorded = {rule.name for rule in rules() if not rule.alert}
    names = set().union(*(names_in(query.expr) for query in panel_queries()))

    assert families(names - recorded) <= measured


def test_counters_are_shown_as_rates() -> None:
    """No counter is shown as it is: it starts anew with its process."""
    for query in panel_queries():
        for selector in selectors_in(query.expr):
            counter = selector.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))
            assert not counter or f"{selector}[" in query.expr, query


def test_provisioning_leads_to_the_dashboards() -> None:
    """The data source is the Prometheus of the compose file; the provider reads files and lets nobody edit them."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/i3rec.yml").read_text("utf-8"))["providers"]

    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"

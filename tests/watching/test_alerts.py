"""The rules and the board: what they ask for is there, and Prometheus' own checker takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.observability import metrics
from tests.watching import promtool, tables

BOARD = json.loads((tables.ROOT / "deploy" / "grafana" / "ponte.json").read_text())
CASES = tables.RULES.with_name("alerts.test.yml")
STATED = ("low", "info", "warning", "critical")


@pytest.fixture
def checker() -> None:
    if why := promtool.missing():
        pytest.skip(why)


def expressions() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def known_sample_names() -> set[str]:
    """Every name under which a sample can be asked for."""
    names = {"up", "process_max_fds"}
    for family in metrics.registry.collect():
        endings = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "info": ("_info",),
        }.get(family.type, ("",))
        names |= {family.name + ending for ending in endings}
    return names


@pytest.mark.parametrize(
    "expression", [*(alert.expression for alert in tables.alerts()), *expressions()]
)
def test_what_is_asked_for_is_told(expression: str) -> None:
    values = set(re.findall(r"\b(?:ponte|process|python)_\w+|\bup\b", expression))
    assert values
    assert values <= known_sample_names()
    labels = set(re.findall(r'(\w+)=~?"|(\w+)!="', expression))
    grouped = re.findall(r"by \(([\w, ]+)\)", expression)
    texts = {label for pair in labels for label in pair if label}
    texts |= {label for group in grouped for label in group.split(", ")}
    own = {one for each in vars(metrics).values() for one in getattr(each, "_labelnames", ())}
    assert texts <= own | {"job", "instance", "le"}


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    alerts = tables.alerts()
    assert len({alert.name for alert in alerts}) == len(alerts) > 15
    for alert in alerts:
        assert alert.severity in STATED, alert.name
        assert len(alert.description) > 100, alert.name
        assert alert.summary, alert.name


def test_each_alert_is_tried() -> None:
    matches = re.findall(r'\{alertname="(\w+)"\}', CASES.read_text())
    assert sorted(matches) == sorted(alert.name for alert in tables.alerts())


def test_the_dashboard_has_distinct_panels_on_its_grid() -> None:
    panels: list[dict[str, Any]] = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in panels]
    assert len(set(places)) == len(places)
    assert all(x + width <= 24 for x, _, width, _ in places)
    (source,) = BOARD["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")


@pytest.mark.slow
@pytest.mark.usefixtures("checker")
def test_prometheus_takes_the_rules() -> None:
    answer = promtool.ask("check", "rules", str(tables.RULES))
    assert f"{len(tables.alerts())} rules found" in answer


@pytest.mark.slow
@pytest.mark.usefixtures("checker")
def test_each_alert_fires_when_it_should_and_none_while_all_is_well() -> None:
    assert "SUCCESS" in promtool.ask("test", "rules", str(CASES))


@pytest.mark.slow
@pytest.mark.usefixtures("checker")
def test_prometheus_takes_the_board_s_questions(tmp_path: Path) -> None:
    rules = [
        {"record": f"board:{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(expressions())
    ]
    file = tmp_path / "board.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool.ask("check", "rules", str(file))


@pytest.mark.slow
@pytest.mark.usefixtures("checker")
def test_prometheus_takes_the_exposition() -> None:
    metrics.count_turn("web", "done", 1.0)
    metrics.set_build_info("0", "sqlite")
    view = metrics.render_metrics()
    assert "_created" not in view
    promtool.ask("check", "metrics", given=view)

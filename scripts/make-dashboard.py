#!/usr/bin/env python3
"""Prints the Grafana dashboard that deploy/grafana/dashboard.toml describes, as the JSON that Grafana wants.

    scripts/make-dashboard.py > deploy/grafana/dashboards/fraud.json

A test sees to it that the file is what this prints, and that every query finds its metrics in a live service.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

DESCRIPTION: Final = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboard.toml"

WIDTH: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
INSTANCES: Final = 'instance=~"$instance"'

Panel = Mapping[str, Any]


def expression(text: str) -> str:
    """Return an expression for the instances that are looked at."""
    return text.replace("$i}", f"{INSTANCES}}}").replace("$i,", f"{INSTANCES},")


def targets(panel: Panel) -> list[dict[str, Any]]:
    """Return the queries of a panel."""
    now = panel.get("now", False)
    return [
        {
            "refId": chr(ord("A") + at),
            "datasource": DATASOURCE,
            "expr": expression(text),
            "legendFormat": legend or "__auto",
            "range": not now,
            "instant": now,
            "format": "heatmap" if panel.get("kind") == "heatmap" else "time_series",
        }
        for at, (legend, text) in enumerate(panel["queries"].items())
    ]


def field_defaults(panel: Panel) -> dict[str, Any]:
    """Return the unit, the limits, and how lines look."""
    kind, unit, limits, stack = panel["kind"], panel.get("unit", "short"), panel.get("limits", []), panel.get("stack")
    steps = [{"color": colour, "value": value if at else None} for at, (value, colour) in enumerate(limits)]
    defaults: dict[str, Any] = {
        "unit": unit,
        "thresholds": {"mode": "absolute", "steps": steps or [{"color": "blue", "value": None}]},
        "color": {"mode": "thresholds" if kind == "stat" else "palette-classic"},
    }
    if kind == "stat":
        defaults["decimals"] = 2 if unit == "percentunit" else 0
    else:
        defaults["min"] = 0
    if "largest" in panel:
        defaults["max"] = panel["largest"]
    if kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if stack else 5,
            "showPoints": "never",
            "spanNulls": True,
            "stacking": {"mode": stack or "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if limits else "off"},
        }
    return defaults


def options(panel: Panel) -> dict[str, Any]:
    """Return what else a kind of panel wants to be told."""
    match panel["kind"]:
        case "stat":
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value",
                "graphMode": "none",
                "textMode": "auto" if "" in panel["queries"] else "value_and_name",
            }
        case "heatmap":
            return {
                "calculate": False,
                "yAxis": {"unit": panel.get("unit", "short")},
                "cellGap": 0,
                "color": {"mode": "scheme", "scheme": "Blues", "steps": 64},
                "tooltip": {"mode": "single", "yHistogram": True},
                "legend": {"show": False},
            }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def placed(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows and panels, from left to right and from top to bottom."""
    found: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row["title"],
                "gridPos": place,
                "collapsed": False,
                "panels": [],
            }
        )
        x, y, height = 0, y + 1, 0
        for described in row["panel"]:
            panel = {"kind": "timeseries", "width": 8, "height": 8, **described}
            if x + panel["width"] > WIDTH:
                x, y, height = 0, y + height, 0
            found.append(
                {
                    "id": len(found) + 1,
                    "type": panel["kind"],
                    "title": panel["title"],
                    "description": panel["text"],
                    "datasource": DATASOURCE,
                    "gridPos": {"x": x, "y": y, "w": panel["width"], "h": panel["height"]},
                    "targets": targets(panel),
                    "fieldConfig": {"defaults": field_defaults(panel), "overrides": []},
                    "options": options(panel),
                }
            )
            x, height = x + panel["width"], max(height, panel["height"])
        y += height
    return found


def variables() -> list[dict[str, Any]]:
    """Return what a reader may choose: the source of the data, and the instances."""
    instances = "label_values(fraud_workers, instance)"
    chosen = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}},
        {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": DATASOURCE,
            "definition": instances,
            "query": {"query": instances, "refId": "instances"},
            "refresh": 2,
            "sort": 1,
            **chosen,
        },
    ]


def marks() -> list[dict[str, Any]]:
    """Return what is marked in every graph: lineups that went live, and alerts."""
    shared = {"datasource": DATASOURCE, "enable": True}
    return [
        {
            "name": "Lineup changed",
            "iconColor": "purple",
            "expr": "changes(max(fraud_lineup_revision)[1m:15s]) > 0",
            "titleFormat": "another lineup went live",
            "step": "15s",
            **shared,
        },
        {
            "name": "Alerts",
            "iconColor": "red",
            "expr": 'ALERTS{alertname=~"Fraud.*", alertstate="firing"}',
            "titleFormat": "{{alertname}}",
            "textFormat": "{{severity}} {{instance}}",
            "step": "60s",
            **shared,
        },
    ]


def dashboard(description: Path = DESCRIPTION) -> dict[str, Any]:
    """Return the whole dashboard."""
    return {
        "uid": "fraud-scoring",
        "title": "Fraud scoring",
        "description": "The service as it runs: what it promises, what it decides, and what it stands on.",
        "tags": ["fraud"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": marks()},
        "panels": placed(tomllib.loads(description.read_text(encoding="utf-8"))["row"]),
        "links": [],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2) + "\n")

"""Counts, health and metrics, read while an application runs."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from headwater import Application, Sum
from headwater.errors import InvalidOperation


def application(tmp_path: Any, **options: Any) -> Application:
    return Application(name="watched", directory=tmp_path, loglevel=None, **options)


def fill(app: Application, rows: list[Any]) -> None:
    with app.get_producer() as producer:
        for n, row in enumerate(rows):
            producer.produce("in", row, key="k", timestamp=1_000 + n * 500)


def ask(address: str, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_every_row_is_accounted_for(tmp_path):
    app = application(tmp_path, on_error="dead-letter")
    fill(app, [{"x": 1}, {"x": "two"}, {"x": -1}, {"x": 3}, {"x": 4}])
    sdf = app.dataframe("in")
    sdf = sdf[sdf["x"] != -1]
    sdf.tumbling_window(1_000).agg(total=Sum("x")).final().to_topic("sums")
    sdf.apply(lambda row: [row, row], expand=True)
    app.run(timeout=0.2)
    found = app.metrics()
    for operator in found["operators"]:
        gained = operator["rows_in"] + operator["expanded"] + operator["emitted"]
        lost = sum(operator[name] for name in ("filtered", "absorbed", "late", "failed"))
        assert gained == operator["rows_out"] + lost, operator
    by_name = {operator["operator"].split()[0]: operator for operator in found["operators"]}
    assert by_name["filter"]["filtered"] == 1
    assert by_name["expand"]["expanded"] == by_name["expand"]["rows_in"]
    assert by_name["tumbling"]["failed"] == 1
    [partition] = found["partitions"]
    assert (partition["topic"], partition["records_in"], partition["dead_lettered"]) == ("in", 5, 1)
    assert found["phase"] == "stopped"
    # The next run counts on.
    fill(app, [{"x": 5}])
    app.run(timeout=0.2)
    assert app.metrics()["partitions"][0]["records_in"] == 6
    assert app.last_run is not None
    assert app.last_run.records_in == 1


@pytest.fixture
def seen(tmp_path) -> dict[str, Any]:
    """What a job's port answers from within the job."""
    app = application(tmp_path, metrics_port=0, commit_every=1, workers=1, commit_interval=3600)
    fill(app, [{"x": n} for n in range(3)])
    seen: dict[str, Any] = {}

    def look(row: dict[str, int]) -> dict[str, int]:
        if row["x"] == 100:
            seen["metrics"] = app.metrics()
            address = seen["metrics"]["address"]
            seen["address"] = address
            for path in ("/livez", "/readyz", "/metrics"):
                seen[path] = ask(address, path)
            accept = "application/openmetrics-text; version=1.0.0"
            seen["openmetrics"] = ask(address, "/metrics", Accept=accept)
        return row

    app.dataframe("in").apply(look).to_topic("out")
    app.run(timeout=0.2)
    fill(app, [{"x": 100}])
    app.run(timeout=0.2)
    return seen


def test_health_and_metrics_are_answered_on_a_port(seen):
    assert seen["/livez"] == (200, "running\n")
    assert seen["/readyz"] == (200, "running\n")
    status, text = seen["/metrics"]
    assert status == 200
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("headwater_")
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert sample.labels["application"] == "watched"
            key = (
                sample.name,
                *(v for k, v in sorted(sample.labels.items()) if k != "application"),
            )
            assert key not in samples
            samples[key] = sample.value
    assert samples["headwater_records_total", "0", "in"] == 3
    assert samples["headwater_lag_records", "0", "in"] == 1
    assert samples["headwater_phase", "running"] == 1
    assert samples["headwater_operator_rows_in_total", "0", "read in"] == 3
    status, text = seen["openmetrics"]
    assert status == 200
    names = {family.name for family in openmetrics.text_string_to_metric_families(text)}
    assert {"headwater_records", "headwater_checkpoint_duration_seconds"} <= names
    # The port is closed with the run.
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://{seen['address']}/livez", timeout=5)


def test_metrics_are_read_from_within_a_job(seen):
    found = seen["metrics"]
    assert found["phase"] == "running"
    [partition] = found["partitions"]
    assert (partition["is_assigned"], partition["records_in"], partition["lag"]) == (True, 3, 1)
    assert (partition["offset"], partition["watermark"]) == (3, 2_000)
    assert found["checkpoints"]["count"] > 0


def test_the_port_comes_from_the_environment(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("HEADWATER_METRICS_PORT", "0")
    app = application(tmp_path)
    assert app.config.metrics_port == 0
    fill(app, [{"x": 1}])
    app.dataframe("in")
    with caplog.at_level(logging.INFO, logger="headwater"):
        app.run(timeout=0.1)
    assert "/livez, /readyz and /metrics are at http://127.0.0.1:" in caplog.text
    monkeypatch.setenv("HEADWATER_METRICS_PORT", "http")
    with pytest.raises(InvalidOperation, match="HEADWATER_METRICS_PORT"):
        application(tmp_path)


@pytest.mark.parametrize(
    ("port", "error"), [(True, TypeError), ("80", TypeError), (65_536, ValueError)]
)
def test_a_port_that_is_none_is_refused(tmp_path, port, error):
    with pytest.raises(error, match="metrics_port"):
        application(tmp_path, metrics_port=port)

"""What the examples in docstrings find ready."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.app import Application


@pytest.fixture(autouse=True)
def _examples(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each docstring an application and a frame of its own."""
    if type(request.node).__name__ != "DoctestItem":
        return
    monkeypatch.chdir(tmp_path)
    app = Application(name="docs", directory=tmp_path / "log", loglevel=None)
    namespace: dict[str, Any] = request.getfixturevalue("doctest_namespace")
    namespace.clear()
    namespace.update(vars(hw))
    namespace.update(app=app, sdf=app.dataframe("telemetry"), tmp_path=tmp_path)
    for source in ("sinks", "sources", "models", "errors"):
        module = __import__(f"headwater.{source}", fromlist=["__all__"])
        namespace.update({name: getattr(module, name) for name in module.__all__})
    logging.getLogger("headwater").setLevel(logging.WARNING)

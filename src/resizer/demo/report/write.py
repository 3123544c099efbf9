"""Writes the report: the pictures beside one HTML file. Called off the event loop; ImportError without matplotlib."""

import os
from pathlib import Path

from resizer.demo.report import figures
from resizer.demo.report.page import render_page
from resizer.demo.workload.findings import Findings
from resizer.demo.workload.outcome import MysqlResult


def write_report(folder: Path, result: MysqlResult, findings: Findings) -> Path:
    """Write everything into `folder`, which is made; return the path of the page. OSError when that fails."""
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 9
    folder.mkdir(parents=True, exist_ok=True)
    shown = findings.shown
    run, curves = findings.runs[shown], findings.curves[shown]
    pictures = {
        "The filesystem and the data": figures.draw_size(curves, run, folder / "size.png"),
        "Queries and latency": figures.draw_queries(curves, run, folder / "queries.png"),
    }
    if run.growths:
        pictures["The stages of each growth"] = figures.draw_stages(run, folder / "stages.png")
    if findings.compared:
        heading = "Too small: left alone, and grown in time"
        pictures[heading] = figures.draw_comparison(findings.compared, folder / "comparison.png")
    page = folder / "index.html"
    unfinished = folder / ".index.html.part"
    unfinished.write_text(render_page(result, shown=shown, pictures=pictures), encoding="utf-8")
    os.replace(unfinished, page)  # noqa: PTH105 -- whole or not at all
    return page.resolve()

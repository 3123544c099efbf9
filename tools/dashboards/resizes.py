"""The dashboard *Resizes*: what users feel. Is it one claim, one driver, or all; and what is being done about it."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard as builder
from tools.dashboards.parts import (
    DRIVER,
    LEGEND,
    driver_choice,
    durations,
    lines,
    new_dashboard,
    number,
    rate,
    row,
    rows,
)

UID: Final = "resizer-resizes"
CLAIM_LINK: Final = (
    "/d/resizer-claim?${datasource:queryparam}"
    "&var-namespace=${__data.fields.Namespace}&var-claim=${__data.fields.Claim}"
)
EXCUSED: Final = "infeasible|quota|rate-limited|offline-required|unsupported-cluster"
STUCK: Final = (
    "topk(20, max by (namespace, persistentvolumeclaim, driver, phase, class) "
    f"(time() - resizer_claim_pending_since_timestamp_seconds{{{DRIVER}}}))"
)
GOOD: Final = (
    "sum(increase(resizer_resize_duration_seconds_bucket"
    f'{{{DRIVER}, phase="controller-resize", le="120.0"}}[$__range]))'
)
BAD: Final = (
    f'sum(increase(resizer_resizes_overdue_total{{{DRIVER}, phase="controller-resize", class!~"{EXCUSED}"}}[$__range]))'
)
OUTCOMES: Final = "resizer_stage_duration_seconds_count"


def dashboard() -> builder.Dashboard:
    """Make the dashboard."""
    made = new_dashboard(
        UID, "Resizer / Resizes", "Growths of claims: how many, how long they take, which are stuck and why."
    ).with_variable(driver_choice())
    _add_figures(made)
    _add_claims(made)
    _add_growths(made)
    _add_durations(made)
    return made


def _add_figures(made: builder.Dashboard) -> None:
    made.with_panel(
        number("Pending", "Claims being grown now.", "short", f"sum(resizer_resizes_pending{{{DRIVER}}})")
    ).with_panel(
        number(
            "Oldest pending",
            "Age of the growth that has been pending longest.",
            "s",
            f"max(resizer_oldest_pending_seconds{{{DRIVER}}})",
        )
    ).with_panel(
        number(
            "In time",
            "Share of the growths in the time shown that were through the controller's hands within 120 s; "
            "those that wait for a person or a provider are left out (docs/slo.md).",
            "percentunit",
            f"{GOOD} / ({GOOD} + {BAD})",
            decimals=2,
        )
    ).with_panel(
        number(
            "Grown",
            "Bytes by which volumes have grown in the time shown.",
            "bytes",
            f"sum(increase(resizer_bytes_grown_total{{{DRIVER}}}[$__range]))",
            decimals=1,
        )
    )


def _add_claims(made: builder.Dashboard) -> None:
    made.with_panel(
        rows(
            "Claims that have waited longest",
            "Since when, in which phase, and the class of the last failure (none: nothing has failed). "
            "A claim's name leads to its own dashboard.",
            STUCK,
            names={
                "namespace": "Namespace",
                "persistentvolumeclaim": "Claim",
                "driver": "Driver",
                "phase": "Phase",
                "class": "Class",
                "Value": "Waits for",
            },
            unit="s",
            link=CLAIM_LINK,
        )
    )


def _add_growths(made: builder.Dashboard) -> None:
    succeeded = rate(OUTCOMES, f'{DRIVER}, outcome="success"', "stage")
    ended = rate(OUTCOMES, f'{DRIVER}, outcome=~"success|failure"', "stage")
    made.with_row(row("Growths")).with_panel(
        lines(
            "Finished",
            "Growths that ended, a second.",
            "cps",
            (LEGEND % "driver", rate("resizer_resizes_total", f'{DRIVER}, outcome="success"', "driver")),
        )
    ).with_panel(
        lines(
            "Pending by phase",
            "Claims being grown, by who has to act.",
            "short",
            (LEGEND % "phase", f"sum by (phase) (resizer_resizes_pending{{{DRIVER}}})"),
            stacked=True,
        )
    ).with_panel(
        lines(
            "Oldest pending by phase",
            "It climbs at one second a second while something is stuck.",
            "s",
            (LEGEND % "phase", f"max by (phase) (resizer_oldest_pending_seconds{{{DRIVER}}})"),
        )
    ).with_panel(
        lines(
            "Failures by class",
            "Failed runs of a stage, a second; the class says whose turn it is (docs/metrics.md).",
            "cps",
            ("{{stage}} {{class}}", f"{rate('resizer_stage_failures_total', DRIVER, 'stage, class')} > 0"),
        )
    ).with_panel(
        lines(
            "Stages that succeed",
            "Share of the runs of each stage that did not fail.",
            "percentunit",
            (LEGEND % "stage", f"{succeeded} / ({ended} > 0)"),
        )
    ).with_panel(
        lines(
            "In flight",
            "Runs of each stage going on now.",
            "short",
            (LEGEND % "stage", f"sum by (stage) (resizer_stage_inflight{{{DRIVER}}})"),
        )
    ).with_panel(
        lines(
            "Tries again",
            "Runs for a target that has been tried before, a second.",
            "cps",
            (LEGEND % "stage", rate("resizer_stage_retries_total", DRIVER, "stage")),
        )
    ).with_panel(
        lines(
            "Next try in",
            "Time until the earliest next try of a claim that failed.",
            "s",
            (LEGEND % "driver", f"min by (driver) (resizer_next_retry_seconds{{{DRIVER}}})"),
        )
    ).with_panel(
        lines(
            "Grown",
            "Bytes by which volumes grow, a second.",
            "binBps",
            (LEGEND % "driver", rate("resizer_bytes_grown_total", DRIVER, "driver")),
        )
    )


def _add_durations(made: builder.Dashboard) -> None:
    made.with_row(row("How long growths take"))
    for phase, title, means in (
        ("total", "From asked to finished", "What users wait."),
        ("controller-resize", "Controller", "From asked to the volume grown."),
        ("node-resize", "Node", "From the volume grown to the filesystem grown; a claim without a pod waits for one."),
    ):
        labels = f'{DRIVER}, phase="{phase}"'
        query = f"sum by (le) (increase(resizer_resize_duration_seconds_bucket{{{labels}}}[$__rate_interval]))"
        made.with_panel(durations(title, means, query))

"""The dashboard *Claim*: the sizes of one claim over time, who has to act, and since when.

What was asked for, the volume and the filesystem come from kube-state-metrics and the kubelet; what is aimed at, and
what the growth waits for, from us, while the claim is pending.
"""

from typing import Final

from grafana_foundation_sdk.builders import dashboard as builder
from tools.dashboards.parts import TARGET, lines, new_dashboard, number, one_choice, row, rows

UID: Final = "resizer-claim"
CLAIM: Final = 'namespace="$namespace", persistentvolumeclaim="$claim"'
OWN: Final = f"{TARGET}, {CLAIM}"
REQUESTED: Final = f"max(kube_persistentvolumeclaim_resource_requests_storage_bytes{{{CLAIM}}})"
FILESYSTEM: Final = f"max(kubelet_volume_stats_capacity_bytes{{{CLAIM}}})"
VOLUME: Final = (
    "max(kube_persistentvolume_capacity_bytes * on (persistentvolume) group_left () "
    f'label_replace(kube_persistentvolumeclaim_info{{{CLAIM}}}, "persistentvolume", "$1", "volumename", "(.+)"))'
)
PENDING: Final = f"time() - resizer_claim_pending_since_timestamp_seconds{{{OWN}}}"


def dashboard() -> builder.Dashboard:
    """Make the dashboard."""
    requests = "kube_persistentvolumeclaim_resource_requests_storage_bytes"
    made = (
        new_dashboard(UID, "Resizer / Claim", "One claim: what it asks for, what it has, and what it waits for.")
        .with_variable(one_choice("namespace", "Namespace", f"label_values({requests}, namespace)"))
        .with_variable(
            one_choice("claim", "Claim", f'label_values({requests}{{namespace="$namespace"}}, persistentvolumeclaim)')
        )
    )
    _add_figures(made)
    _add_course(made)
    return made


def _add_figures(made: builder.Dashboard) -> None:
    made.with_panel(
        number("Asked for", "spec.resources.requests of the claim.", "bytes", REQUESTED, decimals=1)
    ).with_panel(
        number("Filesystem", "Its capacity, as the kubelet measures it.", "bytes", FILESYSTEM, decimals=1)
    ).with_panel(
        number(
            "Filesystem of what was asked for",
            "A little below 100 %: a filesystem keeps some room for itself. Far below: it has not been grown.",
            "percentunit",
            f"{FILESYSTEM} / {REQUESTED}",
            decimals=1,
        )
    ).with_panel(number("Pending for", "Empty while nothing is being grown.", "s", f"max({PENDING})"))


def _add_course(made: builder.Dashboard) -> None:
    made.with_panel(
        rows(
            "What it waits for",
            "One row while the claim is being grown, none otherwise. The class is that of the last failure.",
            f"max by (driver, phase, class) ({PENDING})",
            names={"driver": "Driver", "phase": "Phase", "class": "Class", "Value": "Waits for"},
            unit="s",
            height=5,
        )
    ).with_row(row("Course")).with_panel(
        lines(
            "Sizes",
            "In the order in which they move: asked for, aimed at (while pending), volume, claim's status (while "
            "pending), filesystem.",
            "bytes",
            ("asked for", REQUESTED),
            ("aimed at", f'max(resizer_claim_size_bytes{{{OWN}, size="allocated"}})'),
            ("volume", VOLUME),
            ("status of the claim", f'max(resizer_claim_size_bytes{{{OWN}, size="capacity"}})'),
            ("filesystem", FILESYSTEM),
            ("used", f"max(kubelet_volume_stats_used_bytes{{{CLAIM}}})"),
            span=24,
        )
    ).with_panel(
        lines(
            "Phase and class",
            "How long the claim has been pending, in whose hands, and after which failure.",
            "s",
            ("{{phase}} {{class}}", f"max by (phase, class) ({PENDING})"),
            span=24,
        )
    )

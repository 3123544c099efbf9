"""The dashboard *Pipeline*: how the program itself does, from its queues to its memory."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard as builder
from tools.dashboards.parts import (
    DRIVER,
    LEGEND,
    TARGET,
    Query,
    driver_choice,
    lines,
    new_dashboard,
    quantile,
    rate,
    row,
)

UID: Final = "resizer-pipeline"
QUEUE: Final = f'{TARGET}, name=~"$driver"'
CALLS: Final = f'{TARGET}, driver_name=~"$driver"'


def dashboard() -> builder.Dashboard:
    """Make the dashboard."""
    made = new_dashboard(
        UID, "Resizer / Pipeline", "Queues, workers, stages, drivers, the API server's client, leases and the process."
    ).with_variable(driver_choice())
    _add_queue(made)
    _add_drivers(made)
    _add_kubernetes(made)
    _add_process(made)
    return made


def _add_queue(made: builder.Dashboard) -> None:
    made.with_row(row("Queue, workers and stages")).with_panel(
        lines(
            "Depth",
            "Claims that wait for a worker. Above 0 for long: too few workers, or they are stuck.",
            "short",
            (LEGEND % "name", f"sum by (name) (workqueue_depth{{{QUEUE}}})"),
        )
    ).with_panel(
        lines(
            "Wait for a worker",
            "Half of the claims, and 99 of 100, wait no longer.",
            "s",
            ("p50 {{name}}", quantile(0.5, "workqueue_queue_duration_seconds", QUEUE, "name")),
            ("p99 {{name}}", quantile(0.99, "workqueue_queue_duration_seconds", QUEUE, "name")),
        )
    ).with_panel(
        lines(
            "Work on a claim",
            "Time a worker spends on one look at a claim.",
            "s",
            ("p50 {{name}}", quantile(0.5, "workqueue_work_duration_seconds", QUEUE, "name")),
            ("p99 {{name}}", quantile(0.99, "workqueue_work_duration_seconds", QUEUE, "name")),
        )
    ).with_panel(
        lines(
            "Looks",
            "Claims put into the queue, and those put in again after a delay, a second.",
            "cps",
            ("added {{name}}", rate("workqueue_adds_total", QUEUE, "name")),
            ("again {{name}}", rate("workqueue_retries_total", QUEUE, "name")),
        )
    ).with_panel(
        lines(
            "Busiest worker",
            "How long the longest busy worker has been at its claim: above the driver's time-out a call has no end.",
            "s",
            (LEGEND % "name", f"max by (name) (workqueue_longest_running_processor_seconds{{{QUEUE}}})"),
        )
    ).with_panel(
        lines(
            "Stage durations",
            "99 of 100 runs of a stage take no longer.",
            "s",
            (LEGEND % "stage", quantile(0.99, "resizer_stage_duration_seconds", DRIVER, "stage")),
        )
    )


def _add_drivers(made: builder.Dashboard) -> None:
    made.with_row(row("Drivers")).with_panel(
        lines(
            "Calls",
            "Calls to drivers by method and answer, a second.",
            "cps",
            (
                "{{method_name}} {{grpc_status_code}}",
                rate("csi_sidecar_operations_seconds_count", CALLS, "method_name, grpc_status_code"),
            ),
        )
    ).with_panel(
        lines(
            "Time of calls",
            "99 of 100 calls of a method take no longer.",
            "s",
            (LEGEND % "method_name", quantile(0.99, "csi_sidecar_operations_seconds", CALLS, "method_name")),
        )
    ).with_panel(
        lines(
            "Connected",
            "1 while the driver behind a socket answers.",
            "bool_yes_no",
            ("{{driver}} {{instance}}", f"min by (driver, instance) (resizer_driver_connected{{{DRIVER}}})"),
        )
    )


def _add_kubernetes(made: builder.Dashboard) -> None:
    made.with_row(row("API server and leases"))
    panels: tuple[tuple[str, str, str, tuple[Query, ...]], ...] = (
        (
            "Requests",
            "Requests to the API server by HTTP status, a second. 429 is the server's brake, 403 a missing right.",
            "reqps",
            (("{{method}} {{code}}", rate("rest_client_requests_total", TARGET, "method, code")),),
        ),
        (
            "Time of requests",
            "99 of 100 requests take no longer; watches are left out.",
            "s",
            ((LEGEND % "verb", quantile(0.99, "rest_client_request_duration_seconds", TARGET, "verb")),),
        ),
        (
            "Age of watches",
            "Time since a watch showed life. Above two minutes edits go unseen.",
            "s",
            (("{{resource}}", f"max by (resource) (resizer_watch_age_seconds{{{TARGET}}})"),),
        ),
        (
            "Watches opened again, objects and events lost",
            "Closed is ordinary; silent, expired and error are not. What could not be read or sent is in the log.",
            "cps",
            (
                ("{{resource}} {{reason}}", rate("resizer_watch_restarts_total", TARGET, "resource, reason")),
                ("unreadable {{resource}}", rate("resizer_objects_malformed_total", TARGET, "resource")),
                ("events dropped {{reason}}", rate("resizer_events_dropped_total", TARGET, "reason")),
            ),
        ),
        (
            "Cache",
            "Objects held in memory.",
            "short",
            ((LEGEND % "resource", f"max by (resource) (resizer_cache_objects{{{TARGET}}})"),),
        ),
        (
            "Leader",
            "1 for the replica that holds a driver's lease. The sum over the replicas is 1.",
            "bool_yes_no",
            (("{{name}} {{instance}}", f"max by (name, instance) (leader_election_master_status{{{TARGET}}})"),),
        ),
    )
    for title, description, unit, queries in panels:
        made.with_panel(lines(title, description, unit, *queries))


def _add_process(made: builder.Dashboard) -> None:
    made.with_row(row("Process")).with_panel(
        lines(
            "Event loop lag",
            "99 of 100 timers come no later. Above 0.1 s the process lacks CPU.",
            "s",
            (LEGEND % "instance", quantile(0.99, "resizer_event_loop_lag_seconds", TARGET, "instance")),
        )
    ).with_panel(
        lines(
            "Memory",
            "Resident memory.",
            "bytes",
            (LEGEND % "instance", f"max by (instance) (process_resident_memory_bytes{{{TARGET}}})"),
        )
    ).with_panel(
        lines(
            "CPU",
            "CPU time used, in cores.",
            "short",
            (LEGEND % "instance", rate("process_cpu_seconds_total", TARGET, "instance")),
        )
    ).with_panel(
        lines(
            "Open files and sockets",
            "Of those that the process may have open.",
            "percentunit",
            (LEGEND % "instance", f"max by (instance) (process_open_fds{{{TARGET}}} / process_max_fds{{{TARGET}}})"),
        )
    ).with_panel(
        lines(
            "Age",
            "Time since the process began: a fall is a restart.",
            "s",
            (LEGEND % "instance", f"max by (instance) (time() - process_start_time_seconds{{{TARGET}}})"),
        )
    ).with_panel(
        lines(
            "Versions",
            "Replicas by version.",
            "short",
            (LEGEND % "version", f"count by (version) (resizer_build_info{{{TARGET}}})"),
        )
    )

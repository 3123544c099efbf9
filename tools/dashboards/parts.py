"""What all dashboards share: the data source and other variables, queries, and the kinds of panels in use.

Every query about the program filters by TARGET (job and instance) or DRIVER (and driver), so that no panel shows the
series of another job; `$__rate_interval` is Grafana's and always holds several scrapes.
"""

from typing import Final

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models import prometheus as prometheus_model

SOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
TARGET: Final = 'job=~"$job", instance=~"$instance"'
DRIVER: Final = f'{TARGET}, driver=~"$driver"'
LEGEND: Final = "{{%s}}"

AnyPanel = timeseries.Panel | heatmap.Panel | stat.Panel | table.Panel
Query = tuple[str, str]
"""Legend and PromQL."""


def new_dashboard(uid: str, title: str, description: str) -> builder.Dashboard:
    """Make a dashboard with the links to the others and the variables that all have."""
    return (
        builder.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["resizer", "kubernetes", "storage"])
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            builder.DashboardLink("Resizer")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["resizer"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .with_variable(builder.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(choice("job", "Job", "label_values(resizer_build_info, job)"))
        .with_variable(choice("instance", "Instance", 'label_values(resizer_build_info{job=~"$job"}, instance)'))
    )


def choice(name: str, label: str, query: str) -> builder.QueryVariable:
    """Make a variable whose values are asked of Prometheus; several or all may be chosen."""
    return (
        one_choice(name, label, query)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def one_choice(name: str, label: str, query: str) -> builder.QueryVariable:
    """Make a variable of which one value is chosen."""
    return (
        builder.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def driver_choice() -> builder.QueryVariable:
    """Make the variable for the CSI driver."""
    return choice("driver", "Driver", 'label_values(resizer_driver_connected{job=~"$job"}, driver)')


def row(title: str) -> builder.Row:
    """Make a heading; what follows stands below it."""
    return builder.Row(title)


def lines(title: str, description: str, unit: str, *queries: Query, stacked: bool = False, span: int = 8) -> AnyPanel:
    """Make curves over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(8)
        .fill_opacity(30 if stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builder.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL))
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(number, *query))
    return panel


def number(title: str, description: str, unit: str, query: str, *, decimals: int = 0, span: int = 6) -> AnyPanel:
    """Make one figure, for now."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .decimals(decimals)
        .span(span)
        .height(4)
        .color_mode(common.BigValueColorMode.NONE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .with_target(_target(0, title, query).instant())
    )


def durations(title: str, description: str, query: str) -> AnyPanel:
    """Make a heatmap of a histogram's buckets over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit("short")
        .span(8)
        .height(8)
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_model.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
            .exponent(0.5)
            .scale(heatmap_model.HeatmapColorScale.EXPONENTIAL)
        )
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .with_target(_target(0, LEGEND % "le", query).format(prometheus_model.PromQueryFormat.HEATMAP))
    )


def rows(
    title: str, description: str, query: str, *, names: dict[str, str], unit: str, link: str = "", height: int = 8
) -> AnyPanel:
    """Make a table: a row for each series, a column for each label in `names`, in this order, and one for `Value`."""
    organised = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": names,
    }
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(24)
        .height(height)
        .unit("string")
        .override_by_name(names["Value"], [model.DynamicConfigValue(id_val="unit", value=unit)])
        .with_transformation(model.DataTransformerConfig(id_val="organize", options=organised))
        .with_target(_target(0, "", query).format(prometheus_model.PromQueryFormat.TABLE).instant())
    )
    if link:
        shown = [{"title": "Show this claim", "url": link}]
        claim = names["persistentvolumeclaim"]
        panel = panel.override_by_name(claim, [model.DynamicConfigValue(id_val="links", value=shown)])
    return panel


def quantile(share: float, histogram: str, labels: str, by: str) -> str:
    """Write the query for a quantile of a histogram, by these labels."""
    inner = f"sum by ({by}, le) (rate({histogram}_bucket{{{labels}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {inner})"


def rate(counter: str, labels: str, by: str) -> str:
    """Write the query for a counter's rate, by these labels."""
    return f"sum by ({by}) (rate({counter}{{{labels}}}[$__rate_interval]))"


def _target(number: int, legend: str, query: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(chr(ord("A") + number)).datasource(SOURCE).expr(query).legend_format(legend)

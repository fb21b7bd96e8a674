"""The results of an evaluation as a page of tables, in Markdown for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.protocols import PROTOCOLS
from training.results import HEADLINE, SHOWN, Estimate, Results, ResultTable, Row
from training.significance import RESAMPLES

_FOLDED = "fold-in"
_TITLES = {
    "static": "the same mask in training and test",
    "static-dgmrec": "a published mask, the same in training and test",
    "full-train": "trained complete, items re-encoded with the mask at test",
    "new-items": "items without any interaction in training, ranked among themselves",
    "mixed": "the same training; the whole test set, new and warm items, ranked among all",
    "fold-in": "users withheld from training, encoded from their histories at test",
}
_READING = (
    "Full ranking, train positives left out; recall and NDCG at 20 on the test part, models selected on the validation "
    "part. Mean ± standard deviation over seeds, best in bold. Differences are to the best other model, with the 95 % "
    f"interval of a paired bootstrap over users ({RESAMPLES:,} resamples, users' metrics averaged over seeds first): "
    "where it holds 0, neither is shown to be the better one."
)
_THOUSAND, _MILLION = 1_000, 1_000_000


def markdown(results: Results) -> str:
    """The results as a page of tables."""
    facts = ", ".join(f"{value:,} {name}" for name, value in results.facts.items())
    lines = [f"# Evaluation on {results.data}", "", f"{facts}. {_READING}"]
    for name in PROTOCOLS:
        tables = [table for table in results.tables if table.protocol == name]
        if tables:
            lines += ["", f"## {name}: {_TITLES[name]}"]
            lines += _overview(tables)
            for table in tables:
                lines += ["", f"### {name}, {table.missing}", "", *_lines(table)]
    if results.configs:
        lines += ["", "## Settings that depart from the presets' own", ""]
        lines += [f"- {name}: {' · '.join(map(_settings, configs))}" for name, configs in results.configs.items()]
    if results.outdated:
        lines += ["", f"{results.outdated} kept runs of other data, older code or replaced settings are not shown."]
    return "\n".join(lines) + "\n"


def _settings(config: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}` {value}" for name, value in config.items()) or "its own"


def _overview(tables: Sequence[ResultTable]) -> list[str]:
    """Recall by pattern, where there are several."""
    if len(tables) == 1:
        return []
    part = PROTOCOLS[tables[0].protocol].parts[0]
    means = [{row.model: row.parts[part][HEADLINE] for row in table.rows} for table in tables]
    names = list(dict.fromkeys(row.model for table in tables for row in table.rows))
    columns = [_bold(column) for column in ([found.get(name) for name in names] for found in means)]
    header = ["recall@20", *(table.missing for table in tables)]
    return ["", *_grid(header, [[name, *cells] for name, *cells in zip(names, *columns, strict=True)])]


def _lines(table: ResultTable) -> list[str]:
    parts = PROTOCOLS[table.protocol].parts
    keys = [(part, metric) for part in parts for metric in SHOWN]
    header = [metric if part == parts[0] else f"{part}: {metric}" for part, metric in keys]
    columns = [_bold([row.parts.get(part, {}).get(metric) for row in table.rows]) for part, metric in keys]
    if table.protocol == _FOLDED:
        header += ["trained with: recall@20", "share of it"]
        columns += [[str(_trained(row)) if _trained(row) else "–" for row in table.rows], list(map(_share, table.rows))]
    header += ["recall@20, difference to the best other", "runs", "d", "encoder", "training"]
    columns += [
        [_difference(row) for row in table.rows],
        [str(len(row.seeds)) for row in table.rows],
        [f"{row.d:,}" for row in table.rows],
        [_size(row.encoder_parameters) for row in table.rows],
        [f"{row.seconds:.0f} s" if row.seconds >= 1 else "< 1 s" for row in table.rows],
    ]
    rows = [[row.model, *cells] for row, *cells in zip(table.rows, *columns, strict=True)]
    return [f"{table.users:,} users.", "", *_grid(["model", *header], rows)]


def _bold(column: Sequence[Estimate | None]) -> list[str]:
    best = max((value.mean for value in column if value), default=None)
    return ["–" if not value else f"**{value}**" if value.mean == best else str(value) for value in column]


def _trained(row: Row) -> Estimate | None:
    return row.parts["trained"][HEADLINE] if "trained" in row.parts else None


def _share(row: Row) -> str:
    if row.share is None:
        return "–"
    spread = "" if row.share.sd is None else f" ± {row.share.sd:.1%}"
    return f"{row.share.mean:.1%}{spread}"


def _difference(row: Row) -> str:
    if row.rival is None:
        return "–"
    interval = row.differences[HEADLINE]
    return f"{interval.difference:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] to {row.rival}"


def _size(parameters: int | None) -> str:
    if parameters is None:
        return "–"
    if parameters >= _MILLION:
        return f"{parameters / _MILLION:.1f} M"
    return f"{parameters / _THOUSAND:.0f} k" if parameters >= _THOUSAND else str(parameters)


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in header[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]

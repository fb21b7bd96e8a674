"""The page of an evaluation."""

from typing import Any

from training.results import Estimate, Results, ResultTable, Row
from training.results_page import markdown
from training.significance import Interval

PAGE = """\
# Evaluation on films

30 users, 24 items. Full ranking, train positives left out; recall and NDCG at 20 on the test part, models selected on \
the validation part. Mean ± standard deviation over seeds, best in bold. Differences are to the best other model, with \
the 95 % interval of a paired bootstrap over users (2,000 resamples, users' metrics averaged over seeds first): where \
it holds 0, neither is shown to be the better one.

## static: the same mask in training and test

| recall@20 | complete | 50% missing |
| --- | ---: | ---: |
| i3mrec | **0.4500 ± 0.0020** | **0.4400 ± 0.0020** |
| ials | 0.4361 | – |

### static, complete

30 users.

| model | recall@20 | ndcg@20 | recall@20, difference to the best other | runs | d | encoder | training |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| i3mrec | **0.4500 ± 0.0020** | 0.3000 ± 0.0010 | +0.0139 [+0.0100, +0.0180] to ials | 3 | 128 | 412 k | 41 s |
| ials | 0.4361 | **0.3107** | -0.0139 [-0.0180, -0.0100] to i3mrec | 1 | 64 | – | < 1 s |

### static, 50% missing

30 users.

| model | recall@20 | ndcg@20 | recall@20, difference to the best other | runs | d | encoder | training |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| i3mrec | **0.4400 ± 0.0020** | **0.3000 ± 0.0010** | – | 3 | 128 | 412 k | 41 s |

## mixed: the same training; the whole test set, new and warm items, ranked among all

### mixed, mask published

28 users.

| model | recall@20 | ndcg@20 | warm: recall@20 | warm: ndcg@20 | new: recall@20 | new: ndcg@20 | \
recall@20, difference to the best other | runs | d | encoder | training |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| i3mrec | **0.4200 ± 0.0020** | **0.3000 ± 0.0010** | **0.4500 ± 0.0020** | **0.3000 ± 0.0010** | \
**0.2500 ± 0.0020** | **0.3000 ± 0.0010** | – | 3 | 128 | 412 k | 41 s |

## fold-in: users withheld from training, encoded from their histories at test

### fold-in, complete

3 users.

| model | recall@20 | ndcg@20 | trained with: recall@20 | share of it | \
recall@20, difference to the best other | runs | d | encoder | training |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| i3mrec | **0.4400 ± 0.0020** | **0.3000 ± 0.0010** | 0.4500 ± 0.0020 | 97.8% ± 0.4% | – | 3 | 128 | 1.2 M | 41 s |

## Settings that depart from the presets' own

- i3mrec: `d` 128, `epochs` 80 · its own

2 kept runs of other data, older code or replaced settings are not shown.
"""


def ours(*recalls: float, parts: tuple[str, ...] = ("all",), **options: Any) -> Row:
    """A row of the preset: these recalls in these parts, NDCG always the same."""
    values = {
        part: {"recall@20": Estimate(recall, 0.002), "ndcg@20": Estimate(0.3, 0.001)}
        for part, recall in zip(parts, recalls, strict=True)
    }
    usual: dict[str, Any] = {"d": 128, "encoder_parameters": 412_300, "seconds": 41.2}
    return Row("i3mrec", "preset", (0, 1, 2), values, **(usual | options))


def test_page_of_fixed_numbers() -> None:
    """Every kind of table, word for word."""
    gain = Interval(0.0139, 0.01, 0.018)
    loss = Interval(-0.0139, -0.018, -0.01)
    first = ours(0.45, rival="ials", differences={"recall@20": gain})
    other = Row(
        "ials",
        "baseline",
        (None,),
        {"all": {"recall@20": Estimate(0.4361, None), "ndcg@20": Estimate(0.3107, None)}},
        d=64,
        encoder_parameters=None,
        seconds=0.4,
        rival="i3mrec",
        differences={"recall@20": loss},
    )
    folded = ours(0.44, 0.45, parts=("withheld", "trained"), share=Estimate(0.978, 0.004), encoder_parameters=1_234_000)
    tables = (
        ResultTable("static", "0", 0.0, 30, (first, other)),
        ResultTable("static", "0.5", 0.5, 30, (ours(0.44),)),
        ResultTable("mixed", "published", None, 28, (ours(0.42, 0.45, 0.25, parts=("all", "warm", "new")),)),
        ResultTable("fold-in", "0", 0.0, 3, (folded,)),
    )
    configs = {"i3mrec": [{"d": 128, "epochs": 80}, {}]}

    page = markdown(Results("films", {"users": 30, "items": 24}, tables, configs, outdated=2))

    assert page == PAGE

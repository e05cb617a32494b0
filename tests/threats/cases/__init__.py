"""The corpus, by threat."""

from tests.threats.cases import (
    t01_path_confusion,
    t02_order_surface,
    t03_upgrade,
    t04_framing,
    t05_pipelining,
    t06_parameters,
    t07_numbers,
    t08_prices,
    t09_content,
    t10_batches,
    t11_reduce_only,
    t12_resigning,
    t13_replay,
    t14_headers,
    t15_targets,
)
from tests.threats.corpus import Case

CASES_BY_THREAT: dict[str, tuple[Case, ...]] = {
    "T1": t01_path_confusion.CASES,
    "T2": t02_order_surface.CASES,
    "T3": t03_upgrade.CASES,
    "T4": t04_framing.CASES,
    "T5": t05_pipelining.CASES,
    "T6": t06_parameters.CASES,
    "T7": t07_numbers.CASES,
    "T8": t08_prices.CASES,
    "T9": t09_content.CASES,
    "T10": t10_batches.CASES,
    "T11": t11_reduce_only.CASES,
    "T12": t12_resigning.CASES,
    "T13": t13_replay.CASES,
    "T14": t14_headers.CASES,
    "T15": t15_targets.CASES,
}

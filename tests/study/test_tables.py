"""Tables of a study: medians, spread and gaps."""

from scalegan.study.tables import Column, as_markdown, medians


def test_the_table_has_medians_and_spread_over_seeds_and_gaps_where_nothing_was_measured() -> None:
    rows = {"grey": [{"ab_l1": 11.0}], "GAN + L1": [{"ab_l1": value, "minutes": 1.0} for value in (5.0, 9.0, 6.0)]}
    lines = as_markdown(rows, {"ab_l1": Column("ab-L1", 2), "fd": Column("FD", 1),
                               "minutes": Column("minutes", 1)}).splitlines()
    assert lines[0] == "| | ab-L1 | FD | minutes |"
    assert lines[2].split("|")[1:3] == [" grey ", " 11.00 "] and lines[2].endswith("|  |  |")
    assert lines[3].split("|")[2] == " 6.00 (5.00 to 9.00) " and lines[3].split("|")[-2] == " 1.0 (1.0 to 1.0) "
    assert medians(rows["GAN + L1"]) == {"ab_l1": 6.0, "minutes": 1.0}

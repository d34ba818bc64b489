"""Whatever a file holds, an import takes it in or refuses it with a text; nothing is ever half-written."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmain_trainer.errors import ImportDataError
from ringmain_trainer.imports.column_mapping import FileFormat, FileMapping, SignalMapping
from ringmain_trainer.imports.file_reader import read_values
from ringmain_trainer.imports.importer import import_file, step_rows
from ringmain_trainer.imports.source_file import read_source

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMPS = (
    "2024-03-31 02:30",
    "2024-03-31T01:00:00Z",
    "2024-10-27 02:00",
    "31/12/2023 23:45",
    "1.1.2024 00:00",
    "1711846800",
    "0001-01-01 00:00",
    "9999-12-31 23:59:59",
    "2024-02-30",
    "24:00",
    "",
)
fields = st.one_of(
    st.sampled_from(STAMPS),
    st.sampled_from(["1", "-2.5", "1,5", "1e308", "nan", "inf", "-", "0x10", "1_000", '"', "a"]),
    st.text(max_size=6),
)
headers = st.lists(
    st.sampled_from(["timestamp", "load_kw", "PV (MW)", "site", "tx_id", "temperature", "humidity", "", "ghi", "date", "x"]),
    min_size=1,
    max_size=5,
)
files = st.builds(
    lambda header, rows, sign: "\n".join(sign.join(row) for row in [header, *rows]).encode(),
    headers,
    st.lists(st.lists(fields, min_size=1, max_size=5), max_size=6),
    st.sampled_from([",", ";"]),
)
mappings = st.builds(
    lambda zone, stamp, midnight, duplicates, decimal, step_s: FileFormat(
        file=FileMapping(
            time="t",
            site="a",
            time_zone=zone,
            stamp=stamp,
            midnight=midnight,
            duplicates=duplicates,
            decimal=decimal,
            step_s=step_s,
            nonexistent="skip",
            order="any",
        ),
        signal=[SignalMapping(column="v", signal="load_kw", unit="kWh per interval", positive="generation")],
    ),
    st.sampled_from(["UTC", "+05:30", "Europe/Berlin", "America/St_Johns"]),
    st.sampled_from(["start", "end"]),
    st.sampled_from(["as_written", "next_day"]),
    st.sampled_from(["refuse", "first", "last", "mean"]),
    st.sampled_from([".", ","]),
    st.sampled_from([None, 900, 3600]),
)


@settings(max_examples=150)
@given(content=st.one_of(files, st.binary(max_size=60)), site=st.sampled_from([None, "uw-1"]))
def test_any_file_without_a_mapping_is_imported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, site: str | None
) -> None:
    folder = tmp_path_factory.mktemp("import")
    (folder / "file.csv").write_bytes(content)
    try:
        done = import_file(folder / "file.csv", history=str(folder / "history"), step_s=900, now=NOW, site=site)
    except ImportDataError as error:
        assert str(error)  # noqa: PT017
        assert not (folder / "history").exists()
    else:
        assert any(one.rows for one in done)


@settings(max_examples=150)
@given(mapping=mappings, rows=st.lists(st.tuples(fields, fields), min_size=1, max_size=8))
def test_any_rows_under_any_mapping_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, mapping: FileFormat, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("import")
    text = "\n".join(";".join(row) for row in [("t", "v"), *rows])
    (folder / "file.csv").write_text(text, encoding="utf-8")
    try:
        found = read_values(read_source(folder / "file.csv", delimiter=";"), mapping)
    except ImportDataError as error:
        assert str(error)  # noqa: PT017
        return
    for one in found:
        made = step_rows(one.rows, one.mapping.signal, file_step_s=one.step_s, step_s=900)
        assert made["start_at"].is_unique().all()
        assert made["value"].is_finite().all()

"""
Texts in CSV that a spreadsheet would run: what begins as a formula does gets an apostrophe, which says *text* there.

    =1+1  ->  '=1+1         '=1+1  ->  ''=1+1         -5  ->  -5, which is a number

Formulas begin with ``=``, ``+``, ``-``, ``@`` (also in full width), a tab, a carriage return or a line feed (OWASP, *CSV
Injection*). What is read back loses the apostrophe, so events come back as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = "'*[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def harmless(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows to be written as CSV, none of whose texts is a formula."""
    import pyarrow.compute as pc

    for name in _texts(batch):
        column = batch.column(name)
        if pc.any(pc.match_substring_regex(column, f"^{_FORMULA}")).as_py():
            marked = pc.replace_substring_regex(column, f"^({_FORMULA})", r"'\1", max_replacements=1)
            kept = pc.if_else(pc.match_substring_regex(column, _NUMBER), column, marked)
            batch = batch.set_column(batch.schema.get_field_index(name), name, kept)
    return batch


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows that were read from CSV, with their texts as they were."""
    import pyarrow.compute as pc

    for name in _texts(batch):
        text = pc.replace_substring_regex(batch.column(name), f"^'({_FORMULA})", r"\1", max_replacements=1)
        batch = batch.set_column(batch.schema.get_field_index(name), name, text)
    return batch


def _texts(batch: pa.RecordBatch) -> list[str]:
    import pyarrow as pa

    return [field.name for field in batch.schema if pa.types.is_string(field.type)]

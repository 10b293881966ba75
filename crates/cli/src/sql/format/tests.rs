use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringViewArray};
use arrow::datatypes::Int32Type;

use super::*;

fn batch() -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("name", Arc::new(StringViewArray::from(vec![Some("a, \"b\""), None]))),
        ("price", Arc::new(Float64Array::from(vec![1.5, 22.0]))),
        ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn printed(format: Format, batches: &[RecordBatch]) -> (Vec<u8>, Printed) {
    let mut out = Vec::new();
    let printed = {
        let mut printer = Printer::new(format, Expanded::Off, &batches[0].schema(), &mut out).unwrap();
        for batch in batches {
            printer.print(batch).unwrap();
        }
        printer.finish().unwrap().0
    };
    (out, printed)
}

fn expanded(expanded: Expanded, batch: &RecordBatch) -> String {
    let mut printer = Printer::new(Format::Table, expanded, &batch.schema(), Vec::new()).unwrap();
    printer.print(batch).unwrap();
    String::from_utf8(printer.finish().unwrap().1).unwrap()
}

fn text(format: Format, batches: &[RecordBatch]) -> String {
    String::from_utf8(printed(format, batches).0).unwrap()
}

#[test]
fn a_table_is_a_box() {
    let expected = "\
┌──────┬────────┬───────┬───────┐
│ id   ┆ name   ┆ price ┆ l     │
╞══════╪════════╪═══════╪═══════╡
│    1 ┆ a, \"b\" ┆   1.5 ┆ [1, ] │
│ NULL ┆ NULL   ┆  22.0 ┆ NULL  │
└──────┴────────┴───────┴───────┘
";
    let got = text(Format::Table, &[batch()]);
    assert!(got.contains("NULL ┆ NULL   ┆  22.0"), "{got}");
    assert_eq!(got.lines().count(), expected.lines().count(), "{got}");
}

#[test]
fn csv_has_a_header_and_quotes_what_it_must() {
    assert_eq!(
        text(Format::Csv, &[batch(), batch()]),
        "id,name,price,l\n1,\"a, \"\"b\"\"\",1.5,\"[1, ]\"\n,,22.0,\n1,\"a, \"\"b\"\"\",1.5,\"[1, ]\"\n,,22.0,\n"
    );
    assert_eq!(text(Format::Csv, &[batch().slice(0, 0)]), "id,name,price,l\n");
    let bytes = RecordBatch::try_from_iter([("b", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]])) as _)]).unwrap();
    assert_eq!(text(Format::Csv, &[bytes]), "b\nff00\n");
    // Nothing and a text without characters are told apart, but for a line that would be empty.
    assert_eq!(
        text(Format::Csv, &[two(&[Some(""), None, Some(" x"), Some("a\nb\r")])]),
        "a,b\n\"\",\"\"\n,\n\" x\",\" x\"\n\"a\nb\r\",\"a\nb\r\"\n"
    );
    assert_eq!(text(Format::Csv, &[texts(&[None, Some("")])]), "s\n\"\"\n\"\"\n");
}

fn texts(values: &[Option<&str>]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringViewArray::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("s", column, true)]).unwrap()
}

fn two(values: &[Option<&str>]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringViewArray::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("a", column.clone(), true), ("b", column, true)]).unwrap()
}

#[test]
fn tsv_has_no_tabs_and_lines_but_its_own() {
    let got = text(Format::Tsv, &[two(&[Some("a\tb\nc\rd\\e\"'"), None, Some(""), Some("\\N")])]);
    let field = "a\\tb\\nc\\rd\\\\e\"'";
    assert_eq!(got, format!("a\tb\n{field}\t{field}\n\\N\t\\N\n\t\n\\\\N\t\\\\N\n"));
}

#[test]
fn markdown_shows_values_as_they_are() {
    assert_eq!(
        text(Format::Markdown, &[batch()]),
        "| id | name | price | l |\n| ---: | --- | ---: | --- |\n| 1 | a, \"b\" | 1.5 | \\[1, ] |\n|  |  | 22.0 |  |\n"
    );
    let odd = texts(&[Some("a|b\n<b>*x* a_b _c_ `\\ \u{1b}[0m &lt;")]);
    assert_eq!(
        text(Format::Markdown, &[odd]),
        "| s |\n| --- |\n| a\\|b<br>\\<b>\\*x\\* a_b \\_c\\_ \\`\\\\ \\\\u{1b}\\[0m \\&lt; |\n"
    );
}

#[test]
fn json_is_a_list_or_one_object_a_line() {
    let lines = text(Format::Ndjson, &[batch(), batch()]);
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["name"], "a, \"b\"");
    assert!(lines[1].as_object().unwrap()["id"].is_null());
    let list: Vec<serde_json::Value> = serde_json::from_str(&text(Format::Json, &[batch(), batch()])).unwrap();
    assert_eq!(list, lines);
    assert_eq!(text(Format::Json, &[batch().slice(0, 0)]), "[\n]\n");
    assert_eq!(text(Format::Ndjson, &[batch().slice(0, 0)]), "");
}

#[test]
fn rows_one_below_the_other_have_a_line_for_each_value() {
    let expected = "\
─[ row 1 ]───────────────────
id    │ 1
name  │ a, \"b\"
price │ 1.5
l     │ [1, ]
─[ row 2 ]───────────────────
id    │ NULL
name  │ NULL
price │ 22.0
l     │ NULL
";
    assert_eq!(text(Format::Vertical, &[batch()]), expected);
    assert_eq!(expanded(Expanded::On, &batch()), expected);
    assert_eq!(expanded(Expanded::WiderThan(20), &batch()), expected);
    let whole = expanded(Expanded::Off, &batch());
    let width = whole.lines().next().unwrap().chars().count();
    assert_eq!(expanded(Expanded::WiderThan(width), &batch()), whole);
    assert_eq!(expanded(Expanded::WiderThan(width - 1), &batch()), expected);
    assert_eq!(text(Format::Vertical, &[texts(&[Some("a\n\nb")])]), "─[ row 1 ]───────────────\ns │ a\n  │\n  │ b\n");
}

#[test]
fn parquet_can_be_read_again() {
    let (bytes, counted) = printed(Format::Parquet, &[batch(), batch()]);
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes::Bytes::from(bytes), 1024);
    let read = reader.unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let both = arrow::compute::concat_batches(&batch().schema(), &[batch(), batch()]).unwrap();
    assert_eq!(read, [both]);
    assert_eq!(counted, Printed { rows: 4, left_out: 0 });
}

#[test]
fn arrow_can_be_read_again() {
    let (bytes, counted) = printed(Format::Arrow, &[batch(), batch()]);
    let read = arrow_ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
    assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap(), [batch(), batch()]);
    assert_eq!(counted, Printed { rows: 4, left_out: 0 });
}

#[test]
fn a_table_has_an_end() {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7000));
    let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    let (out, counted) = printed(Format::Table, &[batch.clone(), batch]);
    assert_eq!(counted, Printed { rows: 14_000, left_out: 4000 });
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), TABLE_ROWS_MAX + 4);
}

#[test]
fn values_do_not_speak_to_the_terminal() {
    let column: ArrayRef = Arc::new(StringViewArray::from(vec!["\u{1b}[2Jx\ty"]));
    let batch = RecordBatch::try_from_iter([("s", column)]).unwrap();
    let got = text(Format::Table, &[batch]);
    assert!(got.contains("\\u{1b}[2Jx\\ty"), "{got}");
    let odd = texts(&[Some("\u{1b}[2J\u{9b}\u{202e}x\r")]);
    for format in [Format::Table, Format::Vertical, Format::Markdown] {
        let got = text(format, std::slice::from_ref(&odd));
        assert!(!got.contains(|c: char| c.is_control() && c != '\n') && !got.contains('\u{202e}'), "{got:?}");
    }
}

#[test]
fn a_statement_without_columns_prints_nothing() {
    let empty = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    for format in <Format as clap::ValueEnum>::value_variants().iter().copied() {
        assert_eq!(printed(format, std::slice::from_ref(&empty)).0, b"");
    }
}

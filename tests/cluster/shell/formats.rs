//! Every format against the oracle: read back, the cells are the same.

use std::io::Cursor;
use std::path::Path;

use arrow::array::Array;
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::answers::{Order, compare};
use crate::support::commands::{frazil, frazil_with_input};
use crate::support::engine::{Answer, Engine, Request};
use crate::support::oracle::Oracle;

/// Values that each of the formats has to do something about.
const ODD: &str = "select * from (values \
    (1, 'plain', 1.5, true, date '2024-02-29'), \
    (2, 'comma, \"quote\" and ''tick''', -0.0, false, null), \
    (3, 'tab\there', 1e300, null, date '0001-01-01'), \
    (4, E'two\\nlines\\r\\n', null, true, date '9999-12-31'), \
    (5, '', 0.1, false, null), \
    (6, null, 2.0, null, null), \
    (7, '\\N', 3.0, true, null), \
    (8, 'pipe | \\| back\\slash', 4.0, true, null), \
    (9, ' blanks ', 5.0, true, null), \
    (10, 'é 🦀 مرحبا', 6.0, true, null), \
    (11, '<b>*x*</b> _y_ `z` [a](b) &amp;', 7.0, true, null) \
    ) as t(i, \"a \"\"name\"\", | with\ttab\", f, b, d) order by i";
const ROWS: usize = 11;

type Cells = Vec<Vec<Option<String>>>;

/// With its names in front.
fn cells(answer: &Answer) -> Cells {
    let mut rows = vec![answer.schema.fields().iter().map(|field| Some(field.name().clone())).collect()];
    for batch in &answer.batches {
        let options = FormatOptions::default();
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("shown")).collect();
        for row in 0..batch.num_rows() {
            let cell = |index: usize| {
                let valid = batch.column(index).is_valid(row);
                valid.then(|| columns[index].value(row).try_to_string().expect("a value"))
            };
            rows.push((0..columns.len()).map(cell).collect());
        }
    }
    rows
}

async fn printed(directory: &Path, format: &str, sql: &str) -> Vec<u8> {
    let ran = frazil(directory, &["sql", "--data", "data", "--format", format, "-c", sql], &[]).await;
    assert_eq!(ran.stderr, "", "{format}: nothing but rows where nobody watches");
    ran.output()
}

async fn text(directory: &Path, format: &str, sql: &str) -> String {
    String::from_utf8(printed(directory, format, sql).await).expect("text")
}

/// RFC 4180; a field in quotes is a text, one without characters and quotes a null.
fn read_csv(text: &str) -> Cells {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = true;
                loop {
                    match characters.next().expect("a closing quote") {
                        '"' if characters.peek() == Some(&'"') => field.push(characters.next().expect("peeked")),
                        '"' => break,
                        other => field.push(other),
                    }
                }
            }
            ',' | '\n' => {
                let value = std::mem::take(&mut field);
                row.push((quoted || !value.is_empty()).then_some(value));
                quoted = false;
                if character == '\n' {
                    rows.push(std::mem::take(&mut row));
                }
            }
            other => field.push(other),
        }
    }
    assert!(row.is_empty() && field.is_empty(), "the last line has its end");
    rows
}

fn read_tsv(text: &str) -> Cells {
    let read = |field: &str| {
        if field == "\\N" {
            return None;
        }
        let (mut value, mut characters) = (String::new(), field.chars());
        while let Some(character) = characters.next() {
            value.push(match character {
                '\\' => match characters.next().expect("what is escaped") {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    '\\' => '\\',
                    other => panic!("\\{other}"),
                },
                other => other,
            });
        }
        Some(value)
    };
    text.strip_suffix('\n')
        .expect("a last line end")
        .split('\n')
        .map(|line| line.split('\t').map(read).collect())
        .collect()
}

/// Null and a text without characters look the same.
fn read_markdown(text: &str) -> Cells {
    let mut rows = Vec::new();
    for line in text.lines() {
        let inner = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")).expect("a row between bars");
        let (mut row, mut field) = (Vec::new(), String::new());
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => field.push(characters.next().expect("what is escaped")),
                '|' => row.push(std::mem::take(&mut field)),
                other => field.push(other),
            }
        }
        row.push(field);
        let last = row.len() - 1;
        // The blanks beside the bars.
        let bare = |(index, field): (usize, String)| {
            let field = if index > 0 { field.strip_prefix(' ').expect("a blank").to_owned() } else { field };
            if index < last { field.strip_suffix(' ').expect("a blank").to_owned() } else { field }
        };
        let row = row.into_iter().enumerate().map(bare).map(|field| field.replace("<br>", "\n"));
        rows.push(row.map(|field| (!field.is_empty()).then_some(field)).collect());
    }
    rows.remove(1);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_what_the_oracle_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let expected = Oracle::empty("oracle").run(&Request::new(ODD)).await.expect("the oracle answers");
    assert_eq!(expected.rows(), ROWS);
    let wanted = cells(&expected);

    assert_eq!(read_csv(&text(path, "csv", ODD).await), wanted, "csv");
    assert_eq!(read_tsv(&text(path, "tsv", ODD).await), wanted, "tsv");

    // What Markdown cannot tell apart, and what acts on a terminal, is shown otherwise.
    let shown = |cell: &Option<String>| {
        let cell = cell.clone().filter(|cell| !cell.is_empty());
        cell.map(|cell| cell.replace('\t', "\\t").replace('\r', "\\r"))
    };
    let visible: Cells = wanted.iter().map(|row| row.iter().map(shown).collect()).collect();
    assert_eq!(read_markdown(&text(path, "markdown", ODD).await), visible, "markdown");

    let list: Vec<Value> = serde_json::from_str(&text(path, "json", ODD).await).expect("a list");
    let lines = text(path, "ndjson", ODD).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(list, lines);
    assert_eq!(list.len(), ROWS);
    for (object, row) in list.iter().zip(&wanted[1..]) {
        for (name, cell) in wanted[0].iter().zip(row) {
            match (&object[name.as_deref().expect("a name")], cell) {
                (Value::Null, None) => {}
                (Value::String(text), Some(cell)) => assert_eq!(text, cell),
                (Value::Number(number), Some(cell)) => {
                    assert_eq!(number.as_f64(), cell.parse::<f64>().ok(), "{number} and {cell}");
                }
                (Value::Bool(value), Some(cell)) => assert_eq!(&value.to_string(), cell),
                (value, cell) => panic!("{name:?} is {value}, and should be {cell:?}"),
            }
        }
    }

    let reader = StreamReader::try_new(Cursor::new(printed(path, "arrow", ODD).await), None).expect("an IPC stream");
    let schema = reader.schema();
    let actual = Answer { schema, batches: reader.collect::<Result<_, _>>().expect("whole batches") };
    compare(&expected, &actual, Order::Total).expect("arrow");

    // `sql` writes Parquet to a pipe and to a file.
    std::fs::write(path.join("all.parquet"), printed(path, "parquet", ODD).await).expect("written");
    let script = format!("\\format parquet\n\\o other.parquet\n{ODD};\n\\o\n\\format csv\nselect 1 as one;\n");
    let ran = frazil_with_input(path, &["sql", "--data", "data"], &[], &script).await;
    assert_eq!(ran.text(), "one\n1\n");
    for file in ["all.parquet", "other.parquet"] {
        let file = std::fs::File::open(path.join(file)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let schema = reader.schema().clone();
        let batches = reader.build().expect("readable").collect::<Result<_, _>>().expect("whole batches");
        compare(&expected, &Answer { schema, batches }, Order::Total).expect("parquet");
    }

    let table = text(path, "table", ODD).await;
    let vertical = text(path, "vertical", ODD).await;
    assert_eq!(vertical.matches("─[ row ").count(), ROWS);
    assert_eq!(vertical.lines().filter(|line| line.starts_with("i ")).count(), ROWS, "{vertical}");
    for shown in ["tab\\there", "lines\\r", "🦀", "| \\| back\\slash"] {
        assert!(table.contains(shown) && vertical.contains(shown), "{shown:?} is not in\n{table}\n{vertical}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_cannot_drive_the_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let sql = "select chr(27) || '[2J' || chr(155) || '31m' || chr(7) || chr(8238) || 'x' as \"a\u{1b}[5m\"";
    for format in ["table", "vertical", "markdown"] {
        let shown = text(directory.path(), format, sql).await;
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(acts) && shown.contains("u{1b}") && shown.contains("u{202e}"), "{format}: {shown:?}");
    }
    // Nor can a message.
    let ran = frazil(directory.path(), &["sql", "--data", "data", "-c", "select \"\u{1b}[31mno\""], &[]).await;
    assert_eq!(ran.code(), Some(1));
    assert!(!ran.stderr.contains('\u{1b}') && ran.stderr.contains("\\u{1b}[31mno"), "{:?}", ran.stderr);
    // A program gets what there is.
    let exact = text(directory.path(), "csv", "select chr(27) as e").await;
    assert_eq!(exact, "e\n\u{1b}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_one_result_takes_no_second() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = "create table t as select 1 as a; select a from t";
    let ran = frazil(directory.path(), &["sql", "--data", "data", "--format", "parquet", "-c", script], &[]).await;
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("holds one result") && ran.stderr.contains("was not run"), "{}", ran.stderr);
    // What only sets something prints nothing, and is no result.
    let script = "set timezone = 'UTC'; select 7 as a";
    let ran = frazil(directory.path(), &["sql", "--data", "data", "--format", "parquet", "-c", script], &[]).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(ran.output())).expect("a Parquet file");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 1);
}

fn bytes(bytes: Vec<u8>) -> axum::body::Bytes {
    bytes.into()
}

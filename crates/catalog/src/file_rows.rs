//! Rows of data files, delete files and statistics, read from the database.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;

use crate::error::Result;
use crate::file_list::{ALIVE, DeleteEntry, Extra, FileList};
use crate::files::DataFile;
use crate::ids::{ColumnId, DataFileId, TableId};
use crate::model::{Column, Place, Table};
use crate::packed::{Asked, PackedList, PackedRow, all_packed};
use crate::prune::ColumnStatistics;
use crate::sql::{Row, Sql, Tx, Value};
use crate::statistics_column::StatisticsColumn;
use crate::types::ColumnType;

/// Files whose statistics are read with one statement.
const STATISTICS_FILES_MAX: usize = 5000;
/// Files of which more is asked with one statement.
const SPECIAL_FILES_MAX: usize = 5000;

/// Id, begin, end, rows, bytes, footer, row id, path, whether it is relative, whether there is more to know.
#[derive(Deserialize)]
pub(crate) struct FileRow<'a>(
    pub(crate) i64,
    pub(crate) i64,
    pub(crate) Option<i64>,
    pub(crate) i64,
    pub(crate) i64,
    pub(crate) Option<i64>,
    pub(crate) Option<i64>,
    #[serde(borrow)] pub(crate) Cow<'a, str>,
    pub(crate) Option<i64>,
    pub(crate) i64,
);

impl<'a> PackedRow<'a> for FileRow<'a> {
    const COLUMNS: &'static [&'static str] = &[
        "data_file_id",
        "begin_snapshot",
        "end_snapshot",
        "record_count",
        "file_size_bytes",
        "footer_size",
        "row_id_start",
        "path",
        "CASE WHEN path_is_relative THEN CAST(1 AS BIGINT) ELSE 0 END",
        "CASE WHEN mapping_id IS NULL AND partial_max IS NULL AND encryption_key IS NULL AND file_format = 'parquet' \
         THEN CAST(0 AS BIGINT) ELSE 1 END",
    ];

    fn key(&self) -> i64 {
        self.0
    }

    fn read(row: &'a Row<'a>) -> Result<Self> {
        let path = Cow::Borrowed(row.text(7)?);
        let (end, footer, row_id) = (row.int_or_null(2)?, row.int_or_null(5)?, row.int_or_null(6)?);
        let (rows, bytes) = (row.int(3)?, row.int(4)?);
        Ok(Self(row.int(0)?, row.int(1)?, end, rows, bytes, footer, row_id, path, row.int_or_null(8)?, row.int(9)?))
    }
}

impl PackedList for FileList {
    type Row<'a> = FileRow<'a>;

    fn take(&mut self, row: FileRow<'_>) -> Result<()> {
        self.push(row)
    }

    fn append(&mut self, other: Self) -> Result<()> {
        FileList::append(self, other)
    }
}

/// File, nulls, least and greatest value, whether there are NaNs.
#[derive(Deserialize)]
pub(crate) struct ColumnRow<'a>(
    i64,
    Option<i64>,
    #[serde(borrow)] Option<Text<'a>>,
    #[serde(borrow)] Option<Text<'a>>,
    Option<i64>,
);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> PackedRow<'a> for ColumnRow<'a> {
    const COLUMNS: &'static [&'static str] = &[
        "data_file_id",
        "null_count",
        "CAST(min_value AS VARCHAR)",
        "CAST(max_value AS VARCHAR)",
        "CASE WHEN contains_nan IS NULL THEN NULL WHEN contains_nan THEN CAST(1 AS BIGINT) ELSE 0 END",
    ];

    fn key(&self) -> i64 {
        self.0
    }

    fn read(row: &'a Row<'a>) -> Result<Self> {
        let text = |index| row.text_or_null(index).map(|text| text.map(|text| Text(Cow::Borrowed(text))));
        Ok(Self(row.int(0)?, row.int_or_null(1)?, text(2)?, text(3)?, row.int_or_null(4)?))
    }
}

/// A column's statistics in the files that have any.
pub(crate) struct ColumnPart {
    pub(crate) files: Vec<i64>,
    pub(crate) statistics: StatisticsColumn,
}

impl PackedList for ColumnPart {
    type Row<'a> = ColumnRow<'a>;

    fn take(&mut self, row: ColumnRow<'_>) -> Result<()> {
        let ColumnRow(file, null_count, min, max, contains_nan) = row;
        let at = self.files.len();
        self.files.push(file);
        self.statistics.resize(at + 1);
        let (min, max) = (min.as_ref().map(|text| &*text.0), max.as_ref().map(|text| &*text.0));
        self.statistics.set(at, null_count, min, max, contains_nan.map(|nan| nan != 0));
        Ok(())
    }

    fn append(&mut self, mut other: Self) -> Result<()> {
        self.files.append(&mut other.files);
        self.statistics.append(other.statistics);
        Ok(())
    }
}

/// Files with ids in the range, and what is special about some.
pub(crate) async fn read_files(sql: &Sql, tx: &mut Tx, table: TableId, ids: Range<i64>) -> Result<FileList> {
    let asked = Asked {
        doing: "reading data files",
        table: "ducklake_data_file",
        condition: "table_id = $1",
        args: vec![Value::int(table.0)],
        keys: ids,
    };
    all_packed(sql, tx, asked, FileList::default).await
}

pub(crate) async fn read_column(
    sql: &Sql,
    tx: &mut Tx,
    table: TableId,
    column: ColumnId,
    column_type: &ColumnType,
    files: Range<i64>,
) -> Result<ColumnPart> {
    let asked = Asked {
        doing: "reading column statistics",
        table: "ducklake_file_column_stats",
        condition: "table_id = $1 AND column_id = $2",
        args: vec![Value::int(table.0), Value::int(column.0)],
        keys: files,
    };
    let empty = || ColumnPart { files: Vec::new(), statistics: StatisticsColumn::new(column_type.clone()) };
    all_packed(sql, tx, asked, empty).await
}

/// Files of these ids; what is special about some is to be read.
pub(crate) async fn read_files_of(tx: &mut Tx, table: TableId, ids: &[i64]) -> Result<FileList> {
    let mut files = FileList::default();
    let columns = <FileRow<'_> as PackedRow<'_>>::COLUMNS.join(", ");
    let sql = format!(
        "SELECT {columns} FROM ducklake_data_file WHERE table_id = $1 AND data_file_id IN ({}) ORDER BY data_file_id",
        list_of(ids)
    );
    tx.each("reading data files", &sql, &[Value::int(table.0)], |row| files.push(FileRow::read(&row)?)).await?;
    Ok(files)
}

/// A column's statistics in files of these ids.
pub(crate) async fn read_column_of(tx: &mut Tx, table: TableId, column: &Column, ids: &[i64]) -> Result<ColumnPart> {
    let mut part = ColumnPart { files: Vec::new(), statistics: StatisticsColumn::new(column.column_type.clone()) };
    let columns = <ColumnRow<'_> as PackedRow<'_>>::COLUMNS.join(", ");
    let sql = format!(
        "SELECT {columns} FROM ducklake_file_column_stats \
         WHERE table_id = $1 AND column_id = $2 AND data_file_id IN ({}) ORDER BY data_file_id",
        list_of(ids)
    );
    let args = [Value::int(table.0), Value::int(column.id.0)];
    tx.each("reading column statistics", &sql, &args, |row| part.take(ColumnRow::read(&row)?)).await?;
    Ok(part)
}

/// An SQL list, never empty: no id is below 0.
fn list_of(ids: &[i64]) -> String {
    let texts: Vec<_> = ids.iter().map(i64::to_string).collect();
    if texts.is_empty() { "-1".to_owned() } else { texts.join(",") }
}

/// What is to know of the list's special files.
pub(crate) async fn read_extras(tx: &mut Tx, files: &mut FileList) -> Result<()> {
    let special = std::mem::take(&mut files.special);
    for chunk in special.chunks(SPECIAL_FILES_MAX) {
        let list = chunk.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let sql = format!(
            "SELECT data_file_id, mapping_id, partial_max, file_format, encryption_key FROM ducklake_data_file \
             WHERE data_file_id IN ({list})"
        );
        tx.each("reading data files", &sql, &[], |row| {
            let extra = Extra {
                mapping_id: row.int_or_null(1)?,
                partial_max: row.int_or_null(2)?,
                not_readable: match (row.text_or_null(3)?, row.text_or_null(4)?) {
                    (_, Some(_)) => Some("encrypted"),
                    (Some(format), _) if format.eq_ignore_ascii_case("parquet") => None,
                    _ => Some("not in Parquet format"),
                },
            };
            files.add_extra(row.int(0)?, extra);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Delete files with ids from `from` on, and the ends of files and delete files after `synced`.
pub(crate) async fn read_deletes_and_ends(
    tx: &mut Tx,
    table: TableId,
    from: i64,
    synced: i64,
    files: &mut FileList,
) -> Result<()> {
    read_deletes(tx, "delete_file_id >= $2", &[Value::int(table.0), Value::int(from)], files).await?;
    let ended = [Value::int(table.0), Value::int(synced)];
    let sql = "SELECT data_file_id, end_snapshot FROM ducklake_data_file WHERE table_id = $1 AND end_snapshot > $2";
    tx.each("reading removed files", sql, &ended, |row| {
        files.end_file(row.int(0)?, row.int(1)?);
        Ok(())
    })
    .await?;
    let sql = "SELECT data_file_id, delete_file_id, end_snapshot FROM ducklake_delete_file \
               WHERE table_id = $1 AND end_snapshot > $2";
    tx.each("reading replaced delete files", sql, &ended, |row| {
        files.end_delete(row.int(0)?, row.int(1)?, row.int(2)?);
        Ok(())
    })
    .await
}

/// The delete files of data files of these ids.
pub(crate) async fn read_deletes_of(tx: &mut Tx, table: TableId, ids: &[i64], files: &mut FileList) -> Result<()> {
    read_deletes(tx, &format!("data_file_id IN ({})", list_of(ids)), &[Value::int(table.0)], files).await
}

/// `condition`: beside that of the table, which is the first argument.
async fn read_deletes(tx: &mut Tx, condition: &str, args: &[Value], files: &mut FileList) -> Result<()> {
    let sql = format!(
        "SELECT delete_file_id, begin_snapshot, end_snapshot, data_file_id, path, path_is_relative, delete_count, \
         file_size_bytes, footer_size, partial_max, format FROM ducklake_delete_file \
         WHERE table_id = $1 AND {condition} ORDER BY delete_file_id"
    );
    tx.each("reading delete files", &sql, args, |row| {
        files.add_delete(row.int(3)?, read_delete(&row)?);
        Ok(())
    })
    .await
}

fn read_delete(row: &Row<'_>) -> Result<DeleteEntry> {
    Ok(DeleteEntry {
        id: row.int(0)?,
        begin: row.int(1)?,
        end: row.int_or_null(2)?.unwrap_or(ALIVE),
        path: Place { path: row.text(4)?.to_owned(), is_relative: row.bool_or_null(5)?.unwrap_or(false) },
        delete_count: row.int(6)?,
        size_bytes: row.int(7)?,
        footer_size_bytes: row.int_or_null(8)?,
        partial_max: row.int_or_null(9)?,
        is_parquet: row.text_or_null(10)?.is_some_and(|format| format.eq_ignore_ascii_case("parquet")),
    })
}

/// Statistics of some columns in some files, past what is in memory.
pub(crate) async fn read_statistics(
    tx: &mut Tx,
    table: &Table,
    files: &[DataFile],
    columns: &[ColumnId],
) -> Result<HashMap<(DataFileId, ColumnId), ColumnStatistics>> {
    let list = |ids: Vec<i64>| ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let column_list = list(columns.iter().map(|id| id.0).collect());
    let mut found = HashMap::with_capacity(files.len() * columns.len());
    for chunk in files.chunks(STATISTICS_FILES_MAX) {
        let sql = format!(
            "SELECT data_file_id, column_id, null_count, min_value, max_value, contains_nan FROM ducklake_file_column_stats \
             WHERE table_id = $1 AND column_id IN ({column_list}) AND data_file_id IN ({})",
            list(chunk.iter().map(|file| file.id.0).collect())
        );
        tx.each("reading column statistics", &sql, &[Value::int(table.id.0)], |row| {
            let (file, id) = (DataFileId(row.int(0)?), ColumnId(row.int(1)?));
            let Some(column) = table.column_by_id(id) else { return Ok(()) };
            let mut one = StatisticsColumn::new(column.column_type.clone());
            one.resize(1);
            let (min, max) = (row.text_or_null(3)?, row.text_or_null(4)?);
            one.set(0, row.int_or_null(2)?, min, max, row.bool_or_null(5)?);
            found.insert((file, id), one.get(0));
            Ok(())
        })
        .await?;
    }
    Ok(found)
}

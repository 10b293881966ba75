//! Which staged files a table has loaded. It lies in the database itself, so that a load and its entry are one commit.

use crate::database::Database;
use crate::error::{CatalogError, Result};
use crate::ids::TableId;
use crate::sql::Value;
use crate::time;
use crate::transaction::{LoadedFile, Transaction};

impl Database {
    /// All staged files that a table has loaded, by path. Truncating a table forgets them.
    pub async fn loaded_files(&self, table: TableId) -> Result<Vec<LoadedFile>> {
        let mut tx = self.inner.sql.read().await?;
        let sql = "SELECT path, version, statement_id, loaded_at, row_count FROM frazil_loaded_file \
                   WHERE table_id = $1 ORDER BY path";
        tx.all("reading loaded files", sql, &[Value::int(table.0)], |row| {
            let statement = row.text(2)?;
            Ok(LoadedFile {
                table,
                path: row.text(0)?.to_owned(),
                version: row.text(1)?.to_owned(),
                statement: statement
                    .parse()
                    .map_err(|_| CatalogError::Corrupt(format!("a file was loaded by statement \"{statement}\"")))?,
                loaded_at: row.text_or_null(3)?.and_then(time::parse_moment),
                rows: row.int_or_null(4)?.unwrap_or(0),
            })
        })
        .await
    }
}

impl Transaction {
    /// All staged files that a table has loaded, with what this transaction has loaded and forgotten.
    pub async fn loaded_files(&self, table: TableId) -> Result<Vec<LoadedFile>> {
        let forgotten = self.data.get(&table).is_some_and(|data| data.forget_loaded);
        let own: Vec<LoadedFile> = self.loaded.iter().filter(|file| file.table == table).cloned().collect();
        if forgotten || !self.base.tables.contains_key(&table) {
            return Ok(own);
        }
        let mut files = self.database.loaded_files(table).await?;
        files.retain(|file| own.iter().all(|own| own.path != file.path));
        files.extend(own);
        Ok(files)
    }

    /// Notes staged files as loaded. If another transaction loads one of them into the same table at the same time, the
    /// later commit is in conflict.
    pub fn add_loaded_files(&mut self, files: Vec<LoadedFile>) -> Result<()> {
        for file in files {
            self.draft.table_by_id(file.table)?;
            self.loaded.retain(|former| (former.table, &former.path) != (file.table, &file.path));
            self.loaded.push(file);
        }
        Ok(())
    }
}

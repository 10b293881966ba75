//! Tables over files that somebody else keeps, as the statements that declare them. They are part of no snapshot, and DuckDB
//! does not see them.

use crate::database::Database;
use crate::error::Result;
use crate::sql::Value;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalTable {
    pub schema: String,
    pub name: String,
    /// The statement, with full names and locations.
    pub definition: String,
}

const TABLE: &str = "frazil_external_table";

impl Database {
    pub async fn external_tables(&self) -> Result<Vec<ExternalTable>> {
        let mut tx = self.inner.sql.read().await?;
        let sql = format!("SELECT schema_name, table_name, definition FROM {TABLE} ORDER BY schema_name, table_name");
        tx.all("reading external tables", &sql, &[], |row| {
            Ok(ExternalTable {
                schema: row.text(0)?.to_owned(),
                name: row.text(1)?.to_owned(),
                definition: row.text(2)?.to_owned(),
            })
        })
        .await
    }

    /// In place of another of that name, if there is one.
    pub async fn put_external_table(&self, table: &ExternalTable) -> Result<()> {
        let mut tx = self.inner.sql.write(TABLE).await?;
        let doing = "keeping an external table";
        let names = [Value::text(&table.schema), Value::text(&table.name)];
        tx.execute(doing, &format!("DELETE FROM {TABLE} WHERE schema_name = $1 AND table_name = $2"), &names).await?;
        let row = vec![Value::text(&table.schema), Value::text(&table.name), Value::text(&table.definition)];
        tx.insert(doing, TABLE, "schema_name, table_name, definition", &[row]).await?;
        tx.commit().await
    }

    pub async fn remove_external_table(&self, schema: &str, name: &str) -> Result<()> {
        let mut tx = self.inner.sql.write(TABLE).await?;
        let sql = format!("DELETE FROM {TABLE} WHERE schema_name = $1 AND table_name = $2");
        tx.execute("forgetting an external table", &sql, &[Value::text(schema), Value::text(name)]).await?;
        tx.commit().await
    }
}

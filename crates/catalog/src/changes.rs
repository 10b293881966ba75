//! What a snapshot changed, as DuckLake's `changes_made` tells it, and which changes exclude each other.
//!
//! ```text
//!                    other: insert  delete  compact  alter  drop
//! mine: insert              -       -       -        X      X
//!       delete, remove      -       file    file     X      X
//!       alter               X       X       X        X      X
//!       drop                X       X       X        X      X
//! ```
//! `file`: only if both touched the same data file. Also in conflict: two creations under one name, a creation in a
//! schema that was dropped, and the drop of a schema in which something was created. DuckDB lets inserts and deletes of
//! one table conflict as well, and alterations not with inserts; both sides keep to their own rules.

use std::collections::BTreeSet;

use crate::error::{CatalogError, Result};
use crate::ids::{SchemaId, SnapshotId, TableId, ViewId};
use crate::sql::quote;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) created_schemas: BTreeSet<String>,
    pub(crate) dropped_schemas: BTreeSet<SchemaId>,
    /// Schema and name; renamed ones count as created, as DuckDB has it.
    pub(crate) created_tables: BTreeSet<(String, String)>,
    pub(crate) created_views: BTreeSet<(String, String)>,
    pub(crate) dropped_tables: BTreeSet<TableId>,
    pub(crate) dropped_views: BTreeSet<ViewId>,
    pub(crate) altered_tables: BTreeSet<TableId>,
    pub(crate) altered_views: BTreeSet<ViewId>,
    pub(crate) inserted: BTreeSet<TableId>,
    pub(crate) deleted: BTreeSet<TableId>,
    /// Files were replaced by others with the same rows.
    pub(crate) compacted: BTreeSet<TableId>,
    /// Of those, the tables whose past was rewritten too, as DuckDB does.
    pub(crate) rewritten: BTreeSet<TableId>,
}

impl Changes {
    /// Adds what a snapshot's `changes_made` lists.
    pub(crate) fn read(&mut self, text: &str) -> Result<()> {
        let malformed = || CatalogError::Corrupt(format!("the changes of a snapshot are \"{text}\""));
        for entry in split_unquoted(text, ',') {
            let (kind, value) = entry.split_once(':').ok_or_else(malformed)?;
            let number = || value.parse::<i64>().map_err(|_| malformed());
            let table = || number().map(TableId);
            let name = || {
                let mut parts = split_unquoted(value, '.').into_iter().map(unquote);
                Some((parts.next()?, parts.next()?))
            };
            match kind.to_ascii_lowercase().as_str() {
                "created_schema" => _ = self.created_schemas.insert(unquote(value)),
                "dropped_schema" => _ = self.dropped_schemas.insert(SchemaId(number()?)),
                "created_table" => _ = self.created_tables.insert(name().ok_or_else(malformed)?),
                "created_view" => _ = self.created_views.insert(name().ok_or_else(malformed)?),
                "dropped_table" => _ = self.dropped_tables.insert(table()?),
                "dropped_view" => _ = self.dropped_views.insert(ViewId(number()?)),
                "altered_table" => _ = self.altered_tables.insert(table()?),
                "altered_view" => _ = self.altered_views.insert(ViewId(number()?)),
                "inserted_into_table" | "inlined_insert" => _ = self.inserted.insert(table()?),
                "deleted_from_table" | "inlined_delete" => _ = self.deleted.insert(table()?),
                "compacted_table" => _ = self.compacted.insert(table()?),
                "merge_adjacent" | "rewrite_delete" | "flushed_inlined" | "inline_flush" => {
                    self.compacted.insert(table()?);
                    self.rewritten.insert(table()?);
                }
                // Macros, and what later versions bring.
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn to_text(&self) -> String {
        let mut entries = Vec::new();
        entries.extend(self.dropped_schemas.iter().map(|id| format!("dropped_schema:{id}")));
        entries.extend(self.dropped_tables.iter().map(|id| format!("dropped_table:{id}")));
        entries.extend(self.dropped_views.iter().map(|id| format!("dropped_view:{id}")));
        entries.extend(self.created_schemas.iter().map(|name| format!("created_schema:{}", quote(name))));
        let full = |kind: &str, (schema, name): &(String, String)| format!("{kind}:{}.{}", quote(schema), quote(name));
        entries.extend(self.created_tables.iter().map(|name| full("created_table", name)));
        entries.extend(self.created_views.iter().map(|name| full("created_view", name)));
        entries.extend(self.altered_tables.iter().map(|id| format!("altered_table:{id}")));
        entries.extend(self.altered_views.iter().map(|id| format!("altered_view:{id}")));
        entries.extend(self.inserted.iter().map(|id| format!("inserted_into_table:{id}")));
        entries.extend(self.deleted.iter().map(|id| format!("deleted_from_table:{id}")));
        entries.extend(self.compacted.iter().map(|id| format!("compacted_table:{id}")));
        entries.join(",")
    }

    pub(crate) fn files_changed(&self, table: TableId) -> bool {
        self.inserted.contains(&table)
            || self.deleted.contains(&table)
            || self.compacted.contains(&table)
            || self.dropped_tables.contains(&table)
            // Undropped: its files are there anew.
            || !self.created_tables.is_empty()
    }

    pub(crate) fn changes_schema(&self) -> bool {
        !(self.created_schemas.is_empty()
            && self.dropped_schemas.is_empty()
            && self.created_tables.is_empty()
            && self.created_views.is_empty()
            && self.dropped_tables.is_empty()
            && self.dropped_views.is_empty()
            && self.altered_tables.is_empty()
            && self.altered_views.is_empty())
    }

    /// Compares with what others committed since, up to `snapshot`. Files are compared where they are looked at, and
    /// names where they are written.
    pub(crate) fn check_against(
        &self,
        others: &Self,
        snapshot: SnapshotId,
        name: impl Fn(TableId) -> String,
    ) -> Result<()> {
        let conflict = |object: String, reason| Err(CatalogError::Conflict { object, reason, snapshot });
        let touched = |changes: &Self| -> BTreeSet<TableId> {
            [&changes.inserted, &changes.deleted, &changes.compacted].into_iter().flatten().copied().collect()
        };
        let shaped = |changes: &Self| -> BTreeSet<TableId> {
            changes.altered_tables.union(&changes.dropped_tables).copied().collect()
        };
        let (mine, theirs) = (touched(self), touched(others));
        for id in shaped(self) {
            if others.dropped_tables.contains(&id) {
                return conflict(name(id), "it was dropped");
            }
            if others.altered_tables.contains(&id) {
                return conflict(name(id), "it was altered");
            }
            if theirs.contains(&id) {
                return conflict(name(id), "its data were changed");
            }
        }
        for id in mine {
            if others.dropped_tables.contains(&id) {
                return conflict(name(id), "it was dropped");
            }
            if others.altered_tables.contains(&id) {
                return conflict(name(id), "it was altered");
            }
        }
        for id in self.dropped_views.union(&self.altered_views) {
            if others.dropped_views.contains(id) || others.altered_views.contains(id) {
                return conflict(format!("view #{id}"), "it was dropped or altered");
            }
        }
        if let Some(id) = self.dropped_schemas.intersection(&others.dropped_schemas).next() {
            return conflict(format!("schema #{id}"), "it was dropped");
        }
        if let Some(schema) = self.created_schemas.intersection(&others.created_schemas).next() {
            return conflict(format!("schema \"{schema}\""), "it was created");
        }
        let created = |changes: &Self| -> BTreeSet<(String, String)> {
            changes.created_tables.union(&changes.created_views).cloned().collect()
        };
        if let Some((schema, relation)) = created(self).intersection(&created(others)).next() {
            return conflict(format!("table or view \"{schema}.{relation}\""), "it was created");
        }
        Ok(())
    }
}

fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let parts = text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    });
    parts.filter(|part| !part.is_empty()).collect()
}

fn unquote(text: &str) -> String {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_the_round_trip() {
        let mut changes = Changes::default();
        changes.created_tables.insert(("main".to_owned(), "odd \"na,me\".x".to_owned()));
        changes.created_schemas.insert("s".to_owned());
        changes.inserted.insert(TableId(3));
        changes.deleted.insert(TableId(3));
        changes.compacted.insert(TableId(4));
        let text = changes.to_text();
        assert!(text.starts_with(r#"created_schema:"s",created_table:"main"."odd ""na,me"".x","#), "{text}");
        let mut read = Changes::default();
        read.read(&text).unwrap();
        assert_eq!(read, changes);
        read.read(r#"created_scalar_macro:"main"."mm",altered_table:7"#).unwrap();
        assert!(read.altered_tables.contains(&TableId(7)));
    }
}

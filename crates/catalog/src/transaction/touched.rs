//! What a transaction does to which object, for whoever decides whether it may.

use super::Transaction;
use crate::access::{ObjectId, ObjectKind};
use crate::ids::SchemaId;
use crate::model::Contents;

/// Something that a transaction does to one object. What it does to objects of its own making is not among it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    pub what: Touch,
    pub kind: ObjectKind,
    pub object: ObjectId,
    /// As messages call it.
    pub name: String,
    /// Of a table or view: where it is, or is to be.
    pub schema: Option<ObjectId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    Created,
    /// It was dropped, and is there again.
    Restored,
    Dropped,
    /// Its name, columns, defaults or keys; or its files are written anew.
    Altered,
    Inserted,
    /// Rows, or all of them.
    Deleted,
    /// All its rows are in a copy.
    Copied,
}

impl Transaction {
    /// What it does beyond another state of itself, which by default is its beginning.
    pub fn touched_since(&self, before: Option<&Self>) -> Vec<Touched> {
        let former: &Contents = before.map_or(&self.base.contents, |before| &before.draft);
        let mut found = self.contents_touched(former);
        for (id, data) in &self.data {
            // A created table's rows are its creator's.
            if id.is_local() || !former.tables.contains_key(id) {
                continue;
            }
            let Some(table) = self.draft.tables.get(id) else { continue };
            let then = before.and_then(|before| before.data.get(id)).cloned().unwrap_or_default();
            let had = |row: i64| then.added.iter().any(|known| known.id == row);
            let kept = |row: i64| data.added.iter().any(|known| known.id == row);
            let inserted = data.added.iter().any(|row| !had(row.id));
            let deleted = data.removed != then.removed
                || data.forget_loaded != then.forget_loaded
                || then.added.iter().any(|row| !kept(row.id))
                || data.deletes.len() != then.deletes.len()
                || data.deletes.iter().any(|(file, delete)| {
                    then.deletes.get(file).is_none_or(|known| known.delete_count != delete.delete_count)
                });
            let touches = match data.is_compaction {
                true => vec![(Touch::Altered, inserted || deleted)],
                false => vec![(Touch::Inserted, inserted), (Touch::Deleted, deleted)],
            };
            for (what, _) in touches.into_iter().filter(|(_, done)| *done) {
                found.push(self.of_relation(
                    what,
                    ObjectKind::Table,
                    &table.uuid,
                    &self.draft,
                    table.schema_id,
                    &table.name,
                ));
            }
        }
        let known = before.map_or(0, |before| before.copied.len());
        found.extend(self.copied.iter().skip(known).cloned());
        found
    }

    fn contents_touched(&self, former: &Contents) -> Vec<Touched> {
        let mut found = Vec::new();
        let schema = |what, uuid: &str, name: &str| Touched {
            what,
            kind: ObjectKind::Schema,
            object: ObjectId::within(self.database.id(), uuid),
            name: name.to_owned(),
            schema: None,
        };
        for (id, one) in &self.draft.schemas {
            if !former.schemas.contains_key(id) {
                found.push(schema(Touch::Created, &one.uuid, &one.name));
            }
        }
        for (id, one) in &former.schemas {
            if !id.is_local() && !self.draft.schemas.contains_key(id) {
                found.push(schema(Touch::Dropped, &one.uuid, &one.name));
            }
        }
        for (id, one) in &self.draft.tables {
            let what = match former.tables.get(id) {
                None if id.is_local() => Touch::Created,
                None => Touch::Restored,
                Some(then) if !id.is_local() && then != one => Touch::Altered,
                Some(_) => continue,
            };
            let kind = ObjectKind::Table;
            found.push(self.of_relation(what, kind, &one.uuid, &self.draft, one.schema_id, &one.name));
        }
        for (id, one) in &former.tables {
            if !id.is_local() && !self.draft.tables.contains_key(id) {
                let kind = ObjectKind::Table;
                found.push(self.of_relation(Touch::Dropped, kind, &one.uuid, former, one.schema_id, &one.name));
            }
        }
        for (id, one) in &self.draft.views {
            let what = match former.views.get(id) {
                None if id.is_local() => Touch::Created,
                None => Touch::Restored,
                Some(then) if !id.is_local() && then != one => Touch::Altered,
                Some(_) => continue,
            };
            let kind = ObjectKind::View;
            found.push(self.of_relation(what, kind, &one.uuid, &self.draft, one.schema_id, &one.name));
        }
        for (id, one) in &former.views {
            if !id.is_local() && !self.draft.views.contains_key(id) {
                let kind = ObjectKind::View;
                found.push(self.of_relation(Touch::Dropped, kind, &one.uuid, former, one.schema_id, &one.name));
            }
        }
        found
    }

    fn of_relation(
        &self,
        what: Touch,
        kind: ObjectKind,
        uuid: &str,
        contents: &Contents,
        schema: SchemaId,
        name: &str,
    ) -> Touched {
        let database = self.database.id();
        let parent = contents.schemas.get(&schema);
        let name = parent.map_or_else(|| name.to_owned(), |parent| format!("{}.{name}", parent.name));
        let schema = parent.map(|parent| ObjectId::within(database, &parent.uuid));
        Touched { what, kind, object: ObjectId::within(database, uuid), name, schema }
    }

    /// Whether its own schema is new, and so whoever creates something in it has created that as well.
    pub fn has_created_schema(&self, schema: &ObjectId) -> bool {
        self.draft
            .schemas
            .values()
            .any(|one| one.id.is_local() && ObjectId::within(self.database.id(), &one.uuid) == *schema)
    }
}

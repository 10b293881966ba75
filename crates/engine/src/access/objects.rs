//! From names to what privileges are granted on, among what one can see.

use frazil_catalog::{GrantedObject, ObjectId, ObjectKind, Relation, Schema};
use frazil_common::{ErrorCode, Failure};

use super::statement::GrantTarget;
use crate::lake::{Lakes, Seen, to_failure};

/// Where names are looked up.
pub struct Objects<'a> {
    pub lakes: &'a Lakes,
    pub database: &'a str,
    pub schema: &'a str,
}

/// An object with what it is called.
pub struct NamedObject {
    pub object: GrantedObject,
    /// `database`, `database.schema` or `database.schema.name`.
    pub name: String,
}

impl Objects<'_> {
    pub async fn find(&self, target: &GrantTarget) -> Result<Vec<NamedObject>, Failure> {
        match target {
            GrantTarget::One { kind, name } => self.one(*kind, name).await.map(|one| vec![one]),
            GrantTarget::All { kind, within, name } => {
                let (seen, schemas) = match within {
                    ObjectKind::Schema => {
                        let (seen, schema) = self.schema(name)?;
                        (seen, vec![schema])
                    }
                    _ => {
                        let seen = self.database(name)?;
                        let all = seen.view.schemas().map(AsRef::as_ref);
                        (seen, all.filter(|schema| self.lakes.sees_schema(seen, schema)).collect())
                    }
                };
                let mut found = Vec::new();
                for schema in schemas {
                    if *kind == ObjectKind::Schema {
                        found.push(named_schema(seen, schema));
                    } else {
                        found.extend(self.all_in(seen, schema, *kind).await?);
                    }
                }
                Ok(found)
            }
        }
    }

    pub async fn one(&self, kind: ObjectKind, name: &[String]) -> Result<NamedObject, Failure> {
        if kind == ObjectKind::Database {
            let seen = self.database(name)?;
            let id = ObjectId::database(seen.database.id());
            return Ok(NamedObject { object: GrantedObject { kind, id }, name: seen.database.name().to_owned() });
        }
        if kind == ObjectKind::Schema {
            let (seen, schema) = self.schema(name)?;
            return Ok(named_schema(seen, schema));
        }
        let Some((last, parents)) = name.split_last() else { return Err(too_many(name)) };
        let (seen, schema) = match parents {
            [] => self.schema(&[self.schema.to_owned()])?,
            parents => self.schema(parents)?,
        };
        let all = self.all_in(seen, schema, kind).await?;
        let full = full_name(seen, schema, last);
        let found = all.into_iter().find(|one| one.name == full);
        found.ok_or_else(|| {
            let lower = kind.name().to_lowercase();
            Failure::new(ErrorCode::UndefinedObject, format!("{lower} \"{}.{last}\" not found", schema.name))
        })
    }

    /// All that can be seen of a kind.
    async fn all_in(&self, seen: &Seen, schema: &Schema, kind: ObjectKind) -> Result<Vec<NamedObject>, Failure> {
        let database = seen.database.id();
        let mut found: Vec<(ObjectId, String)> = Vec::new();
        match kind {
            ObjectKind::Table | ObjectKind::View => {
                for (name, relation) in seen.view.relations(schema.id) {
                    let uuid = match relation {
                        Relation::Table(id) if kind == ObjectKind::Table => {
                            &seen.view.table_by_id(id).map_err(|error| to_failure(&error))?.uuid
                        }
                        Relation::View(id) if kind == ObjectKind::View => {
                            &seen.view.view_by_id(id).map_err(|error| to_failure(&error))?.uuid
                        }
                        _ => continue,
                    };
                    found.push((ObjectId::within(database, uuid), name.to_owned()));
                }
                if kind == ObjectKind::Table {
                    let external = self.lakes.external().names(seen.database.name(), &schema.name);
                    let id = |name: &str| ObjectId::external(database, &schema.uuid, name);
                    found.extend(external.into_iter().map(|name| (id(&name), name)));
                }
            }
            ObjectKind::Stage => {
                let stages = seen.database.stages().await.map_err(|error| to_failure(&error))?;
                let here = stages.into_iter().filter(|stage| stage.schema == schema.id);
                found.extend(here.map(|stage| (ObjectId::within(database, &stage.id.to_string()), stage.name)));
            }
            ObjectKind::Database | ObjectKind::Schema => {}
        }
        found.retain(|(id, _)| self.lakes.rights().may_see(id));
        found.sort_by(|(_, a), (_, b)| a.cmp(b));
        let named = |(id, name): (ObjectId, String)| NamedObject {
            object: GrantedObject { kind, id },
            name: full_name(seen, schema, &name),
        };
        Ok(found.into_iter().map(named).collect())
    }

    fn database(&self, name: &[String]) -> Result<&Seen, Failure> {
        let [database] = name else { return Err(too_many(name)) };
        self.lakes
            .get(database)
            .ok_or_else(|| Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{database}\" not found")))
    }

    fn schema(&self, name: &[String]) -> Result<(&Seen, &Schema), Failure> {
        let (seen, schema) = match name {
            [schema] => (self.database(&[self.database.to_owned()])?, schema),
            [database, schema] => (self.database(std::slice::from_ref(database))?, schema),
            _ => return Err(too_many(name)),
        };
        let found = seen.view.schema(schema).ok().filter(|schema| self.lakes.sees_schema(seen, schema));
        let undefined = || Failure::new(ErrorCode::UndefinedSchema, format!("schema \"{schema}\" not found"));
        found.map(|found| (seen, found.as_ref())).ok_or_else(undefined)
    }
}

fn named_schema(seen: &Seen, schema: &Schema) -> NamedObject {
    let id = ObjectId::within(seen.database.id(), &schema.uuid);
    let object = GrantedObject { kind: ObjectKind::Schema, id };
    NamedObject { object, name: format!("{}.{}", seen.database.name(), schema.name) }
}

fn full_name(seen: &Seen, schema: &Schema, name: &str) -> String {
    format!("{}.{}.{name}", seen.database.name(), schema.name)
}

fn too_many(name: &[String]) -> Failure {
    Failure::new(ErrorCode::Syntax, format!("name \"{}\" has too many parts", name.join(".")))
}

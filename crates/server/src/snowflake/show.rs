//! `SHOW` and `DESCRIBE` as clients of Snowflake send them, as queries of `information_schema` with Snowflake's columns.
//!
//! Names there are shown as Snowflake shows them, and so compared with what the client has read before. Columns of these answers are
//! lower case, which is written upper case and quoted here (see [`NameCase`](frazil_common::NameCase)).

use frazil_common::{ErrorCode, Failure, NameCase};

use super::parameters::Parameters;
use super::reader::Reader;
use super::text::literal;

/// The planner's SQL, or `None` for what it reads by itself.
pub fn plan(sql: &str, parameters: &Parameters) -> Result<Option<String>, Failure> {
    let mut reader = Reader::new(sql);
    if reader.word("DESC") || reader.word("DESCRIBE") {
        return describe(&mut reader).map(Some);
    }
    reader.expect("SHOW")?;
    reader.word("TERSE");
    let Some(listing) = Listing::of(&mut reader) else { return Ok(None) };
    reader.word("HISTORY");
    let clauses = Clauses::read(&mut reader)?;
    listing.query(&clauses, parameters).map(Some)
}

/// `DESC TABLE x TYPE = COLUMNS`.
fn describe(reader: &mut Reader<'_>) -> Result<String, Failure> {
    let _ = reader.word("TABLE") || reader.word("VIEW");
    let name = reader.name()?;
    if reader.word("TYPE") {
        reader.symbol("=")?;
        reader.expect("COLUMNS")?;
    }
    reader.end()?;
    Ok(format!("DESCRIBE {}", quoted(&name)))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listing {
    Tables,
    Views,
    Objects,
    Schemas,
    Databases,
    Columns,
    Keys,
    ForeignKeys,
    Indexes,
    Sequences,
    Warehouses,
    Parameters,
}

impl Listing {
    fn of(reader: &mut Reader<'_>) -> Option<Self> {
        let words: [(&[&str], Self); 14] = [
            (&["TABLES"], Self::Tables),
            (&["VIEWS"], Self::Views),
            (&["OBJECTS"], Self::Objects),
            (&["SCHEMAS"], Self::Schemas),
            (&["DATABASES"], Self::Databases),
            (&["COLUMNS"], Self::Columns),
            (&["PRIMARY", "KEYS"], Self::Keys),
            (&["UNIQUE", "KEYS"], Self::Keys),
            (&["IMPORTED", "KEYS"], Self::ForeignKeys),
            (&["EXPORTED", "KEYS"], Self::ForeignKeys),
            (&["INDEXES"], Self::Indexes),
            (&["SEQUENCES"], Self::Sequences),
            (&["WAREHOUSES"], Self::Warehouses),
            (&["PARAMETERS"], Self::Parameters),
        ];
        words.into_iter().find(|(words, _)| reader.words(words)).map(|(_, listing)| listing)
    }

    fn query(self, clauses: &Clauses, parameters: &Parameters) -> Result<String, Failure> {
        let none = "CAST(NULL AS TIMESTAMP)";
        let text = "CAST(NULL AS VARCHAR)";
        match self {
            Self::Tables | Self::Views | Self::Objects => {
                let wanted = match self {
                    Self::Tables => "table_type <> 'VIEW'",
                    Self::Views => "table_type = 'VIEW'",
                    _ => "TRUE",
                };
                let definition = match self {
                    Self::Views => "view_definition",
                    _ => text,
                };
                let (database, schema) = clauses.database_and_schema(true)?;
                let from = match self {
                    Self::Views => format!(
                        "(SELECT table_catalog, table_schema, table_name, 'VIEW' AS table_type, view_definition \
                         FROM {0}information_schema.views) AS shown",
                        prefix(&database)
                    ),
                    _ => format!("{0}information_schema.tables", prefix(&database)),
                };
                let mut conditions = vec![wanted.to_owned()];
                match schema {
                    Some(Place::Named(schema)) => conditions.push(format!("table_schema = {}", literal(&schema))),
                    Some(Place::Current) => conditions.push("table_schema = current_schema()".to_owned()),
                    None => conditions.push("table_schema <> 'INFORMATION_SCHEMA'".to_owned()),
                }
                let kind = "CASE WHEN table_type = 'VIEW' THEN 'VIEW' WHEN table_type = 'EXTERNAL TABLE' THEN 'EXTERNAL' ELSE 'TABLE' END";
                let columns = [
                    (none, "created_on"),
                    ("table_name", "name"),
                    ("table_catalog", "database_name"),
                    ("table_schema", "schema_name"),
                    (kind, "kind"),
                    ("''", "comment"),
                    ("''", "cluster_by"),
                    ("CAST(NULL AS BIGINT)", "rows"),
                    ("CAST(NULL AS BIGINT)", "bytes"),
                    ("''", "owner"),
                    ("'1'", "retention_time"),
                    (definition, "text"),
                    ("'false'", "is_secure"),
                    ("'false'", "is_materialized"),
                    ("'N'", "is_external"),
                    ("'N'", "is_dynamic"),
                    ("'N'", "is_iceberg"),
                    ("'N'", "is_hybrid"),
                ];
                Ok(clauses.select(&columns, &from, conditions, "table_name", "table_schema, table_name"))
            }
            Self::Schemas => {
                let (database, _) = clauses.database_and_schema(false)?;
                let columns = [
                    (none, "created_on"),
                    ("schema_name", "name"),
                    ("'N'", "is_default"),
                    ("CASE WHEN schema_name = current_schema() THEN 'Y' ELSE 'N' END", "is_current"),
                    ("catalog_name", "database_name"),
                    ("''", "owner"),
                    ("''", "comment"),
                    ("''", "options"),
                    ("'1'", "retention_time"),
                ];
                let from = format!("{}information_schema.schemata", prefix(&database));
                Ok(clauses.select(&columns, &from, vec![], "schema_name", "schema_name"))
            }
            Self::Databases => {
                clauses.only_like()?;
                Ok(match &clauses.like {
                    Some(pattern) => format!("SHOW DATABASES ILIKE {}", literal(pattern)),
                    None => "SHOW DATABASES".to_owned(),
                })
            }
            Self::Columns => {
                let (database, schema, table) = clauses.table()?;
                let mut conditions = vec!["table_schema <> 'INFORMATION_SCHEMA'".to_owned()];
                match schema {
                    Some(Place::Named(schema)) => conditions.push(format!("table_schema = {}", literal(&schema))),
                    Some(Place::Current) => conditions.push("table_schema = current_schema()".to_owned()),
                    None => {}
                }
                conditions.extend(table.map(|table| format!("table_name = {}", literal(&table))));
                let data_type = "'{\"type\":\"' || data_type || '\",\"nullable\":' || CASE WHEN is_nullable = 'YES' THEN 'true' ELSE 'false' END || '}'";
                let columns = [
                    ("table_name", "table_name"),
                    ("table_schema", "schema_name"),
                    ("column_name", "column_name"),
                    (data_type, "data_type"),
                    ("is_nullable", "null?"),
                    ("coalesce(column_default, '')", "default"),
                    ("'COLUMN'", "kind"),
                    ("''", "expression"),
                    ("''", "comment"),
                    ("table_catalog", "database_name"),
                    ("''", "autoincrement"),
                ];
                let from = format!("{}information_schema.columns", prefix(&database));
                Ok(clauses.select(
                    &columns,
                    &from,
                    conditions,
                    "column_name",
                    "table_schema, table_name, ordinal_position",
                ))
            }
            // Nobody keeps keys, indexes or sequences.
            Self::Keys => Ok(nothing(&[
                "created_on",
                "database_name",
                "schema_name",
                "table_name",
                "column_name",
                "key_sequence",
                "constraint_name",
                "rely",
                "comment",
            ])),
            Self::ForeignKeys => Ok(nothing(&[
                "created_on",
                "pk_database_name",
                "pk_schema_name",
                "pk_table_name",
                "pk_column_name",
                "fk_database_name",
                "fk_schema_name",
                "fk_table_name",
                "fk_column_name",
                "key_sequence",
                "update_rule",
                "delete_rule",
                "fk_name",
                "pk_name",
                "deferrability",
                "rely",
                "comment",
            ])),
            Self::Indexes => Ok(nothing(&[
                "created_on",
                "name",
                "is_unique",
                "columns",
                "included_columns",
                "table",
                "database_name",
                "schema_name",
                "owner",
                "owner_role_type",
            ])),
            Self::Sequences => Ok(nothing(&[
                "name",
                "database_name",
                "schema_name",
                "next_value",
                "interval",
                "created_on",
                "owner",
                "comment",
                "owner_role_type",
                "ordered",
            ])),
            Self::Warehouses => {
                let columns = [
                    ("name", "name"),
                    ("'STARTED'", "state"),
                    ("'STANDARD'", "type"),
                    ("'X-Small'", "size"),
                    ("'Y'", "is_current"),
                ];
                let from = "(SELECT coalesce(current_warehouse(), 'FRAZIL') AS name) AS shown";
                Ok(clauses.select(&columns, from, vec![], "name", "name"))
            }
            Self::Parameters => {
                let values = parameters.list().into_iter().map(|parameter| {
                    let (value, kind) = match &parameter.value {
                        serde_json::Value::String(text) => (text.clone(), "STRING"),
                        serde_json::Value::Bool(truth) => (truth.to_string(), "BOOLEAN"),
                        other => (other.to_string(), "NUMBER"),
                    };
                    format!("({}, {}, {})", literal(&parameter.name), literal(&value), literal(kind))
                });
                let values = values.collect::<Vec<_>>().join(", ");
                let columns = [
                    ("column1", "key"),
                    ("column2", "value"),
                    ("''", "default"),
                    ("'SESSION'", "level"),
                    ("''", "description"),
                    ("column3", "type"),
                ];
                let from = format!("(VALUES {values}) AS shown");
                Ok(clauses.select(&columns, &from, vec![], "column1", "column1"))
            }
        }
    }
}

fn nothing(columns: &[&str]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|name| format!("CAST(NULL AS VARCHAR) AS {}", shown_as(name))).collect();
    format!("SELECT {} WHERE FALSE", columns.join(", "))
}

/// A column's name that is shown as it is given.
fn shown_as(name: &str) -> String {
    quoted(&[NameCase::Upper.kept(name).into_owned()])
}

fn quoted(parts: &[String]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}

fn prefix(database: &Option<String>) -> String {
    database.as_ref().map(|database| format!("{}.", quoted(std::slice::from_ref(database)))).unwrap_or_default()
}

/// A schema, as its name is shown.
enum Place {
    Current,
    Named(String),
}

/// What a listing may be narrowed by.
#[derive(Default)]
struct Clauses {
    like: Option<String>,
    starts_with: Option<String>,
    /// The kind of what it is in, and its kept name.
    within: Option<(Option<&'static str>, Vec<String>)>,
    limit: Option<u64>,
    from: Option<String>,
}

/// Where to look for columns: a kept database, a schema's and a table's shown names.
type Columns = (Option<String>, Option<Place>, Option<String>);

impl Clauses {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Failure> {
        let mut clauses = Self::default();
        loop {
            if reader.word("LIKE") {
                clauses.like = Some(reader.literal()?);
            } else if reader.word("STARTS") {
                reader.expect("WITH")?;
                clauses.starts_with = Some(reader.literal()?);
            } else if reader.word("IN") || reader.word("FOR") {
                let kinds = ["ACCOUNT", "SESSION", "DATABASE", "SCHEMA", "TABLE", "VIEW", "USER"];
                let kind = kinds.into_iter().find(|kind| reader.word(kind));
                let name = if reader.at_name() { reader.name()? } else { Vec::new() };
                clauses.within = Some((kind, name));
            } else if reader.word("LIMIT") {
                let limit = reader.take().map(|(_, number)| number.parse()).transpose();
                let wrong = |_| Failure::new(ErrorCode::Syntax, "LIMIT takes a number");
                clauses.limit = limit.map_err(wrong)?;
                if reader.word("FROM") {
                    clauses.from = Some(reader.literal()?);
                }
            } else {
                reader.end()?;
                return Ok(clauses);
            }
        }
    }

    fn only_like(&self) -> Result<(), Failure> {
        match self.starts_with.is_some()
            || self.from.is_some()
            || self.within.as_ref().is_some_and(|(kind, _)| *kind != Some("ACCOUNT"))
        {
            true => Err(Failure::new(ErrorCode::NotSupported, "this SHOW takes LIKE alone")),
            false => Ok(()),
        }
    }

    /// Where to look: a kept database, and a schema's shown name. `schemas`: whether a bare name is a schema's.
    fn database_and_schema(&self, schemas: bool) -> Result<(Option<String>, Option<Place>), Failure> {
        let shown = |name: &String| Place::Named(NameCase::Upper.shown(name).into_owned());
        let Some((kind, name)) = &self.within else {
            return Ok((None, schemas.then_some(Place::Current)));
        };
        match (*kind, name.as_slice()) {
            (Some("DATABASE"), []) => Ok((None, None)),
            (Some("DATABASE"), [database]) => Ok((Some(database.clone()), None)),
            (Some("SCHEMA"), []) => Ok((None, Some(Place::Current))),
            (None | Some("SCHEMA"), [schema]) if schemas => Ok((None, Some(shown(schema)))),
            (None, [database]) => Ok((Some(database.clone()), None)),
            (None | Some("SCHEMA"), [database, schema]) if schemas => Ok((Some(database.clone()), Some(shown(schema)))),
            (Some("ACCOUNT"), _) => {
                let message = "SHOW … IN ACCOUNT is not supported: name a database";
                Err(Failure::new(ErrorCode::NotSupported, message))
            }
            _ => Err(Failure::new(ErrorCode::Syntax, "SHOW … IN takes a database's or schema's name")),
        }
    }

    fn table(&self) -> Result<Columns, Failure> {
        let shown = |name: &String| NameCase::Upper.shown(name).into_owned();
        match &self.within {
            Some((None | Some("TABLE" | "VIEW"), name)) => match name.as_slice() {
                [table] => Ok((None, Some(Place::Current), Some(shown(table)))),
                [schema, table] => Ok((None, Some(Place::Named(shown(schema))), Some(shown(table)))),
                [database, schema, table] => {
                    Ok((Some(database.clone()), Some(Place::Named(shown(schema))), Some(shown(table))))
                }
                _ => Err(Failure::new(ErrorCode::Syntax, "SHOW COLUMNS IN takes a table's name")),
            },
            _ => self.database_and_schema(true).map(|(database, schema)| (database, schema, None)),
        }
    }

    fn select(
        &self,
        columns: &[(&str, &str)],
        from: &str,
        mut conditions: Vec<String>,
        name: &str,
        order: &str,
    ) -> String {
        // Snowflake's SHOW compares patterns without case.
        conditions.extend(self.like.as_ref().map(|pattern| format!("{name} ILIKE {}", literal(pattern))));
        conditions.extend(self.starts_with.as_ref().map(|start| format!("starts_with({name}, {})", literal(start))));
        conditions.extend(self.from.as_ref().map(|from| format!("{name} > {}", literal(from))));
        let columns: Vec<String> = columns.iter().map(|(sql, name)| format!("{sql} AS {}", shown_as(name))).collect();
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        // Pages are cut by name.
        let order = if self.limit.is_some() { name } else { order };
        let limit = self.limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        format!("SELECT {} FROM {from}{conditions} ORDER BY {order}{limit}", columns.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(sql: &str) -> String {
        plan(sql, &Parameters::default()).unwrap().unwrap_or_default()
    }

    #[test]
    fn what_clients_send_is_a_query() {
        assert_eq!(planned("DESC /* c */ TABLE \"S\".\"Orders\" TYPE = COLUMNS"), "DESCRIBE \"s\".\"Orders\"");
        assert_eq!(planned("describe view v;"), "DESCRIBE \"v\"");
        let tables = planned("SHOW /* sqlalchemy:x */ TABLES LIKE 'ord%' IN SCHEMA \"D\".\"PUBLIC\" LIMIT 10 FROM 'A'");
        assert!(tables.contains("FROM \"d\".information_schema.tables WHERE table_type <> 'VIEW'"), "{tables}");
        assert!(
            tables.contains("table_schema = 'PUBLIC' AND table_name ILIKE 'ord%' AND table_name > 'A'"),
            "{tables}"
        );
        assert!(tables.ends_with("ORDER BY table_name LIMIT 10"), "{tables}");
        assert!(tables.contains("table_name AS \"NAME\""), "{tables}");
        assert!(planned("SHOW PRIMARY KEYS IN TABLE \"a\".\"b\"").ends_with("WHERE FALSE"));
        assert!(planned("show terse schemas in database d").contains("\"d\".information_schema.schemata"));
        assert_eq!(planned("SHOW DATABASES LIKE 'x'"), "SHOW DATABASES ILIKE 'x'");
        assert_eq!(planned("SHOW SNAPSHOTS"), "");
        for bad in ["SHOW TABLES IN ACCOUNT", "SHOW TABLES LIKE x", "DESC TABLE", "SHOW TABLES LIMIT x"] {
            assert!(plan(bad, &Parameters::default()).is_err(), "{bad}");
        }
    }
}

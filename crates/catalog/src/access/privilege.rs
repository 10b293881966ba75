//! What a role may do to an object, and how both are called.

use std::fmt;

use uuid::Uuid;

/// A kind of object that privileges can be granted on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ObjectKind {
    Database,
    Schema,
    Table,
    View,
    Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Privilege {
    /// All of the others, dropping and changing the object, and granting on it. One role has it.
    Ownership,
    /// Of a database or schema: to name what is in it.
    Usage,
    CreateSchema,
    CreateTable,
    CreateView,
    CreateStage,
    Select,
    Insert,
    Update,
    Delete,
    /// Of a stage's files.
    Read,
    Write,
}

impl ObjectKind {
    const ALL: [Self; 5] = [Self::Database, Self::Schema, Self::Table, Self::View, Self::Stage];

    /// What can be granted on it, beside ownership.
    pub fn privileges(self) -> &'static [Privilege] {
        match self {
            Self::Database => &[Privilege::Usage, Privilege::CreateSchema],
            Self::Schema => &[Privilege::Usage, Privilege::CreateTable, Privilege::CreateView, Privilege::CreateStage],
            Self::Table => &[Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete],
            Self::View => &[Privilege::Select],
            Self::Stage => &[Privilege::Read, Privilege::Write],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "DATABASE",
            Self::Schema => "SCHEMA",
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::Stage => "STAGE",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

impl Privilege {
    const ALL: [Self; 12] = [
        Self::Ownership,
        Self::Usage,
        Self::CreateSchema,
        Self::CreateTable,
        Self::CreateView,
        Self::CreateStage,
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Read,
        Self::Write,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ownership => "OWNERSHIP",
            Self::Usage => "USAGE",
            Self::CreateSchema => "CREATE SCHEMA",
            Self::CreateTable => "CREATE TABLE",
            Self::CreateView => "CREATE VIEW",
            Self::CreateStage => "CREATE STAGE",
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Read => "READ",
            Self::Write => "WRITE",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.name().eq_ignore_ascii_case(name))
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of privileges on one object.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Privileges(u16);

impl Privileges {
    pub fn add(&mut self, privilege: Privilege) {
        self.0 |= privilege.bit();
    }

    /// The owner has all of them.
    pub fn has(self, privilege: Privilege) -> bool {
        self.0 & (privilege.bit() | Privilege::Ownership.bit()) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What privileges are granted on: this object, and not whatever else gets its name later.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectId(String);

impl ObjectId {
    pub fn database(database: Uuid) -> Self {
        Self(database.to_string())
    }

    /// A schema, table, view or stage, by its own id.
    pub fn within(database: Uuid, uuid: &str) -> Self {
        Self(format!("{database}/{uuid}"))
    }

    /// An external table has no id but its name.
    pub fn external(database: Uuid, schema_uuid: &str, name: &str) -> Self {
        Self(format!("{database}/{schema_uuid}/{name}"))
    }

    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

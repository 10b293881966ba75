//! Newtypes for what DuckLake numbers. Schemas, tables and views share one counter of the lake, data and delete files
//! another; columns (field ids) are numbered within their table.

use std::fmt;

/// Ids that a transaction gives to what it creates, until its commit draws the real ones. DuckDB does the same.
pub(crate) const LOCAL_IDS: i64 = 1 << 62;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(pub i64);

        impl $name {
            /// Whether this id is known to its transaction only.
            pub fn is_local(self) -> bool {
                self.0 >= LOCAL_IDS
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A commit; dense and ascending within a database.
    SnapshotId
);
number!(SchemaId);
number!(
    /// Kept by a table through renames and undrops.
    TableId
);
number!(ViewId);
number!(
    /// The field id of a column, as Parquet files carry it.
    ColumnId
);
number!(DataFileId);
number!(DeleteFileId);

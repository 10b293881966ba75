//! Nested values of a file as the table's type, where fields of structs have been renamed, added or dropped since. It runs where the
//! file is read, and never travels.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use super::nested_types::with_fields_of;

#[derive(Debug, Clone, Eq, Hash)]
pub(super) struct Retyped {
    pub inner: Arc<dyn PhysicalExpr>,
    /// The file's type under the table's names.
    pub named: DataType,
    pub wanted: DataType,
}

// Derived, it would move the expression.
impl PartialEq for Retyped {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && self.named == other.named && self.wanted == other.wanted
    }
}

impl fmt::Display for Retyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RETYPED({} AS {})", self.inner, self.wanted)
    }
}

impl PhysicalExpr for Retyped {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.wanted.clone())
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.inner.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(with_fields_of(&values, &self.named, &self.wanted)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { inner: children.remove(0), named: self.named.clone(), wanted: self.wanted.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

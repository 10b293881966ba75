//! Columns of data files are found by their field ids: a file that is older than a renaming has the old name, and one that is older
//! than a dropped column may have the name of a later one.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use frazil_catalog::FIELD_ID_KEY;

use super::columns::{INITIAL_DEFAULT_KEY, LAKE_COLUMN_KEY};
use super::places::is_virtual;
use super::table::default_value;

/// For tables of the catalog; `None` for others. It does not travel with a plan: whoever decodes a scan asks again.
pub fn adapter_for(schema: &Schema) -> Option<Arc<dyn PhysicalExprAdapterFactory>> {
    let ours = |field: &Field| field.metadata().contains_key(LAKE_COLUMN_KEY) && field_id(field).is_some();
    let numbered = !schema.fields().is_empty() && schema.fields().iter().all(|field| ours(field));
    numbered.then(|| Arc::new(ByFieldId) as _)
}

fn field_id(field: &Field) -> Option<&str> {
    field.metadata().get(FIELD_ID_KEY).map(String::as_str)
}

#[derive(Debug)]
struct ByFieldId;

impl PhysicalExprAdapterFactory for ByFieldId {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        // A file that names no ids at all was written by hand: names are all there is.
        let numbered = file.fields().iter().any(|field| field_id(field).is_some());
        let renamed = match numbered {
            true => Arc::new(with_names_of(&table, &file)),
            false => file.clone(),
        };
        let by_name = DefaultPhysicalExprAdapterFactory.create(table.clone(), renamed.clone())?;
        Ok(Arc::new(Adapter { table, renamed, file, by_name }))
    }
}

/// The file's fields under the names that the table's columns of the same id have today.
fn with_names_of(table: &Schema, file: &Schema) -> Schema {
    let renamed = file.fields().iter().enumerate().map(|(index, field)| {
        let id = field_id(field);
        let column = table.fields().iter().find(|column| id.is_some() && field_id(column) == id);
        let name = match column {
            Some(column) => column.name().clone(),
            // Not in the file: the reader makes it.
            None if is_virtual(field) => field.name().clone(),
            // Not a column of the table any more, whatever its name.
            None => format!("\u{0}{index}"),
        };
        field.as_ref().clone().with_name(name)
    });
    Schema::new_with_metadata(renamed.collect::<Vec<_>>(), file.metadata().clone())
}

#[derive(Debug)]
struct Adapter {
    table: SchemaRef,
    renamed: SchemaRef,
    file: SchemaRef,
    by_name: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let filled = expression.transform_up(|node| self.fill(node)).data()?;
        let by_name = self.by_name.rewrite(filled)?;
        // Readers look columns up by the file's own names.
        by_name
            .transform_up(|node| {
                let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
                let Some(field) = self.file.fields().get(column.index()) else { return Ok(Transformed::no(node)) };
                let own: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), column.index()));
                Ok(Transformed::yes(own))
            })
            .data()
    }
}

impl Adapter {
    /// A column that the file is older than has its default there.
    fn fill(&self, node: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        if self.renamed.index_of(column.name()).is_ok() {
            return Ok(Transformed::no(node));
        }
        let Ok(field) = self.table.field_with_name(column.name()) else { return Ok(Transformed::no(node)) };
        let Some(text) = field.metadata().get(INITIAL_DEFAULT_KEY) else { return Ok(Transformed::no(node)) };
        let literal: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(default_value(text, field.data_type())?));
        Ok(Transformed::yes(literal))
    }
}

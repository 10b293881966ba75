//! Columns of data files are found by their field ids: a file that is older than a renaming has the old name, and one that is older
//! than a dropped column may have the name of a later one. So are the fields of structs, in whatever they are nested.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use frazil_catalog::FIELD_ID_KEY;

use super::columns::{INITIAL_DEFAULT_KEY, LAKE_COLUMN_KEY};
use super::nested_types::as_stored;
use super::places::is_virtual;
use super::retyped::Retyped;
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
        let (renamed, inner) = match numbered {
            true => with_names_of(&table, &file)?,
            false => (file.as_ref().clone(), vec![None; file.fields().len()]),
        };
        let renamed = Arc::new(renamed);
        let by_name = DefaultPhysicalExprAdapterFactory.create(table.clone(), renamed.clone())?;
        Ok(Arc::new(Adapter { table, renamed, inner, file, by_name }))
    }
}

/// The file's fields under the names that the table's columns of the same id have today. Where a cast would not find its way inside of
/// a column, its type is the table's, and the second value has the file's under the table's names.
fn with_names_of(table: &Schema, file: &Schema) -> Result<(Schema, Vec<Option<DataType>>)> {
    let mut inner = Vec::with_capacity(file.fields().len());
    let renamed = file.fields().iter().enumerate().map(|(index, field)| {
        let id = field_id(field);
        let column = table.fields().iter().find(|column| id.is_some() && field_id(column) == id);
        let Some(column) = column else {
            inner.push(None);
            return Ok(match is_virtual(field) {
                // Not in the file: the reader makes it.
                true => field.as_ref().clone(),
                // Not a column of the table any more, whatever its name.
                false => field.as_ref().clone().with_name(gone(index)),
            });
        };
        let stored = as_stored(column)?;
        let named = named_inside(field.data_type(), stored.data_type())?;
        let differs = named != *field.data_type() || !casts_by_name(&named, stored.data_type(), false);
        inner.push(differs.then_some(named));
        Ok(match differs {
            true => column.as_ref().clone(),
            false => field.as_ref().clone().with_name(column.name()),
        })
    });
    let renamed = renamed.collect::<Result<Vec<_>>>()?;
    Ok((Schema::new_with_metadata(renamed, file.metadata().clone()), inner))
}

/// A name that no column has.
fn gone(index: usize) -> String {
    format!("\u{0}{index}")
}

/// A file's type with the table's names of the fields of structs.
fn named_inside(file: &DataType, stored: &DataType) -> Result<DataType> {
    let inner = |file: &Arc<Field>, stored: &Field| -> Result<Arc<Field>> {
        let data_type = named_inside(file.data_type(), stored.data_type())?;
        Ok(Arc::new(file.as_ref().clone().with_data_type(data_type)))
    };
    Ok(match (file, stored) {
        (DataType::List(file), DataType::List(stored)) => DataType::List(inner(file, stored)?),
        (DataType::Map(file, sorted), DataType::Map(stored, _)) => {
            let (DataType::Struct(parts), DataType::Struct(stored)) = (file.data_type(), stored.data_type()) else {
                return Ok(DataType::Map(file.clone(), *sorted));
            };
            let parts = parts.iter().zip(stored).map(|(part, stored)| inner(part, stored));
            let parts = DataType::Struct(parts.collect::<Result<_>>()?);
            DataType::Map(Arc::new(file.as_ref().clone().with_data_type(parts)), *sorted)
        }
        (DataType::Struct(fields), DataType::Struct(stored))
            if fields.iter().any(|field| field_id(field).is_some()) =>
        {
            let fields = fields.iter().enumerate().map(|(index, field)| {
                let found = stored.iter().find(|stored| field_id(stored) == field_id(field));
                Ok(match found {
                    Some(stored) => Arc::new(inner(field, stored)?.as_ref().clone().with_name(stored.name())),
                    None if stored.iter().any(|stored| stored.name() == field.name()) => {
                        Arc::new(field.as_ref().clone().with_name(gone(index)))
                    }
                    // Nobody asks for it.
                    None => field.clone(),
                })
            });
            DataType::Struct(fields.collect::<Result<_>>()?)
        }
        _ => file.clone(),
    })
}

/// Whether DataFusion's casts take the file's fields for the table's of the same name. What is within maps they take by its place,
/// and structs without a common field they refuse.
fn casts_by_name(file: &DataType, stored: &DataType, in_map: bool) -> bool {
    match (file, stored) {
        (DataType::List(file), DataType::List(stored)) => casts_by_name(file.data_type(), stored.data_type(), in_map),
        (DataType::Map(file, _), DataType::Map(stored, _)) => match (file.data_type(), stored.data_type()) {
            (DataType::Struct(file), DataType::Struct(stored)) => {
                let mut parts = file.iter().zip(stored);
                parts.all(|(file, stored)| casts_by_name(file.data_type(), stored.data_type(), true))
            }
            _ => true,
        },
        (DataType::Struct(file), DataType::Struct(stored)) => {
            let place = |name: &str| stored.iter().position(|field| field.name() == name);
            let places: Vec<_> = file.iter().map(|field| place(field.name())).collect();
            let found = match in_map {
                true => places.iter().copied().eq((0..stored.len()).map(Some)),
                false => places.iter().any(Option::is_some),
            };
            let mut common = file.iter().zip(&places).filter_map(|(field, place)| Some((field, &stored[(*place)?])));
            found && common.all(|(file, stored)| casts_by_name(file.data_type(), stored.data_type(), in_map))
        }
        _ => true,
    }
}

#[derive(Debug)]
struct Adapter {
    table: SchemaRef,
    renamed: SchemaRef,
    /// By column of the file: its type under the table's names, where those inside of it differ.
    inner: Vec<Option<DataType>>,
    file: SchemaRef,
    by_name: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let filled = expression.transform_up(|node| self.fill(node)).data()?;
        let by_name = self.by_name.rewrite(filled)?;
        by_name.transform_down(|node| self.of_file(node)).data()
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

    /// Readers look columns up by the file's own names.
    fn of_file(&self, node: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
        let done = |node| Ok(Transformed::new(node, true, TreeNodeRecursion::Jump));
        if let Some(field) = self.renamed_field(&node)? {
            return done(field);
        }
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        let Some(field) = self.file.fields().get(column.index()) else { return Ok(Transformed::no(node)) };
        let own: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), column.index()));
        match &self.inner[column.index()] {
            None => done(own),
            Some(named) => done(retyped(own, named, self.renamed.field(column.index()).data_type())),
        }
    }

    /// A field of a struct whose fields have other names in the file. It is asked for as such: readers that filter rows know
    /// nothing else, and would leave rows in.
    fn renamed_field(&self, node: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(access) = ScalarFunctionExpr::try_downcast_func::<GetFieldFunc>(node.as_ref()) else {
            return Ok(None);
        };
        let Some((root, keys)) = access.args().split_first() else { return Ok(None) };
        let Some(column) = root.downcast_ref::<Column>() else { return Ok(None) };
        let Some(Some(named)) = self.inner.get(column.index()) else { return Ok(None) };
        let mut own_type = self.file.field(column.index()).data_type();
        let mut named = named;
        let mut arguments: Vec<Arc<dyn PhysicalExpr>> =
            vec![Arc::new(Column::new(self.file.field(column.index()).name(), column.index()))];
        for key in keys {
            let name = key.downcast_ref::<Literal>().and_then(|literal| literal.value().try_as_str().flatten());
            let (Some(name), DataType::Struct(own_fields), DataType::Struct(fields)) = (name, own_type, named) else {
                return Ok(None);
            };
            let Some(place) = fields.iter().position(|field| field.name() == name) else {
                return Ok(Some(Arc::new(Literal::new(ScalarValue::try_new_null(access.return_type())?))));
            };
            (own_type, named) = (own_fields[place].data_type(), fields[place].data_type());
            arguments.push(Arc::new(Literal::new(ScalarValue::from(own_fields[place].name().as_str()))));
        }
        let function = Arc::new(access.fun().clone());
        let options = Arc::new(access.config_options().clone());
        let own = Arc::new(ScalarFunctionExpr::try_new(function, arguments, &self.file, options)?);
        Ok(Some(match own_type == access.return_type() {
            true => own,
            false => retyped(own, named, access.return_type()),
        }))
    }
}

/// What the file has, as the table's type.
fn retyped(own: Arc<dyn PhysicalExpr>, named: &DataType, wanted: &DataType) -> Arc<dyn PhysicalExpr> {
    Arc::new(Retyped { inner: own, named: named.clone(), wanted: wanted.clone() })
}

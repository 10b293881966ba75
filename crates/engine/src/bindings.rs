//! Values that a client sends beside a statement, for its placeholders: `?` in the order of the text, or `$1` and `:1` by number.
//!
//! They are put into the parsed statement as literals, so that a value is never read as SQL, and what plans statements knows of no
//! placeholders. Several rows of values are for an `INSERT` of one row: it becomes one of all of them.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, Statement, UnaryOperator, Value, ValueWithSpan, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use frazil_common::{ErrorCode, Failure};

use crate::errors::to_failure;

/// A catalog of the statement alone. No name of a database has a space.
const CATALOG: &str = "bound values";

/// A statement with more is refused.
const PLACEHOLDERS_MAX: usize = 10_000;

/// Puts the values in the place of the placeholders. A column is a placeholder's values, and there are as many as the statement has; a row
/// is one run of the statement. Without values a placeholder is refused.
pub fn bind(
    statement: &mut ParsedStatement,
    values: Option<&RecordBatch>,
    state: &SessionState,
) -> Result<(), Failure> {
    let inner = match statement {
        ParsedStatement::Statement(inner) => inner.as_mut(),
        // An EXPLAIN is read by DataFusion, which keeps the statement that is explained.
        ParsedStatement::Explain(explain) => return bind(&mut explain.statement, values, state),
        _ => return Ok(()),
    };
    let needed = number(inner)?;
    let given = values.map_or(0, RecordBatch::num_columns);
    if needed != given {
        let message = match values {
            None => "the statement has placeholders, and no values were sent for them".to_owned(),
            Some(_) => format!("the statement has {needed} placeholders, and {given} values were sent"),
        };
        return Err(invalid(message));
    }
    let Some(values) = values.filter(|values| values.num_columns() > 0) else { return Ok(()) };
    match values.num_rows() {
        1 => put(inner, |number| literal_at(values, number)),
        0 => Err(invalid("a placeholder's list of values is empty")),
        _ => insert_all(inner, values, state),
    }
}

/// For a statement that is only described: each placeholder is a null.
pub fn bind_nulls(statement: &mut ParsedStatement) -> Result<(), Failure> {
    match statement {
        ParsedStatement::Statement(inner) => {
            number(inner)?;
            put(inner, |_| Ok(value(Value::Null)))
        }
        ParsedStatement::Explain(explain) => bind_nulls(&mut explain.statement),
        _ => Ok(()),
    }
}

/// Names all placeholders by number, `$1`, and returns how many values the statement takes.
pub fn number_all(statement: &mut ParsedStatement) -> Result<usize, Failure> {
    match statement {
        ParsedStatement::Statement(inner) => number(inner),
        ParsedStatement::Explain(explain) => number_all(&mut explain.statement),
        _ => Ok(0),
    }
}

/// Whether the statement may be bound to several rows of values at once.
pub fn takes_rows(statement: &ParsedStatement) -> bool {
    let ParsedStatement::Statement(inner) = statement else { return false };
    let Statement::Insert(insert) = inner.as_ref() else { return false };
    let source = insert.source.as_deref().map(|source| source.body.as_ref());
    matches!(source, Some(SetExpr::Values(values)) if values.rows.len() == 1)
}

fn number(statement: &mut Statement) -> Result<usize, Failure> {
    // Not all parts of a statement are visited in the order of its text.
    let mut places = Places(Vec::new());
    let _ = VisitMut::visit(statement, &mut places);
    let mut order: Vec<usize> = (0..places.0.len()).collect();
    order.sort_by_key(|place| places.0[*place]);
    let mut numbers = vec![0; order.len()];
    order.iter().enumerate().for_each(|(number, place)| numbers[*place] = number);
    let mut numbering = Number { numbers: numbers.into_iter(), needed: 0 };
    match VisitMut::visit(statement, &mut numbering) {
        ControlFlow::Break(failure) => Err(failure),
        ControlFlow::Continue(()) => Ok(numbering.needed),
    }
}

/// Line and column of each `?`.
struct Places(Vec<(u64, u64)>);

impl VisitorMut for Places {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(found) = expr
            && matches!(&found.value, Value::Placeholder(name) if name == "?")
        {
            self.0.push((found.span.start.line, found.span.start.column));
        }
        ControlFlow::Continue(())
    }
}

/// What is selected under no name gets that of its text, `$1 + 1`: values are no names, and two of them may be equal.
fn name_selected(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let mut names: Vec<String> = Vec::new();
            for item in &mut select.projection {
                let SelectItem::UnnamedExpr(expr) = item else { continue };
                if !has_placeholder(expr) {
                    continue;
                }
                let text = expr.to_string();
                let same = names.iter().filter(|name| **name == text).count();
                let name = if same == 0 { text.clone() } else { format!("{text} ({})", same + 1) };
                names.push(text);
                let expr = std::mem::replace(expr, value(Value::Null));
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            name_selected(left);
            name_selected(right);
        }
        // A query within is met by itself.
        _ => {}
    }
}

fn has_placeholder(expr: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
            match value.value {
                Value::Placeholder(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(expr, &mut Find).is_break()
}

struct Number {
    /// Of each `?` as it is met.
    numbers: std::vec::IntoIter<usize>,
    needed: usize,
}

impl VisitorMut for Number {
    type Break = Failure;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Failure> {
        name_selected(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        let Expr::Value(found) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &mut found.value else { return ControlFlow::Continue(()) };
        let number = match name.as_str() {
            "?" => self.numbers.next(),
            _ => name[1..].parse::<usize>().ok().and_then(|number| number.checked_sub(1)),
        };
        let Some(number) = number.filter(|number| *number < PLACEHOLDERS_MAX) else {
            let message = format!("placeholder {name:?} is not ?, :1 or $1, up to {PLACEHOLDERS_MAX}");
            return ControlFlow::Break(invalid(message));
        };
        self.needed = self.needed.max(number + 1);
        *name = format!("${}", number + 1);
        ControlFlow::Continue(())
    }
}

/// `replace` gets the numbers of placeholders that [`number`] has named, from 0.
fn put(statement: &mut Statement, replace: impl FnMut(usize) -> Result<Expr, Failure>) -> Result<(), Failure> {
    match VisitMut::visit(statement, &mut Put(replace)) {
        ControlFlow::Break(failure) => Err(failure),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Put<F>(F);

impl<F: FnMut(usize) -> Result<Expr, Failure>> VisitorMut for Put<F> {
    type Break = Failure;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        let Expr::Value(found) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &found.value else { return ControlFlow::Continue(()) };
        let number = name[1..].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let Some(number) = number else {
            return ControlFlow::Break(Failure::internal(format!("placeholder {name:?} has no number")));
        };
        match (self.0)(number) {
            Ok(replacement) => *expr = replacement,
            Err(failure) => return ControlFlow::Break(failure),
        }
        ControlFlow::Continue(())
    }
}

/// `INSERT INTO t VALUES (?, ?)` of many rows: an `INSERT` of what is selected from them.
fn insert_all(statement: &mut Statement, values: &RecordBatch, state: &SessionState) -> Result<(), Failure> {
    let refused = || {
        let message = "several rows of values are only taken by an INSERT of one row: INSERT INTO t VALUES (?, …)";
        Failure::new(ErrorCode::NotSupported, message)
    };
    let Statement::Insert(insert) = statement else { return Err(refused()) };
    let Some(source) = insert.source.as_deref_mut() else { return Err(refused()) };
    put_columns(&mut source.body, refused)?;
    let fields = values.columns().iter().enumerate();
    let fields: Vec<Field> =
        fields.map(|(number, column)| Field::new(column_name(number), column.data_type().clone(), true)).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), values.columns().to_vec())
        .map_err(|error| Failure::internal(format!("bound values: {error}")))?;
    let register = || {
        let schema = MemorySchemaProvider::new();
        schema.register_table("rows".to_owned(), Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))?;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("v", Arc::new(schema))?;
        state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        Ok(())
    };
    register().map_err(|error| to_failure(&error))
}

fn put_columns(body: &mut SetExpr, refused: impl Fn() -> Failure) -> Result<(), Failure> {
    let SetExpr::Values(given) = body else { return Err(refused()) };
    let [row] = given.rows.as_mut_slice() else { return Err(refused()) };
    let mut select = parsed(&format!("SELECT 1 FROM \"{CATALOG}\".\"v\".\"rows\""));
    let mut numbered = Put(|number| Ok(Expr::Identifier(Ident::with_quote('"', column_name(number)))));
    let mut items = Vec::new();
    for expr in std::mem::take(&mut row.content) {
        let mut expr = expr;
        if let ControlFlow::Break(failure) = VisitMut::visit(&mut expr, &mut numbered) {
            return Err(failure);
        }
        items.push(SelectItem::UnnamedExpr(expr));
    }
    if let SetExpr::Select(select) = &mut select {
        select.projection = items;
    }
    *body = select;
    Ok(())
}

fn column_name(number: usize) -> String {
    format!("value {}", number + 1)
}

fn parsed(sql: &str) -> SetExpr {
    let query = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    *query.expect("a constant text is SQL").body
}

fn literal_at(values: &RecordBatch, number: usize) -> Result<Expr, Failure> {
    let column = values.column(number);
    let value = ScalarValue::try_from_array(column, 0).map_err(|error| to_failure(&error))?;
    literal(&value).ok_or_else(|| {
        let message = format!("value {} of type {} is not supported", number + 1, column.data_type());
        Failure::new(ErrorCode::NotSupported, message)
    })
}

/// The SQL of a value: of exactly its type.
fn literal(bound: &ScalarValue) -> Option<Expr> {
    use ScalarValue as V;
    if bound.is_null() {
        return Some(value(Value::Null));
    }
    Some(match bound {
        V::Boolean(Some(truth)) => value(Value::Boolean(*truth)),
        V::Int8(Some(number)) => cast(whole((*number).into()), &DataType::Int8),
        V::Int16(Some(number)) => cast(whole((*number).into()), &DataType::Int16),
        V::Int32(Some(number)) => cast(whole((*number).into()), &DataType::Int32),
        V::Int64(Some(number)) => whole((*number).into()),
        V::UInt8(Some(number)) => cast(whole((*number).into()), &DataType::UInt8),
        V::UInt16(Some(number)) => cast(whole((*number).into()), &DataType::UInt16),
        V::UInt32(Some(number)) => cast(whole((*number).into()), &DataType::UInt32),
        V::UInt64(Some(number)) => cast(whole((*number).into()), &DataType::UInt64),
        V::Float32(Some(number)) => of_type(&number.to_string(), &DataType::Float32),
        V::Float64(Some(number)) => of_type(&number.to_string(), &DataType::Float64),
        V::Utf8(Some(text)) | V::LargeUtf8(Some(text)) | V::Utf8View(Some(text)) => {
            value(Value::SingleQuotedString(text.clone()))
        }
        V::Binary(Some(bytes)) | V::LargeBinary(Some(bytes)) | V::BinaryView(Some(bytes)) => {
            value(Value::HexStringLiteral(bytes.iter().map(|byte| format!("{byte:02X}")).collect()))
        }
        V::Decimal32(Some(_), ..)
        | V::Decimal64(Some(_), ..)
        | V::Decimal128(Some(_), ..)
        | V::Decimal256(Some(_), ..) => of_type(&text_of(bound)?, &bound.data_type()),
        V::Date32(Some(_))
        | V::Date64(Some(_))
        | V::Time32Second(Some(_))
        | V::Time32Millisecond(Some(_))
        | V::Time64Microsecond(Some(_))
        | V::Time64Nanosecond(Some(_)) => of_type(&text_of(bound)?, &bound.data_type()),
        V::TimestampSecond(Some(ticks), zone) => instant(*ticks, TimeUnit::Second, zone),
        V::TimestampMillisecond(Some(ticks), zone) => instant(*ticks, TimeUnit::Millisecond, zone),
        V::TimestampMicrosecond(Some(ticks), zone) => instant(*ticks, TimeUnit::Microsecond, zone),
        V::TimestampNanosecond(Some(ticks), zone) => instant(*ticks, TimeUnit::Nanosecond, zone),
        _ => return None,
    })
}

fn value(value: Value) -> Expr {
    Expr::Value(value.into())
}

fn whole(number: i128) -> Expr {
    let digits = value(Value::Number(number.unsigned_abs().to_string(), false));
    match number < 0 {
        true => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(digits) },
        false => digits,
    }
}

fn text_of(bound: &ScalarValue) -> Option<String> {
    let text = bound.cast_to(&DataType::Utf8).ok()?;
    text.try_as_str().flatten().map(str::to_owned)
}

/// `arrow_cast('text', 'type')`, which names any of Arrow's types.
fn of_type(text: &str, data_type: &DataType) -> Expr {
    cast(value(Value::SingleQuotedString(text.to_owned())), data_type)
}

/// By its number: not every instant has a text that can be read back.
fn instant(ticks: i64, unit: TimeUnit, zone: &Option<Arc<str>>) -> Expr {
    cast(whole(ticks.into()), &DataType::Timestamp(unit, zone.clone()))
}

fn cast(from: Expr, data_type: &DataType) -> Expr {
    let mut call = call("arrow_cast('', '')");
    if let Expr::Function(function) = &mut call
        && let datafusion::sql::sqlparser::ast::FunctionArguments::List(list) = &mut function.args
    {
        let name = value(Value::SingleQuotedString(data_type.to_string()));
        list.args = [from, name].map(|arg| datafusion::sql::sqlparser::ast::FunctionArg::Unnamed(arg.into())).to_vec();
    }
    call
}

fn call(sql: &str) -> Expr {
    let expr = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    expr.expect("a constant text is SQL")
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

//! Rows as objects: in a list, or one a line.

use std::io::Write;

use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{JsonFormat, Writer, WriterBuilder};

/// A list with one object a line, so that a long one can be read and searched by line.
#[derive(Debug, Default)]
pub struct List;

impl JsonFormat for List {
    fn start_stream<W: Write>(&self, out: &mut W) -> Result<(), ArrowError> {
        Ok(out.write_all(b"[")?)
    }

    fn start_row<W: Write>(&self, out: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        Ok(out.write_all(if is_first_row { b"\n" } else { b",\n" })?)
    }

    fn end_stream<W: Write>(&self, out: &mut W) -> Result<(), ArrowError> {
        Ok(out.write_all(b"\n]\n")?)
    }
}

pub type ListWriter<W> = Writer<W, List>;

pub fn list<W: Write>(out: W) -> ListWriter<W> {
    builder().build(out)
}

pub fn lines<W: Write>(out: W) -> LineDelimitedWriter<W> {
    builder().build(out)
}

/// A null is there, so that each object has all names.
fn builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

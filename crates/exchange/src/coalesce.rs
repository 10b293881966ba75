//! Batches of a size that is worth a frame.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::memory::{compact_views, held_bytes, own_bytes};

/// Bytes that a batch may keep alive beside twice its own before it is copied.
const SLACK_BYTES: usize = 64 << 10;

/// Brings batches to the target size, and their rows to memory of their own: without that a few rows would keep, and send, the whole
/// buffers they point into. A batch that is large, and holds little but its rows, passes as it is: copying it would only cost.
/// Batches without columns are only counted, they pass as well. Rows stay in their order.
pub struct Coalescer {
    /// None where there are no columns.
    gathering: Option<Box<BatchCoalescer>>,
    batch_rows: usize,
    ready: VecDeque<RecordBatch>,
}

impl Coalescer {
    pub fn new(schema: &SchemaRef, batch_rows: usize) -> Self {
        let has_columns = !schema.fields().is_empty();
        let gathering = has_columns.then(|| Box::new(BatchCoalescer::new(schema.clone(), batch_rows)));
        Self { gathering, batch_rows, ready: VecDeque::new() }
    }

    pub fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        let Some(gathering) = &mut self.gathering else {
            self.ready.push_back(batch);
            return Ok(());
        };
        let rows = batch.num_rows();
        let passing = match rows > self.batch_rows / 2 && rows <= self.batch_rows {
            true => compact(&batch)?,
            false => None,
        };
        match passing {
            Some(batch) => {
                gathering.finish_buffered_batch()?;
                self.take_completed();
                self.ready.push_back(batch);
            }
            None => {
                gathering.push_batch(batch)?;
                self.take_completed();
            }
        }
        Ok(())
    }

    /// Nothing more is pushed: what has not come to the target size is ready as well.
    pub fn finish(&mut self) -> Result<(), ArrowError> {
        if let Some(gathering) = &mut self.gathering {
            gathering.finish_buffered_batch()?;
        }
        self.take_completed();
        Ok(())
    }

    pub fn next(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    fn take_completed(&mut self) {
        if let Some(gathering) = &mut self.gathering {
            self.ready.extend(std::iter::from_fn(|| gathering.next_completed_batch()));
        }
    }
}

/// The batch with views that hold little but what they point to; None where it holds much more than its rows for all that.
fn compact(batch: &RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
    let batch = compact_views(batch)?;
    Ok((held_bytes(&batch) <= 2 * own_bytes(&batch) + SLACK_BYTES).then_some(batch))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
    use arrow::buffer::Buffer;
    use arrow::compute::concat_batches;

    use super::*;

    const TARGET: usize = 1000;

    fn batch(from: i64, rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        let names = (from..from + rows).map(|row| format!("the name of row {row}"));
        let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(names));
        RecordBatch::try_from_iter([("n", numbers), ("name", names)]).unwrap()
    }

    fn coalesced(batches: &[RecordBatch]) -> Vec<RecordBatch> {
        let mut coalescer = Coalescer::new(&batches[0].schema(), TARGET);
        let mut all = Vec::new();
        for batch in batches {
            coalescer.push(batch.clone()).unwrap();
            all.extend(std::iter::from_fn(|| coalescer.next()));
        }
        coalescer.finish().unwrap();
        all.extend(std::iter::from_fn(|| coalescer.next()));
        let schema = batches[0].schema();
        assert_eq!(concat_batches(&schema, &all).unwrap(), concat_batches(&schema, batches).unwrap());
        all
    }

    fn memory(batch: &RecordBatch, column: usize) -> *const u8 {
        batch.column(column).to_data().buffers()[0].as_ptr()
    }

    #[test]
    fn small_batches_are_gathered() {
        let batches: Vec<RecordBatch> = (0..50).map(|part| batch(part * 50, 50)).collect();
        let rows: Vec<usize> = coalesced(&batches).iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [1000, 1000, 500]);
    }

    #[test]
    fn large_batches_pass_in_their_order() {
        let batches = [batch(0, 900), batch(900, 10), batch(910, 800), batch(1710, 1000)];
        let all = coalesced(&batches);
        assert_eq!(all.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [900, 10, 800, 1000]);
        assert_eq!(memory(&all[0], 0), memory(&batches[0], 0));
        assert_eq!(memory(&all[2], 0), memory(&batches[2], 0));
    }

    #[test]
    fn batches_beyond_the_target_are_cut() {
        let rows: Vec<usize> = coalesced(&[batch(0, 2500)]).iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [1000, 1000, 500]);
    }

    #[test]
    fn parts_of_larger_batches_are_copied() {
        let whole = batch(0, 100_000);
        let part = whole.slice(5000, 800);
        let all = coalesced(std::slice::from_ref(&part));
        assert_ne!(memory(&all[0], 0), memory(&part, 0));
        let own = all[0].column(0).get_buffer_memory_size();
        assert!(own < 100_000, "{own} bytes for 800 numbers");
    }

    #[test]
    fn views_leave_behind_what_they_do_not_point_to() {
        let whole = batch(0, 100_000);
        let rows = arrow::array::UInt32Array::from_iter_values((0..800).map(|row| row * 100));
        let few = arrow::compute::take_record_batch(&whole, &rows).unwrap();
        let all = coalesced(std::slice::from_ref(&few));
        assert_eq!(memory(&all[0], 0), memory(&few, 0), "the numbers pass");
        let held: usize = all[0].column(1).as_string_view().data_buffers().iter().map(Buffer::len).sum();
        assert!(held < 100_000, "{held} bytes for 800 names");
    }
}

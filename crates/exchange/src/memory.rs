//! What batches hold, and what of it is theirs: arrays share memory, as parts of a larger batch, of one message, or of what they point into.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{ByteViewType, DataType};
use arrow::error::ArrowError;

/// Bytes that views may keep alive beside twice their own before they are copied together.
const SLACK_BYTES: usize = 64 << 10;

/// Bytes of all allocations that a batch keeps alive, each counted once: Arrow's own sums count one that columns share, as those of a
/// decoded message do, for every column.
pub fn held_bytes(batch: &RecordBatch) -> usize {
    let mut allocations = Vec::new();
    batch.columns().iter().for_each(|column| add_allocations(&column.to_data(), &mut allocations));
    allocations.sort_unstable();
    allocations.dedup_by_key(|(start, _)| *start);
    allocations.iter().map(|(_, bytes)| bytes).sum()
}

fn add_allocations(data: &ArrayData, allocations: &mut Vec<(usize, usize)>) {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    let of = |buffer: &Buffer| (buffer.data_ptr().as_ptr() as usize, buffer.capacity());
    allocations.extend(data.buffers().iter().chain(nulls).map(of));
    data.child_data().iter().for_each(|child| add_allocations(child, allocations));
}

/// Bytes of a batch's own rows, whatever memory they share. Of views in nested columns only the views themselves.
pub fn own_bytes(batch: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| {
        let pointed_to = match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            _ => 0,
        };
        // It cannot fail but for offsets that no array is made with.
        column.to_data().get_slice_memory_size().unwrap_or(0) + pointed_to
    };
    batch.columns().iter().map(of).sum()
}

/// The same rows; views that point into much larger buffers, also those of rows that a filter has left out, have their own.
pub fn compact_views(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        let compact = match column.data_type() {
            DataType::Utf8View => compacted(column.as_string_view()),
            DataType::BinaryView => compacted(column.as_binary_view()),
            _ => None,
        };
        compact.unwrap_or_else(|| column.clone())
    });
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &rows)
}

/// None where they hold little but what they point to.
fn compacted<T: ByteViewType>(views: &GenericByteViewArray<T>) -> Option<ArrayRef> {
    let held: usize = views.data_buffers().iter().map(Buffer::len).sum();
    (held > 2 * views.total_buffer_bytes_used() + SLACK_BYTES).then(|| Arc::new(views.gc()) as ArrayRef)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, StringViewArray};
    use arrow_ipc::reader::StreamDecoder;
    use arrow_ipc::writer::StreamWriter;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let column = |seed: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(seed..seed + rows)) };
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("row {row}"))));
        let views = (0..rows).map(|row| format!("a text beyond twelve bytes, {row:08}"));
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(views));
        RecordBatch::try_from_iter([("a", column(0)), ("b", column(1)), ("name", names), ("view", views)]).unwrap()
    }

    #[test]
    fn a_messages_memory_counts_once() {
        let batch = batch(10_000);
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let mut message = Buffer::from_vec(writer.into_inner().unwrap());
        let (length, mut decoder) = (message.len(), StreamDecoder::new());
        let decoded = decoder.decode(&mut message).unwrap().unwrap();
        assert!(decoded.get_array_memory_size() > 4 * length);
        // Views are taken from memory that is aligned for them, and else copied.
        assert!((length..2 * length).contains(&held_bytes(&decoded)), "{} of {length}", held_bytes(&decoded));
    }

    #[test]
    fn rows_of_a_part_are_its_own() {
        let whole = batch(10_000);
        let part = whole.slice(100, 1000);
        // Three columns of eight bytes or more, names of some eight bytes with offsets, views of 16 and texts of 36 bytes.
        let own = own_bytes(&part);
        assert!((70_000..90_000).contains(&own), "{own}");
        assert_eq!(held_bytes(&part), held_bytes(&whole));
    }

    #[test]
    fn views_leave_behind_what_they_do_not_point_to() {
        let part = batch(10_000).slice(100, 10);
        let compact = compact_views(&part).unwrap();
        assert_eq!(compact, part);
        let held: usize = compact.column(3).as_string_view().data_buffers().iter().map(Buffer::len).sum();
        assert_eq!(held, 360);
    }
}

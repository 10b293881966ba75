//! Even splits: deals the row groups of a Parquet scan to its partitions by their size.
//!
//! DataFusion cuts files at equal numbers of bytes, and a row group is read by whoever's bytes it begins in: of eight files
//! with a row group each, two partitions get five and three. In one process it does not matter, partitions take files from
//! each other while they run. Partitions in different processes cannot, so their shares have to be equal from the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt};

use crate::lake::ManyFiles;

/// Scans of more files are left as they are: that many pieces even out by themselves, and their footers may not be cached.
pub const FILES_MAX: usize = 1000;
const FOOTERS_AT_ONCE: usize = 32;

/// Deals the scans of a plan anew where the order and place of their rows mean nothing.
pub async fn balance_scans(plan: Arc<dyn ExecutionPlan>, env: &RuntimeEnv) -> Result<Arc<dyn ExecutionPlan>> {
    let mut scans = Vec::new();
    plan.apply(|node| {
        if let Some(config) = movable_scan(node) {
            scans.push(config.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut dealt = Vec::with_capacity(scans.len());
    for scan in &scans {
        dealt.push(deal_anew(scan, env).await?);
    }
    // The same nodes in the same order.
    let mut dealt = dealt.into_iter();
    plan.transform_down(|node| {
        let Some(config) = movable_scan(&node) else { return Ok(Transformed::no(node)) };
        let Some(groups) = dealt.next().flatten() else { return Ok(Transformed::no(node)) };
        let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(config) as _))
    })
    .data()
}

fn movable_scan(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let config: &FileScanConfig = node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref()?;
    let free = !config.preserve_order && config.output_ordering.is_empty() && config.output_partitioning.is_none();
    let parquet = config.file_source().downcast_ref::<ParquetSource>().is_some();
    // Cutting them into partitions cuts fewer of them than there are partitions. Very many are not even copied.
    let pieces: usize = config.file_groups.iter().map(FileGroup::len).sum();
    let few = pieces <= FILES_MAX + config.file_groups.len() && !config.file_groups.iter().any(ManyFiles::are_in);
    (free && parquet && few && config.file_groups.len() > 1).then_some(config)
}

/// One row group, from its first byte to the next one's.
struct Piece {
    file: usize,
    start: i64,
    end: i64,
    weight: u64,
}

async fn deal_anew(config: &FileScanConfig, env: &RuntimeEnv) -> Result<Option<Vec<FileGroup>>> {
    let Some(files) = whole_files(config) else { return Ok(None) };
    let store = env.object_store(&config.object_store_url)?;
    let cache = env.cache_manager.get_file_metadata_cache();
    let mut pieces = Vec::new();
    // Almost always from the cache, which collecting statistics has filled; where it was too small, not one by one.
    let footers = futures::stream::iter(&files).map(|file| {
        let metadata = DFParquetMetadata::new(store.as_ref(), &file.object_meta);
        let metadata = metadata.with_file_metadata_cache(Some(cache.clone()));
        async move { metadata.fetch_metadata().await }
    });
    let footers: Vec<_> = footers.buffered(FOOTERS_AT_ONCE).try_collect().await?;
    for (index, (file, metadata)) in files.iter().zip(footers).enumerate() {
        let first = pieces.len();
        for group in metadata.row_groups() {
            let Some(column) = group.columns().first() else { return Ok(None) };
            // What DataFusion compares with a split's range.
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let weight = u64::try_from(group.total_byte_size()).unwrap_or(0);
            pieces.push(Piece { file: index, start, end: file.object_meta.size as i64, weight });
        }
        let own = &mut pieces[first..];
        if own.windows(2).any(|pair| pair[0].start >= pair[1].start) {
            return Ok(None);
        }
        for at in 1..own.len() {
            own[at - 1].end = own[at].start;
        }
        if let Some(head) = own.first_mut() {
            head.start = 0;
        }
    }
    let partitions = config.file_groups.len();
    if pieces.len() < partitions {
        return Ok(None);
    }
    let groups = deal(pieces, partitions).into_iter();
    Ok(Some(groups.map(|own| own.into_iter().map(|piece| split_of(&files[piece.file], &piece)).collect()).collect()))
}

/// Each file once, when the groups together read each of them once and wholly.
fn whole_files(config: &FileScanConfig) -> Option<Vec<PartitionedFile>> {
    let mut covered: BTreeMap<&str, (u64, &PartitionedFile)> = BTreeMap::new();
    for file in config.file_groups.iter().flat_map(|group| group.iter()) {
        let size = file.object_meta.size;
        let bytes = file.range.as_ref().map_or(size, |range| u64::try_from(range.end - range.start).unwrap_or(0));
        covered.entry(file.object_meta.location.as_ref()).or_insert((0, file)).0 += bytes;
    }
    let whole = covered.values().all(|(bytes, file)| *bytes == file.object_meta.size && file.extensions.is_empty());
    (whole && covered.len() <= FILES_MAX).then(|| covered.into_values().map(|(_, file)| file.clone()).collect())
}

/// The heaviest piece that is left goes to whoever has least; neighbours in a file are one piece again.
fn deal(mut pieces: Vec<Piece>, partitions: usize) -> Vec<Vec<Piece>> {
    pieces.sort_by_key(|piece| (std::cmp::Reverse(piece.weight), piece.file, piece.start));
    let mut hands: Vec<(u64, Vec<Piece>)> = (0..partitions).map(|_| (0, vec![])).collect();
    for piece in pieces {
        let least = (0..partitions).min_by_key(|hand| (hands[*hand].0, hands[*hand].1.len())).expect("some partition");
        hands[least].0 += piece.weight;
        hands[least].1.push(piece);
    }
    let joined = hands.into_iter().map(|(_, mut own)| {
        own.sort_by_key(|piece| (piece.file, piece.start));
        let mut joined: Vec<Piece> = Vec::with_capacity(own.len());
        for piece in own {
            match joined.last_mut() {
                Some(last) if last.file == piece.file && last.end == piece.start => last.end = piece.end,
                _ => joined.push(piece),
            }
        }
        joined
    });
    joined.collect()
}

fn split_of(file: &PartitionedFile, piece: &Piece) -> PartitionedFile {
    let mut split = file.clone();
    let whole = piece.start == 0 && piece.end == file.object_meta.size as i64;
    split.range = (!whole).then_some(FileRange { start: piece.start, end: piece.end });
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(file: usize, start: i64, weight: u64) -> Piece {
        Piece { file, start, end: start + 10, weight }
    }

    #[test]
    fn equal_pieces_are_dealt_equally() {
        let hands = deal((0..8).map(|file| piece(file, 0, 100)).collect(), 2);
        assert_eq!(hands.iter().map(Vec::len).collect::<Vec<_>>(), vec![4, 4]);
    }

    #[test]
    fn neighbours_are_joined_and_nothing_is_lost() {
        let pieces = vec![piece(0, 0, 5), piece(0, 10, 5), piece(0, 20, 10), piece(1, 0, 20)];
        let hands = deal(pieces, 2);
        let spans = |hand: &[Piece]| hand.iter().map(|p| (p.file, p.start, p.end)).collect::<Vec<_>>();
        assert_eq!(spans(&hands[0]), vec![(1, 0, 10)]);
        assert_eq!(spans(&hands[1]), vec![(0, 0, 30)]);
    }
}

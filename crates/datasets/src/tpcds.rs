//! The 24 TPC-DS tables at any scale, with the rows of the specification's own `dsdgen`.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;
use tpcdsgen::config::{Session, SessionBuilder, Table};
use tpcdsgen_arrow::*;

use crate::destination::{Destination, data_file_name};
use crate::error::DatasetError;
use crate::generated::{GeneratedTable, PART_ROWS};
use crate::marker::{self, Identity};
use crate::output::UPLOAD_BYTES_MAX;
use crate::parquet_file::{BATCH_ROWS, WRITER_BYTES_MAX};
use crate::pool::{self, FileJob};
use crate::progress::Progress;
use crate::report::LoadReport;

/// Below, dimensions would have no rows for facts to refer to.
const SCALE_MIN: f64 = 0.01;
const SCALE_MAX: f64 = 100_000.0;
/// So many files at least, where a table has as many pieces.
const FILES_MIN: usize = 8;
const PARTS_PER_FILE_MAX: usize = 16;
/// Of all writers together.
const MEMORY_BYTES: u64 = 2 << 30;

/// In the order of the specification. Its 25th, `dbgen_version`, says when data was made, and is left out.
pub const TPCDS_TABLES: [&str; 24] = [
    "store_sales",
    "store_returns",
    "catalog_sales",
    "catalog_returns",
    "web_sales",
    "web_returns",
    "inventory",
    "store",
    "call_center",
    "catalog_page",
    "web_site",
    "web_page",
    "warehouse",
    "customer",
    "customer_address",
    "customer_demographics",
    "date_dim",
    "household_demographics",
    "item",
    "income_band",
    "promotion",
    "reason",
    "ship_mode",
    "time_dim",
];

/// What to make, and where.
#[derive(Clone, Debug)]
pub struct Tpcds {
    /// 1 is about 1 GB of text. From 0.01 to 100000.
    pub scale: f64,
    pub destination: Destination,
    /// Files written at the same time, as far as 2 GB of memory allow.
    pub parallelism: usize,
}

/// Makes the tables, unless the destination holds them already; another set there is refused.
pub async fn load_tpcds(options: Tpcds, progress: Arc<dyn Progress>) -> Result<LoadReport, DatasetError> {
    let started = Instant::now();
    let Tpcds { scale, destination, parallelism } = options;
    check_scale(scale)?;
    if parallelism == 0 {
        return Err(DatasetError::option("parallelism 0 would write nothing: give at least 1"));
    }
    let identity = Identity::Tpcds { scale };
    if let Some(tables) = marker::begin(&destination, &identity).await? {
        return Ok(LoadReport { tables, elapsed: started.elapsed(), reused: true });
    }
    destination.prepare(&TPCDS_TABLES).await?;
    for name in TPCDS_TABLES {
        progress.table_started(name, rows(table(name)?, scale));
    }
    let mut jobs = Vec::new();
    for name in TPCDS_TABLES {
        let table = GeneratedTable::tpcds(name, scale)?;
        let parts = table.parts();
        let files = (parts / PARTS_PER_FILE_MAX).max(FILES_MIN).min(parts);
        jobs.extend((0..files).map(|file| FileJob {
            table: name,
            name: data_file_name(name, file, files),
            open: {
                let (table, start) = (table.clone(), move |file: usize| parts * file / files);
                Box::new(move || table.open(start(file)..start(file + 1)))
            },
        }));
    }
    let writers = parallelism.min((MEMORY_BYTES / (WRITER_BYTES_MAX + UPLOAD_BYTES_MAX)) as usize);
    let tables = pool::run(&destination, &TPCDS_TABLES, jobs, writers, progress).await?;
    marker::complete(&destination, identity, &tables).await?;
    Ok(LoadReport { tables, elapsed: started.elapsed(), reused: false })
}

pub(crate) fn check_scale(scale: f64) -> Result<(), DatasetError> {
    // `contains` is false for NaN.
    if (SCALE_MIN..=SCALE_MAX).contains(&scale) {
        return Ok(());
    }
    Err(DatasetError::option(format!("TPC-DS scale {scale} is out of range: give one from {SCALE_MIN} to {SCALE_MAX}")))
}

pub(crate) fn table(name: &str) -> Result<Table, DatasetError> {
    let known = TPCDS_TABLES.contains(&name).then(|| name.parse::<Table>().ok()).flatten();
    known.ok_or_else(|| {
        DatasetError::option(format!("TPC-DS has no table {name:?}: it has {}", TPCDS_TABLES.join(", ")))
    })
}

fn session(scale: f64) -> Session {
    SessionBuilder::new().with_scale_factor(scale).build().expect("the scale was checked")
}

/// Rows of the table for each that its generator counts: a sale has several lines, of which some are returned.
fn lines(table: Table) -> f64 {
    match table {
        Table::StoreSales | Table::WebSales => 12.0,
        Table::CatalogSales => 9.0,
        Table::StoreReturns | Table::WebReturns => 1.2,
        Table::CatalogReturns => 0.9,
        _ => 1.0,
    }
}

/// About; exact where a row is a row of its generator.
pub(crate) fn rows(table: Table, scale: f64) -> u64 {
    (session(scale).get_scaling().get_row_count(table) as f64 * lines(table)) as u64
}

/// Pieces that can be made apart. Dimensions of which a row follows from the one before are one piece.
pub(crate) fn parts(table: Table, scale: f64) -> usize {
    // Returns are found by making the sales that they are of.
    let work = match table {
        Table::StoreReturns => rows(Table::StoreSales, scale),
        Table::CatalogReturns => rows(Table::CatalogSales, scale),
        Table::WebReturns => rows(Table::WebSales, scale),
        Table::StoreSales
        | Table::CatalogSales
        | Table::WebSales
        | Table::Inventory
        | Table::Customer
        | Table::CustomerAddress
        | Table::CustomerDemographics => rows(table, scale),
        _ => 0,
    };
    usize::try_from(work.div_ceil(PART_ROWS).max(1)).expect("the largest scale has a few million pieces")
}

/// One of [`parts`] pieces, from 0; all of them one after another are the table.
pub(crate) fn open(table: Table, scale: f64, part: usize, parts: usize) -> Box<dyn RecordBatchReader + Send> {
    let session = session(scale);
    let count = session.get_scaling().get_row_count(table);
    let start = |part: usize| (u128::from(count) * part as u128 / parts as u128) as u64;
    let (first, last) = (start(part) + 1, start(part + 1));
    macro_rules! reader {
        ($arrow:ident) => {{
            let reader = $arrow::new(session).with_batch_size(BATCH_ROWS);
            match parts {
                1 => Box::new(reader),
                _ => Box::new(reader.with_source_row_range(first, last)),
            }
        }};
    }
    match table {
        Table::CallCenter => reader!(CallCenterArrow),
        Table::CatalogPage => reader!(CatalogPageArrow),
        Table::CatalogReturns => reader!(CatalogReturnsArrow),
        Table::CatalogSales => reader!(CatalogSalesArrow),
        Table::Customer => reader!(CustomerArrow),
        Table::CustomerAddress => reader!(CustomerAddressArrow),
        Table::CustomerDemographics => reader!(CustomerDemographicsArrow),
        Table::DateDim => reader!(DateDimArrow),
        Table::DbgenVersion => reader!(DbgenVersionArrow),
        Table::HouseholdDemographics => reader!(HouseholdDemographicsArrow),
        Table::IncomeBand => reader!(IncomeBandArrow),
        Table::Inventory => reader!(InventoryArrow),
        Table::Item => reader!(ItemArrow),
        Table::Promotion => reader!(PromotionArrow),
        Table::Reason => reader!(ReasonArrow),
        Table::ShipMode => reader!(ShipModeArrow),
        Table::Store => reader!(StoreArrow),
        Table::StoreReturns => reader!(StoreReturnsArrow),
        Table::StoreSales => reader!(StoreSalesArrow),
        Table::TimeDim => reader!(TimeDimArrow),
        Table::Warehouse => reader!(WarehouseArrow),
        Table::WebPage => reader!(WebPageArrow),
        Table::WebReturns => reader!(WebReturnsArrow),
        Table::WebSales => reader!(WebSalesArrow),
        Table::WebSite => reader!(WebSiteArrow),
    }
}

pub(crate) fn schema(table: Table) -> SchemaRef {
    macro_rules! schemas {
        ($($table:ident $arrow:ident)*) => { match table { $(Table::$table => $arrow::schema_ref()),* } };
    }
    schemas! {
        CallCenter CallCenterArrow CatalogPage CatalogPageArrow CatalogReturns CatalogReturnsArrow
        CatalogSales CatalogSalesArrow Customer CustomerArrow CustomerAddress CustomerAddressArrow
        CustomerDemographics CustomerDemographicsArrow DateDim DateDimArrow DbgenVersion DbgenVersionArrow
        HouseholdDemographics HouseholdDemographicsArrow IncomeBand IncomeBandArrow Inventory InventoryArrow
        Item ItemArrow Promotion PromotionArrow Reason ReasonArrow ShipMode ShipModeArrow Store StoreArrow
        StoreReturns StoreReturnsArrow StoreSales StoreSalesArrow TimeDim TimeDimArrow Warehouse WarehouseArrow
        WebPage WebPageArrow WebReturns WebReturnsArrow WebSales WebSalesArrow WebSite WebSiteArrow
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::compute::concat_batches;

    use super::*;

    fn rows_of(table: Table, scale: f64, parts: usize) -> RecordBatch {
        let batches = (0..parts).flat_map(|part| open(table, scale, part, parts));
        let batches: Vec<_> = batches.map(|batch| batch.expect("the generator does not fail")).collect();
        concat_batches(&schema(table), &batches).expect("of one schema")
    }

    #[test]
    fn pieces_are_the_whole_table_in_its_order() {
        for name in TPCDS_TABLES {
            let table = table(name).unwrap();
            let whole = rows_of(table, 0.01, 1);
            assert!(whole.num_rows() > 0, "{name}");
            assert_eq!(schema(table), whole.schema(), "{name}");
            // At scale 100 everything that can be cut is.
            if parts(table, 100.0) > 1 {
                assert_eq!(whole, rows_of(table, 0.01, 3), "{name}");
            }
            let estimate = rows(table, 0.01) as f64;
            let error = (whole.num_rows() as f64 - estimate).abs() / estimate;
            assert!(error < 0.5, "{name}: {} rows, {estimate} estimated", whole.num_rows());
        }
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let message = table("dbgen_version").unwrap_err().to_string();
        assert!(message.contains("\"dbgen_version\"") && message.contains("store_sales"), "{message}");
        for scale in [0.0, 0.001, -1.0, f64::NAN, f64::INFINITY, 100_001.0] {
            assert!(check_scale(scale).is_err(), "{scale}");
        }
    }
}

//! How far a run is: told to a [`Progress`], shown by [`Bars`].

use std::collections::HashMap;
use std::io::IsTerminal;

use frazil_common::ByteSize;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::report::TableReport;

/// Told of a run's progress from all of its threads. Calls come a few hundred times a second at most, and must not block.
pub trait Progress: Send + Sync {
    /// Before the first row of any table. `rows` may be an estimate.
    fn table_started(&self, table: &str, rows: u64);

    /// So many rows more, encoded but perhaps not yet on disk.
    fn advance(&self, table: &str, rows: u64);

    /// All files of the table are whole.
    fn table_finished(&self, report: &TableReport);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn table_started(&self, _table: &str, _rows: u64) {}
    fn advance(&self, _table: &str, _rows: u64) {}
    fn table_finished(&self, _report: &TableReport) {}
}

/// On standard error: a bar for each table on a terminal, otherwise one line for each table when it is finished.
pub struct Bars {
    /// `None` when standard error is no terminal.
    terminal: Option<Terminal>,
}

struct Terminal {
    group: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    pub fn on_stderr() -> Self {
        let terminal =
            std::io::stderr().is_terminal().then(|| Terminal { group: MultiProgress::new(), bars: Mutex::default() });
        Self { terminal }
    }
}

impl Progress for Bars {
    fn table_started(&self, table: &str, rows: u64) {
        let Some(Terminal { group, bars }) = &self.terminal else { return };
        let style = ProgressStyle::with_template("{prefix:>10} {bar:32} {percent:>3}% {human_len:>13} rows {msg}")
            .expect("the template is a constant that the tests parse");
        let bar = group.add(ProgressBar::new(rows).with_style(style).with_prefix(table.to_owned()));
        bars.lock().insert(table.to_owned(), bar);
    }

    fn advance(&self, table: &str, rows: u64) {
        let Some(Terminal { bars, .. }) = &self.terminal else { return };
        if let Some(bar) = bars.lock().get(table) {
            bar.inc(rows);
        }
    }

    fn table_finished(&self, report: &TableReport) {
        let size = ByteSize(report.bytes);
        let Some(Terminal { bars, .. }) = &self.terminal else {
            eprintln!("{}: {} rows in {} files, {size}", report.name, report.rows, report.files);
            return;
        };
        if let Some(bar) = bars.lock().remove(&report.name) {
            bar.set_length(report.rows);
            bar.finish_with_message(format!("in {} files, {size}", report.files));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::ProgressDrawTarget;

    #[test]
    fn a_finished_table_is_shown_with_its_true_rows() {
        let group = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let bars = Bars { terminal: Some(Terminal { group, bars: Mutex::default() }) };
        bars.table_started("lineitem", 60_000);
        let bar = bars.terminal.as_ref().unwrap().bars.lock()["lineitem"].clone();
        bars.advance("lineitem", 60_175);
        assert_eq!((bar.position(), bar.length(), bar.is_finished()), (60_175, Some(60_000), false));
        bars.table_finished(&TableReport { name: "lineitem".into(), rows: 60_175, files: 6, bytes: 3 << 20 });
        assert_eq!((bar.length(), bar.is_finished()), (Some(60_175), true));
        assert_eq!(bar.message(), "in 6 files, 3.0 MB");
    }
}

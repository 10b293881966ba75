//! A bar for a statement that takes a while: what its stages have read, while nothing of its result has come.

use std::time::Duration;

use frazil_common::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::client::Client;

/// A statement that takes no longer shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two questions for the handle of a statement, which has to be received first.
const LOOK: Duration = Duration::from_millis(200);
/// That often the time is shown anew.
const TICK: Duration = Duration::from_millis(200);

/// Gone, and its line empty, when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    /// Of the statement that was or will be sent with this request id.
    pub fn of(client: &Client, request: Uuid) -> Self {
        // Nothing is drawn before it is ticked.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let (client, shown) = (client.clone(), bar.clone());
        let task = tokio::spawn(async move { follow(&client, request, &shown).await });
        Self { bar, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        // Of a bar that is finished nothing more is drawn, whatever the task still does.
        self.bar.finish_and_clear();
    }
}

async fn follow(client: &Client, request: Uuid, bar: &ProgressBar) {
    tokio::time::sleep(PATIENCE).await;
    let handle = loop {
        match client.statement_of_request(request).await {
            Ok(Some(handle)) => break handle,
            Ok(None) => tokio::time::sleep(LOOK).await,
            // Not our business: whoever waits for the rows is told.
            Err(_) => return,
        }
    };
    let Ok(mut events) = client.events(&handle).await else { return };
    let mut counted = false;
    bar.set_style(style(counted));
    bar.enable_steady_tick(TICK);
    while let Some(event) = events.next().await {
        let splits = number(&event, "splits");
        if (splits > 0) != counted {
            counted = splits > 0;
            bar.set_style(style(counted));
        }
        bar.set_length(splits);
        bar.set_position(number(&event, "splitsFinished").min(splits));
        bar.set_message(said(&event));
    }
}

/// With the splits there are to read, where a statement reads files.
fn style(counted: bool) -> ProgressStyle {
    let template = match counted {
        true => "{elapsed:>4} [{bar:16}] {pos}/{len} splits  {wide_msg}",
        false => "{elapsed:>4} {spinner} {wide_msg}",
    };
    ProgressStyle::with_template(template)
        .expect("the templates are constants that a test parses")
        .progress_chars("█▉▊▋▌▍▎▏ ")
}

fn said(event: &Value) -> String {
    let mut said = event["phase"].as_str().unwrap_or("running").to_owned();
    let mut add = |text: String| {
        said.push_str(", ");
        said.push_str(&text);
    };
    let (stages, tasks) = (number(event, "stages"), number(event, "tasks"));
    if stages > 0 {
        let plural = if stages == 1 { "" } else { "s" };
        add(format!("{stages} stage{plural}"));
    }
    if tasks > 0 {
        add(format!("{}/{tasks} tasks", number(event, "tasksFinished")));
    }
    let (written, produced) = (number(event, "rowsWritten"), number(event, "rowsProduced"));
    match (written, produced) {
        (0, 0) => {}
        (0, _) => add(rows(produced)),
        (_, _) => add(format!("{} ({}) written", rows(written), ByteSize(number(event, "bytesWritten")))),
    }
    match (number(event, "rowsScanned"), number(event, "bytesScanned")) {
        (0, 0) => {}
        (scanned, 0) => add(format!("{} read", rows(scanned))),
        (scanned, bytes) => add(format!("{} ({}) read", rows(scanned), ByteSize(bytes))),
    }
    match number(event, "retries") {
        0 => {}
        retries => add(format!("try {}", retries + 1)),
    }
    said
}

fn rows(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} row{plural}")
}

fn number(event: &Value, name: &str) -> u64 {
    event.get(name).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_statement_does_is_said_in_a_line() {
        let event = json!({"phase": "running", "stages": 3, "tasks": 6, "tasksFinished": 2, "rowsProduced": 1,
            "rowsScanned": 900, "bytesScanned": 3 << 20, "retries": 0});
        assert_eq!(said(&event), "running, 3 stages, 2/6 tasks, 1 row, 900 rows (3.0 MB) read");
        assert_eq!(said(&json!({"phase": "queued"})), "queued");
        let event = json!({"phase": "running", "stages": 1, "rowsWritten": 7, "bytesWritten": 1024, "retries": 1});
        assert_eq!(said(&event), "running, 1 stage, 7 rows (1.0 KB) written, try 2");
        let _ = [style(true), style(false)];
    }
}

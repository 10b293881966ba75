//! What the process tells about itself, on stderr: stdout belongs to results and to the line that says it is ready.

use std::fmt;
use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFormat, LogOptions};
use crate::failure::CommandError;

/// Once for each process.
pub fn start(options: &LogOptions) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(&options.level)
        .map_err(|e| CommandError::Usage(format!("log.level {:?}: {e}", options.level)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.event_format(JsonLines).try_init(),
    };
    started.map_err(|e| CommandError::Failed(format!("starting the log: {e}")))
}

/// One JSON object a line: `time_ms`, `level`, `target`, the event's fields, and those of its spans as `in`.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Fields(Map::new());
        event.record(&mut line);
        line.0.insert("time_ms".to_owned(), json!(now.as_millis() as u64));
        line.0.insert("level".to_owned(), json!(event.metadata().level().as_str()));
        line.0.insert("target".to_owned(), json!(event.metadata().target()));
        let spans = context.event_scope().into_iter().flat_map(|scope| scope.from_root()).map(|span| span.name());
        let spans: Vec<&str> = spans.collect();
        if !spans.is_empty() {
            line.0.insert("in".to_owned(), json!(spans));
        }
        writeln!(to, "{}", Value::Object(line.0))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), json!(value));
    }
}

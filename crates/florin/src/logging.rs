//! Structured logs on standard error: quiet by default, louder with `-v`.

use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// How a log line is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default)]
pub(crate) enum Format {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Show what the services do; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    verbose: u8,

    /// Write logs as text or as JSON lines
    #[arg(long, global = true, env = "FLORIN_LOG_FORMAT", value_enum, default_value_t, help_heading = "Global")]
    log_format: Format,

    /// Filter by target and level, e.g. `facilitator=debug,sqlx=warn`; overrides -v
    #[arg(long, global = true, env = "FLORIN_LOG", value_name = "FILTER", value_parser = parse_filter, help_heading = "Global")]
    log: Option<String>,
}

fn parse_filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

/// Installs the process-wide subscriber.
pub(crate) fn init(options: &Options) {
    let by_count = match options.verbose {
        0 => "error",
        1 => "warn,facilitator=info,indexer=info,market=info,stack=info,x402=info,florin=info",
        _ => "info,facilitator=debug,indexer=debug,market=debug,stack=debug,x402=debug,florin=debug",
    };
    let filter = EnvFilter::new(options.log.as_deref().unwrap_or(by_count));
    // With details, every stage tells how long it took.
    let spans = if options.verbose > 1 { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(spans).with_writer(std::io::stderr);
    match options.log_format {
        Format::Text => builder.init(),
        Format::Json => builder.json().init(),
    }
}

//! The table.

use std::{fs::OpenOptions, io::Write, path::Path, time::Duration};

use anyhow::Result;

use crate::{load::Run, peers::Peer};

/// What all runs showed.
pub(crate) struct Report {
    call: &'static str,
    rows: Vec<(Peer, Vec<(Run, Option<u64>)>)>,
}

impl Report {
    pub(crate) fn new(call: &'static str, peers: &[Peer]) -> Self {
        Self { call, rows: peers.iter().map(|peer| (*peer, Vec::new())).collect() }
    }

    /// A run, and the most memory in KiB that it took.
    pub(crate) fn add(&mut self, peer: Peer, run: Run, memory_kib: Option<u64>) {
        if let Some((_, runs)) = self.rows.iter_mut().find(|(known, _)| *known == peer) {
            runs.push((run, memory_kib));
        }
    }

    /// Medians, each beside the first row's rate.
    #[allow(clippy::print_stdout)]
    pub(crate) fn print(&self, heading: &str, record: Option<&Path>) -> Result<()> {
        let mut text = format!("{heading}\n\n");
        text += &format!(
            "| facilitator | {} a second | first is so many times | p50 ms | p99 ms | longest ms | MB | failed |\n",
            self.call
        );
        text += "|---|---:|---:|---:|---:|---:|---:|---:|\n";
        let rate = |runs: &[(Run, Option<u64>)]| median(runs.iter().map(|(run, _)| run.rate()));
        let first = self.rows.first().map_or(0, |(_, runs)| rate(runs));
        for (peer, runs) in &self.rows {
            let at = |percent| millis(median(runs.iter().map(|(run, _)| run.percentile(percent))));
            let tenths = first * 10 / rate(runs).max(1);
            let megabytes = median(runs.iter().filter_map(|(_, kib)| *kib)) / 1_024;
            let failed: usize = runs.iter().map(|(run, _)| run.failures).sum();
            text += &format!(
                "| {} | {} | {}.{} | {} | {} | {} | {megabytes} | {failed} |\n",
                peer.name(),
                rate(runs),
                tenths / 10,
                tenths % 10,
                at(50),
                at(99),
                at(100)
            );
        }
        for (peer, runs) in &self.rows {
            if let Some(failure) = runs.iter().find_map(|(run, _)| run.first_failure.as_deref()) {
                let answer = failure.rsplit("\r\n").next().unwrap_or_default();
                text += &format!("\n{} first failed with: {answer}\n", peer.name());
            }
        }
        println!("{text}");
        if let Some(record) = record {
            writeln!(OpenOptions::new().create(true).append(true).open(record)?, "{text}")?;
        }
        Ok(())
    }
}

fn median<T: Ord + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    values.into_iter().nth(middle).unwrap_or_default()
}

/// With one decimal.
fn millis(duration: Duration) -> String {
    let tenths = duration.as_micros() / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

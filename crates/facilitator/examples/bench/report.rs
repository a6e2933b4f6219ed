//! The table.

use std::{fs::OpenOptions, io::Write, path::Path, time::Duration};

use anyhow::Result;

use crate::{load::Run, peers::Peer};

/// One run.
struct Measured {
    run: Run,
    memory_kib: Option<u64>,
    gas: u64,
}

/// What all runs showed.
pub(crate) struct Report {
    call: &'static str,
    rows: Vec<(Peer, Vec<Measured>)>,
}

impl Report {
    pub(crate) fn new(call: &'static str, peers: &[Peer]) -> Self {
        Self { call, rows: peers.iter().map(|peer| (*peer, Vec::new())).collect() }
    }

    /// A run, the most memory in KiB that it took, and the gas of each payment.
    pub(crate) fn add(&mut self, peer: Peer, run: Run, memory_kib: Option<u64>, gas: u64) {
        if let Some((_, runs)) = self.rows.iter_mut().find(|(known, _)| *known == peer) {
            runs.push(Measured { run, memory_kib, gas });
        }
    }

    /// Medians, each beside the first row's rate.
    #[allow(clippy::print_stdout)]
    pub(crate) fn print(&self, heading: &str, record: Option<&Path>) -> Result<()> {
        let mut text = format!("{heading}\n\n");
        text += &format!(
            "| facilitator | {} a second | first is so many times | p50 ms | p99 ms | longest ms | MB | gas | failed |\n",
            self.call
        );
        text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        let rate = |runs: &[Measured]| median(runs.iter().map(|measured| measured.run.rate()));
        let first = self.rows.first().map_or(0, |(_, runs)| rate(runs));
        for (peer, runs) in &self.rows {
            let at = |percent| millis(median(runs.iter().map(|measured| measured.run.percentile(percent))));
            let tenths = first * 10 / rate(runs).max(1);
            let megabytes = median(runs.iter().filter_map(|measured| measured.memory_kib)) / 1_024;
            let gas = median(runs.iter().map(|measured| measured.gas));
            let failed: usize = runs.iter().map(|measured| measured.run.failures).sum();
            text += &format!(
                "| {} | {} | {}.{} | {} | {} | {} | {megabytes} | {gas} | {failed} |\n",
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
            if let Some(failure) = runs.iter().find_map(|measured| measured.run.first_failure.as_deref()) {
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

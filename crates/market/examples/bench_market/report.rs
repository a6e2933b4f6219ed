//! The table: medians of all rounds.

use std::{fs::OpenOptions, io::Write, path::Path};

use anyhow::Result;

use crate::load::Seen;

/// What each row is beside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// The best of pgbench.
    Pgbench,
    /// Nothing.
    Nothing,
    /// nginx with a file, then with its proxy_cache: whoever stands beside it is told as so many times of each.
    Nginx,
}

#[derive(Default)]
pub(crate) struct Report(Vec<(String, Beside, Vec<Seen>)>);

impl Report {
    pub(crate) fn add(&mut self, name: &str, beside: Beside, seen: Seen) {
        eprintln!(
            "{name}: {:.0} a second, p50 {:.2} ms, p99 {:.2} ms, load {:.2} cores",
            seen.per_second, seen.p50_ms, seen.p99_ms, seen.load_cores
        );
        match self.0.iter_mut().find(|(known, ..)| known == name) {
            Some((.., runs)) => runs.push(seen),
            None => self.0.push((name.to_owned(), beside, vec![seen])),
        }
    }

    /// Each row beside its peers, or beside itself in what was measured before.
    #[allow(clippy::print_stdout)]
    pub(crate) fn print(&self, heading: &str, before: Option<&Self>, record: Option<&Path>) -> Result<()> {
        let times = if before.is_some() { "of before" } else { "times" };
        let mut text = format!("{heading}\n\n| | a second | {times} | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|\n");
        for (name, beside, runs) in &self.0 {
            let rate = median(runs, |seen| seen.per_second);
            let is_peer = |peer: &str, of: Beside| match before {
                Some(_) => peer == name,
                None => of == *beside && (peer.starts_with("pgbench") || peer.starts_with("nginx")),
            };
            let peers = before.unwrap_or(self).0.iter().filter(|(peer, of, _)| is_peer(peer, *of));
            let mut peers: Vec<f64> = peers.map(|(.., runs)| median(runs, |seen| seen.per_second)).collect();
            if *beside == Beside::Pgbench {
                peers = vec![peers.into_iter().fold(0.0, f64::max)];
            }
            let times = peers.into_iter().filter(|peer| *peer > 0.0).map(|peer| format!("{:.2}", rate / peer));
            let times = times.collect::<Vec<_>>().join(", ");
            let (p50, p99) = (median(runs, |seen| seen.p50_ms), median(runs, |seen| seen.p99_ms));
            let p99 = if p99 > 0.0 { format!("{p99:.2}") } else { String::new() };
            text += &format!("| {name} | {rate:.0} | {times} | {p50:.2} | {p99} |\n");
        }
        if before.is_none() && self.0.iter().any(|(_, beside, _)| *beside == Beside::Nginx) {
            text += "\nTimes beside nginx: of its file, then of its proxy_cache.\n";
        }
        println!("{text}");
        if let Some(record) = record {
            writeln!(OpenOptions::new().create(true).append(true).open(record)?, "{text}")?;
        }
        Ok(())
    }
}

fn median(runs: &[Seen], of: impl Fn(&Seen) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

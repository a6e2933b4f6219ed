use indicatif::{ProgressBar, ProgressStyle};

/// How far catching up is, for whoever watches a terminal; elsewhere nothing is shown.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(blocks: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} blocks, {per_sec}, {msg}, {eta} left")
            .expect("the template is right");
        Self(ProgressBar::new(blocks).with_style(style))
    }

    /// So many blocks of these are mirrored, and so many events and transfers since the start of the process.
    pub(super) fn reached(&self, blocks: u64, rows: u64) {
        self.0.set_message(format!("{rows} rows"));
        self.0.set_position(blocks);
    }

    pub(super) fn finish(self) {
        self.0.finish_and_clear();
    }
}

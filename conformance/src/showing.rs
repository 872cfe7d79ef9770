//! How far a run is: a bar on a terminal, elsewhere a line for each section.

use std::io::{Write, stderr};
use std::time::Duration;

use conformance::certificate::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar shows that time passes.
const TICK: Duration = Duration::from_millis(200);

/// Shows on standard error how far a run is.
#[derive(Debug)]
pub(crate) struct Showing {
    bar: ProgressBar,
    section: String,
}

impl Showing {
    pub(crate) fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} after {elapsed}: {msg}");
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self {
            bar,
            section: String::new(),
        }
    }

    pub(crate) fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Begins { section, step } => {
                self.bar.set_message(step.to_owned());
                if self.bar.is_hidden() && self.section != section {
                    say(section);
                }
                section.clone_into(&mut self.section);
            }
            Progress::StepDone => self.bar.inc(1),
        }
    }

    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// A line on standard error, which nobody need read.
pub(crate) fn say(matter: &str) {
    let _ = writeln!(stderr(), "conformance: {matter}");
}

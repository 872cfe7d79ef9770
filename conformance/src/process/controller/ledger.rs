//! What the children of a controller sweep told of a store.

use aqevia_storage::StorageBackend;
use tokio::time::{Duration, Instant};

use super::script::Script;
use super::track::Track;
use crate::process::Verdict;
use crate::process::child::Task;
use crate::process::line::Line;
use crate::process::plan::{Stand, WORLDS};
use crate::process::sweep::{Books, Words};
use crate::process::tally::Tally;
use crate::process::verify::patiently;
use crate::process::within::Cut;
use crate::sample::world;

/// How many deeds a child does in each world, beyond what any before it did.
const DEEDS: u64 = 72;

/// What was told of a store.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What the scripts follow from.
    seed: u64,
    tracks: Vec<Track>,
    cut: Cut,
    counts: Counts,
    /// Captures and coalesced records of the child that was heard last.
    of_run: (u64, u64),
    /// Where the scripts end for the child that was heard last.
    until: u64,
    /// Whether that child ended by itself, and whether the one before it was killed.
    ended: bool,
    recovers: bool,
    /// The child that began the last batch.
    writer: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) saves: u64,
    pub(super) captures: u64,
    pub(super) coalesced: u64,
    /// How long each controller took to start after a kill.
    pub(super) resumes: Vec<Duration>,
}

impl Ledger {
    /// What was counted, once no child is heard any more.
    pub(super) fn into_counts(mut self) -> Counts {
        self.count_run();
        self.counts
    }

    fn count_run(&mut self) {
        let (captures, coalesced) = std::mem::take(&mut self.of_run);
        self.counts.captures += captures;
        self.counts.coalesced += coalesced;
    }

    fn track(&mut self, name: &str) -> Verdict<&mut Track> {
        let mut tracks = self.tracks.iter_mut();
        let track = tracks.find(|track| track.name == name);
        track.ok_or_else(|| format!("a child tells of world {name:?}"))
    }

    /// Takes down how many parts a world has, and counts one that was not answered.
    fn stand(&mut self, name: &str, number: u64, head: u64) -> Verdict {
        let unanswered = self.track(name)?.stand(number, head)?;
        if unanswered {
            self.cut.store(self.writer);
        }
        Ok(())
    }

    /// Compares what is stored of all worlds with what was told.
    async fn compare(&mut self, backend: &dyn StorageBackend) -> Verdict {
        for track in &mut self.tracks {
            let found = track.read(backend).await?;
            let next = track.compare(&found);
            let next = next.map_err(|violation| format!("{violation} (world {:?})", track.name))?;
            track.next = Some(next);
        }
        Ok(())
    }
}

impl Books for Ledger {
    const WORDS: Words = Words {
        name: "controller sweep",
        things: "groups",
        lost: "C1",
        doubled: "C2",
    };

    /// Each store has scripts of its own.
    fn new(seed: u64, store: u64) -> Self {
        let seed = seed.wrapping_add(store);
        let tracks = WORLDS.iter().enumerate();
        let tracks = tracks.map(|(index, name)| Track::new(name, Script::new(seed, index)));
        Self {
            seed,
            tracks: tracks.collect(),
            cut: Cut::default(),
            counts: Counts::default(),
            of_run: (0, 0),
            until: 0,
            ended: true,
            recovers: false,
            writer: 0,
        }
    }

    fn task(&mut self, _run: u64, ends: bool) -> Task {
        self.count_run();
        let furthest = self.tracks.iter().map(|track| track.accepted).max();
        // Order matters: a record that came early, and whose process was killed, is given again
        // before the script ends.
        self.until = furthest.unwrap_or(0) + DEEDS;
        self.recovers = !std::mem::take(&mut self.ended);
        let (script, until) = (self.seed, self.until);
        Task::Play {
            script,
            until,
            ends,
        }
    }

    fn hear(&mut self, run: u64, line: &Line) -> Verdict {
        match line {
            Line::Claimed {
                world,
                number,
                head,
                ..
            } => self.stand(world, *number, *head)?,
            Line::Opened { micros } if self.recovers => {
                self.counts.resumes.push(Duration::from_micros(*micros));
            }
            Line::Persisting { .. } => self.writer = run,
            Line::Resumed { world, from } => self.track(world)?.resume(*from)?,
            Line::Playing { world, until } => {
                let track = self.track(world)?;
                track.accepted = track.accepted.max(*until);
                track.next = None;
            }
            Line::Stored { world, at, first } => self.track(world)?.store(*at, *first)?,
            Line::Saved { world, at } => {
                let track = self.track(world)?;
                track.saved = track.saved.max(at + 1);
                self.counts.saves += 1;
            }
            Line::Acknowledged {
                world,
                number,
                first,
                count,
                ..
            } => self
                .track(world)?
                .answer(*number, *first, u64::from(*count))?,
            Line::Counted {
                captures,
                coalesced,
            } => {
                let (before_captures, before_coalesced) = self.of_run;
                self.of_run = (
                    before_captures.max(*captures),
                    before_coalesced.max(*coalesced),
                );
            }
            Line::Done => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    /// A controller hands over nothing that is empty.
    fn writes(&self) -> bool {
        true
    }

    fn cut(&mut self) -> &mut Cut {
        &mut self.cut
    }

    async fn check(&mut self, backend: &dyn StorageBackend, _run: u64) -> Verdict<Duration> {
        for track in &mut self.tracks {
            track.ended = self.ended.then_some(self.until);
        }
        self.compare(backend).await?;
        let mut elapsed = Duration::ZERO;
        for name in WORLDS {
            let id = world(name);
            let begin = Instant::now();
            let stand = patiently(|| Stand::claim(backend, &id)).await;
            elapsed += begin.elapsed();
            let stand = stand.map_err(|error| format!("P1: `claim` after a kill fails: {error:?}"));
            let claim = stand?.claim;
            self.stand(name, claim.last_number.get(), claim.head.get())?;
        }
        // A server may have been at work on a part until the claim.
        self.compare(backend).await?;
        Ok(elapsed)
    }

    async fn tally(&self, backend: &dyn StorageBackend) -> Verdict<Tally> {
        let mut tally = Tally::default();
        for track in &self.tracks {
            let found = track.read(backend).await?;
            tally.add(track.count(&found));
        }
        Ok(tally)
    }
}

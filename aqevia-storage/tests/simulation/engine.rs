//! The engine of a run: does what a plan says, and notes what comes of it.

use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::task::{Context, Poll, Waker};

use aqevia_storage::{
    Captured, Cut, Entity, Error, Payload, Receipt, Sequence, StateSource, WorldId, WorldRecord,
};
use tokio::task::JoinHandle;

use crate::history::{Event, History, Memoir, REFUSED, is_refused, key, name, number, ships};
use crate::plan::{Draft, Meanwhile, SourceFault};
use crate::store::OnPurpose;
use crate::subject::{Answer, Subject};

/// How often every task gets its turn before it is taken to rest.
pub(crate) const TURNS: usize = 16;

/// The engine: its memory is in the history.
pub(crate) struct Engine {
    pub(crate) history: History,
    pub(crate) subject: Arc<dyn Subject>,
    /// Flushes and saves that are waited for.
    pub(crate) waiting: Mutex<Vec<JoinHandle<()>>>,
}

/// How a group is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Record,
    Submit,
    Commit,
}

impl Engine {
    /// Hands over a group, and applies it to the memory if it is accepted.
    pub(crate) fn give(&self, world: usize, drafts: &[Draft], how: How) {
        let mut memoir = self.history.lock();
        let Some(lane) = memoir.lanes.get(world).copied().flatten() else {
            return;
        };
        let records: Vec<WorldRecord> = drafts
            .iter()
            .map(|draft| memoir.record(world, draft))
            .collect();
        let before = self.subject.exposure();
        let given = records.clone();
        let accepted = match how {
            How::Record => match records.into_iter().next() {
                Some(record) => self.subject.record(record, world).map(|()| None),
                None => return,
            },
            How::Submit => self.subject.submit(world, records).map(Some),
            How::Commit => match begin(self.subject.commit(world, records)) {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => {
                    return memoir.events.push(Event::Refused {
                        given,
                        back: None,
                        kind: error.kind(),
                        before,
                    });
                }
            },
        };
        match accepted {
            Ok(answer) => {
                for record in given.iter().filter(|record| !is_refused(record)) {
                    memoir.apply(world, record);
                }
                let ticket = answer.map(|answer| self.wait(&mut memoir, answer));
                memoir.events.push(Event::Accepted {
                    world,
                    lane,
                    records: given,
                    ticket,
                });
            }
            Err(refused) => memoir.events.push(Event::Refused {
                given,
                back: Some(refused.records),
                kind: refused.error.kind(),
                before,
            }),
        }
    }

    /// Flushes, and goes on.
    pub(crate) fn flush(&self) {
        let ticket = self.history.lock().next_ticket();
        let (subject, history) = (Arc::clone(&self.subject), self.history.clone());
        self.go_on(async move {
            history.note_flush(ticket);
            let flushed = subject.flush().await;
            let answer = flushed.map(|()| NOTHING).map_err(|error| error.kind());
            history.note(Event::Settled { ticket, answer });
        });
    }

    /// Saves all worlds, and goes on.
    pub(crate) fn save(&self) {
        let ticket = self.history.lock().next_ticket();
        let (subject, history) = (Arc::clone(&self.subject), self.history.clone());
        self.go_on(async move {
            history.note(Event::Saving { ticket });
            let saved = subject.save().await;
            let answer = saved.map(|()| NOTHING).map_err(|error| error.kind());
            history.note(Event::Settled { ticket, answer });
        });
    }

    fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(tokio::spawn(work));
    }

    /// Waits no more for any flush or save.
    pub(crate) fn give_up_waiting(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().for_each(JoinHandle::abort);
    }

    fn wait(&self, memoir: &mut Memoir, answer: Answer) -> usize {
        let ticket = memoir.next_ticket();
        let history = self.history.clone();
        tokio::spawn(async move {
            let answer = answer.await.map_err(|error| error.kind());
            history.note(Event::Settled { ticket, answer });
        });
        ticket
    }

    /// Changes an entity in memory, and marks it.
    pub(crate) fn change(&self, world: usize, at: u8, refused: bool) {
        let mut memoir = self.history.lock();
        let Some(lane) = memoir.lanes.get(world).copied().flatten() else {
            return;
        };
        let id = memoir.next_id();
        let mark = if refused { REFUSED } else { "" };
        let payload = Payload::Json(format!("\"{mark}{id}\""));
        let record = WorldRecord::put(&name(world), &ships(), key(at), payload, id);
        let entity = Entity {
            collection: ships(),
            key: key(at),
        };
        if self.subject.mark(world, &entity).is_ok() {
            memoir.apply(world, &record);
            memoir.events.push(Event::Marked {
                world,
                lane,
                entity,
            });
        }
    }

    /// Does what is to happen while the state source is asked, before the cut or after it.
    fn meanwhile(&self, world: usize, before: bool) {
        let mut memoir = self.history.lock();
        let next = memoir
            .meanwhile
            .front()
            .is_some_and(|next| next.1 == before);
        let next = if next {
            memoir.meanwhile.pop_front()
        } else {
            None
        };
        drop(memoir);
        match next {
            Some((Meanwhile::Change { key }, _)) => self.change(world, key, false),
            Some((Meanwhile::Save, _)) => self.save(),
            Some((Meanwhile::Record(draft), _)) => self.give(world, &[draft], How::Record),
            None => {}
        }
    }
}

/// What a flush or a save answers, which has no receipt.
const NOTHING: Receipt = Receipt::written(Sequence::ZERO, 0);

/// Begins what is handed over when it is first polled; the error if it is refused.
fn begin(mut answer: Answer) -> Result<Answer, Error> {
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(Err(error)) => Err(error),
        Poll::Ready(Ok(receipt)) => Ok(Box::pin(async move { Ok(receipt) })),
        Poll::Pending => Ok(answer),
    }
}

/// The engine's state source.
pub(crate) struct Source {
    pub(crate) history: History,
    /// Gone once the controller is dropped.
    pub(crate) engine: Weak<Engine>,
}

impl StateSource for Source {
    fn capture(&self, world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let (world, history) = (number(world), &self.history);
        let engine = self.engine.upgrade();
        let meanwhile = |before| {
            engine
                .iter()
                .for_each(|engine| engine.meanwhile(world, before))
        };
        let fault = history.lock().source_faults.pop_front();
        if matches!(fault, Some(SourceFault::PanicsBeforeTheCut)) {
            std::panic::resume_unwind(Box::new(OnPurpose));
        }
        meanwhile(true);
        let_others_rest();
        let mut captured = take(history, world, cut);
        meanwhile(false);
        let_others_rest();
        history.tell_of_cut();
        let_others_rest();
        match fault {
            Some(SourceFault::PanicsAfterTheCut) => std::panic::resume_unwind(Box::new(OnPurpose)),
            Some(SourceFault::ForgetsOne) => drop(captured.pop()),
            _ => {}
        }
        captured
    }
}

/// Waits until the runtime has nothing to do but to wait for this thread, so that the same
/// happens in each run.
fn let_others_rest() {
    let (rested, rest) = mpsc::channel();
    tokio::spawn(async move {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        // The run may have ended.
        let _ = rested.send(());
    });
    let _ = rest.recv();
}

/// Copies the states of what is dirty, while nothing else changes them.
fn take(history: &History, world: usize, cut: Cut<'_>) -> Vec<Captured> {
    let mut memoir = history.lock();
    let mut asked: Vec<_> = cut.take().into_iter().collect();
    asked.sort();
    let mut records = Vec::new();
    for entity in &asked {
        let id = memoir.next_id();
        let at = (entity.collection.clone(), entity.key.clone());
        let state = memoir
            .states
            .get(world)
            .and_then(|states| states.get(&at))
            .cloned();
        let (id_of, key) = (name(world), entity.key.clone());
        records.push(match state {
            Some(payload) => WorldRecord::put(&id_of, &at.0, key, payload, id),
            None => WorldRecord::delete(&id_of, &at.0, key, id),
        });
    }
    let lane = memoir
        .lanes
        .get(world)
        .copied()
        .flatten()
        .unwrap_or_default();
    memoir.events.push(Event::Cut {
        world,
        lane,
        records: records.clone(),
    });
    drop(memoir);
    let captured = asked.into_iter().zip(records).map(|(entity, record)| {
        let id = record.timestamp;
        match record.payload().cloned() {
            Some(payload) => Captured::put(entity, id, move || Ok(payload)),
            None => Captured::delete(entity, id),
        }
    });
    captured.collect()
}

//! What the flush loop is told, and does about it.

use std::sync::Arc;

use super::flush::FlushLoop;
use super::group::Group;
use super::inbox::{Inbox, Message};
use super::shared::{Unpersisted, WorldShared};
use crate::Error;

/// For how many messages the room is kept from flush to flush.
const MESSAGES_KEPT: usize = 1 << 16;

impl FlushLoop {
    pub(super) fn take_messages(&mut self) {
        let mut messages = self.inbox.take(std::mem::take(&mut self.messages));
        for message in messages.drain(..) {
            self.take_message(message);
        }
        messages.shrink_to(MESSAGES_KEPT);
        self.messages = messages;
        // Order matters: what was accepted after a world was to be closed keeps it open.
        for (world, answer) in std::mem::take(&mut self.closing) {
            let closed = self.close_world(&world);
            // Nobody may be waiting any more.
            let _ = answer.send(closed);
        }
        // Those of a world that was stopped are not the loop's any more.
        self.inbox.keep_oldest(self.oldest());
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Open(lane) => {
                let id = lane.id();
                self.lanes.insert(id, *lane);
                if let Some(cause) = self.halted.clone() {
                    self.stop(id, &cause);
                }
            }
            Message::Group(group) => {
                let inbox = Arc::clone(&self.inbox);
                match self.lane(group.world.lane()) {
                    Some(lane) => lane.push(group, &inbox),
                    None => refuse(group, &inbox),
                }
            }
            Message::Cut(world) => {
                if let Some(lane) = self.lane(world.lane()) {
                    lane.cut();
                }
            }
            Message::Save(world, waiter) => {
                // Where there is no lane, dropping the waiter tells it.
                if let Some(lane) = self.lane(world.lane()) {
                    lane.saving().ask(Some(waiter));
                    self.begin_capture(world.lane());
                }
            }
            Message::Close(world, answer) => self.closing.push((world, answer)),
        }
    }

    /// Lets a world go of which nothing is only in memory.
    fn close_world(&mut self, world: &Arc<WorldShared>) -> bool {
        let Some(lane) = self.lane(world.lane()) else {
            return true;
        };
        if !lane.is_clean() || !world.close_if_clean(&self.inbox) {
            return false;
        }
        self.forget(world.lane());
        true
    }
}

/// Answers a group of a world that was stopped, and keeps its records.
fn refuse(group: Group, inbox: &Inbox) {
    let ended = || Error::closed("the world is not open");
    let error = group.world.stopped().cloned().unwrap_or_else(ended);
    inbox.settle(group.size());
    let left = Unpersisted {
        pending: group.records,
        ..Unpersisted::default()
    };
    if !left.is_empty() {
        tracing::error!(
            target: "aqevia_storage::controller",
            world = %group.world.id(),
            unpersisted = ?left,
            %error,
            "a group was accepted while its world was stopped"
        );
    }
    group.world.keep(left);
    if let Some(answer) = group.answer {
        // Nobody may be waiting any more.
        drop(answer.send(Err(error)));
    }
}

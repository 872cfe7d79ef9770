//! Whose a container is, and the end of those whose owner has gone.
//!
//! A container ends by itself when nobody uses it, but minutes later if its server is paused: then
//! it takes that long to tell that the server will not answer.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::ContainerSummary;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};

/// The label of all containers of the suite, and its value.
const SUITE: (&str, &str) = ("org.aqevia.storage", "conformance");
/// The label of a container that one process has to itself: an [`Owner`].
const OWNER: &str = "org.aqevia.storage.owner";

/// The labels of a container, which is this process' own or everybody's.
pub(super) fn labels(own: bool) -> Vec<(&'static str, String)> {
    let owner = Owner::this_process().filter(|_| own);
    let owner = owner.map(|owner| (OWNER, owner.to_label()));
    let suite = (SUITE.0, SUITE.1.to_owned());
    [suite].into_iter().chain(owner).collect()
}

/// Removes the containers, those of paused servers too, that were a process' own and whose process has gone.
pub(super) async fn remove_abandoned(engine: &Docker) -> Result<(), String> {
    let Some(here) = Place::of_this_process() else {
        return Ok(());
    };
    let labelled = format!("{}={}", SUITE.0, SUITE.1);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", vec![&*labelled])]))
        .build();
    let containers = engine.list_containers(Some(options)).await;
    let containers = containers.map_err(|error| format!("list the suite's containers: {error}"))?;
    for id in containers.iter().filter_map(|it| abandoned(it, &here)) {
        remove(engine, id).await?;
    }
    Ok(())
}

/// The id of a container whose owner has gone, as far as this process can tell.
fn abandoned<'a>(container: &'a ContainerSummary, here: &Place) -> Option<&'a str> {
    let label = container.labels.as_ref()?.get(OWNER)?;
    let owner = Owner::of_label(label)?;
    (owner.place == *here && !owner.lives())
        .then_some(container.id.as_deref())
        .flatten()
}

async fn remove(engine: &Docker, id: &str) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    match engine.remove_container(id, Some(options)).await {
        // Another process removes it, or has removed it.
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        })
        | Ok(()) => Ok(()),
        Err(error) => Err(format!(
            "remove the container {id}, whose process has gone: {error}"
        )),
    }
}

/// A process that has a container to itself.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    place: Place,
    pid: u32,
    /// In ticks since the start of the machine: tells it from others that get its number later.
    started: u64,
}

/// Who sees whom: one process can tell whether another one lives if both have the same of this.
///
/// A container engine may serve several machines, systems in containers, and users.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    boot: String,
    /// The namespace in which numbers are given to processes.
    numbers: String,
    user: u32,
}

impl Owner {
    /// This process, where there is a `/proc` that tells of it.
    fn this_process() -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            place: Place::of_this_process()?,
            pid,
            started: started(pid)?,
        })
    }

    fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    fn to_label(&self) -> String {
        let Self {
            place,
            pid,
            started,
        } = self;
        let Place {
            boot,
            numbers,
            user,
        } = place;
        format!("{boot} {numbers} {user} {pid} {started}")
    }

    fn of_label(label: &str) -> Option<Self> {
        let words: Vec<&str> = label.split(' ').collect();
        let [boot, numbers, user, pid, started] = words[..] else {
            return None;
        };
        Some(Self {
            place: Place {
                boot: boot.to_owned(),
                numbers: numbers.to_owned(),
                user: user.parse().ok()?,
            },
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }
}

impl Place {
    fn of_this_process() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let numbers = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            numbers: numbers.to_str()?.to_owned(),
            user: rustix::process::getuid().as_raw(),
        })
    }
}

/// When a process was started, unless it has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    start_in(&fs::read_to_string(stat).ok()?)
}

/// The same, from `/proc/PID/stat`.
fn start_in(stat: &str) -> Option<u64> {
    // The name of the program stands in brackets, and may hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    // Ended ones stay until their parent has asked how they ended.
    let _state = fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    fields.nth(18)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(owner: &Owner) -> ContainerSummary {
        ContainerSummary {
            id: Some("id".to_owned()),
            labels: Some(HashMap::from([(OWNER.to_owned(), owner.to_label())])),
            ..ContainerSummary::default()
        }
    }

    fn is_abandoned(owner: &Owner) -> bool {
        let here = Place::of_this_process().expect("a place");
        abandoned(&container(owner), &here).is_some()
    }

    fn this_process() -> Owner {
        Owner::this_process().expect("this process")
    }

    #[test]
    fn a_label_holds_the_whole_owner() {
        let owner = this_process();
        assert_eq!(Owner::of_label(&owner.to_label()), Some(owner));
        for label in ["", "1 2 3 4", "a b 1 2 3 4", "a b c 1 2"] {
            assert_eq!(Owner::of_label(label), None, "{label}");
        }
    }

    #[test]
    fn a_container_of_a_process_that_lives_is_not_abandoned() {
        assert!(!is_abandoned(&this_process()));
    }

    #[test]
    fn a_later_process_with_the_same_number_is_another() {
        let mut owner = this_process();
        owner.started -= 1;
        assert!(is_abandoned(&owner));
    }

    #[test]
    fn owners_elsewhere_are_left_alone() {
        let gone = || Owner {
            started: 0,
            ..this_process()
        };
        assert!(is_abandoned(&gone()));
        let elsewhere: [fn(&mut Place); 3] = [
            |place| place.boot.push('0'),
            |place| place.numbers.push('0'),
            |place| place.user += 1,
        ];
        for change in elsewhere {
            let mut owner = gone();
            change(&mut owner.place);
            assert!(!is_abandoned(&owner), "{owner:?}");
        }
    }

    #[test]
    fn a_container_without_an_owner_is_left_alone() {
        let here = Place::of_this_process().expect("a place");
        let shared = labels(false).into_iter();
        let shared = shared.map(|(name, value)| (name.to_owned(), value));
        let shared = ContainerSummary {
            id: Some("id".to_owned()),
            labels: Some(shared.collect()),
            ..ContainerSummary::default()
        };
        assert_eq!(abandoned(&shared, &here), None);
    }

    #[test]
    fn the_start_stands_behind_any_name_and_ends_with_the_process() {
        let rest = "1 ".repeat(18);
        let stat = |state| format!("7 (a) R (b) {state} {rest}4321 5\n");
        assert_eq!(start_in(&stat("S")), Some(4321));
        assert_eq!(start_in(&stat("Z")), None);
        assert_eq!(start_in("7 (a) S 1 2"), None);
    }
}

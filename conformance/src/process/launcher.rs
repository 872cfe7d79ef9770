//! Starting child processes, listening to them, and ending them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::time::Instant;

use super::Verdict;
use super::child::{Job, VARIABLE};
use super::line::Line;

/// How to start a process that does the job of a child: see [`child`](super::child).
#[derive(Clone, Debug)]
pub struct Launcher {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// This test binary again, and in it one test by the path `module_path!()` gives it, which
    /// begins with the name of the crate.
    ///
    /// # Panics
    /// If the binary is not where it was started from.
    #[must_use]
    pub fn of_test(path: &str) -> Self {
        let test = path.split_once("::").map_or(path, |(_, test)| test);
        let program = std::env::current_exe().expect("the path of this program");
        Self::new(program, [test, "--exact", "--nocapture"])
    }

    /// Any program that calls [`child`](super::child) for the same harness.
    pub fn new(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// The same inside another program, which takes the command as its last arguments.
    pub(crate) fn inside(&self, program: &str, arguments: &[&str], folder: &Path) -> Self {
        let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        all.push(folder.into());
        all.push(self.program.clone());
        all.extend(self.arguments.iter().cloned());
        Self::new(program, all)
    }

    /// Starts a child on a job.
    pub(crate) fn start(&self, job: &Job) -> Running {
        let job = serde_json::to_string(job).expect("a job has a JSON form");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env(VARIABLE, job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running::of(child.expect("the program of the launcher starts"))
    }
}

/// How long a child may go without ending or being ended.
const LIMIT: Duration = Duration::from_secs(120);

/// How much is kept of what a child says on its standard error, in bytes.
const STDERR_BYTES_MAX: u64 = 16 << 10;

/// A child that was started. It is killed and waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    stderr: Option<JoinHandle<String>>,
    deadline: Instant,
    /// The last step that it told.
    pub(crate) step: String,
}

/// What comes of listening for a while.
#[derive(Debug)]
pub(crate) enum Heard {
    Line(Line),
    Nothing,
    /// The child has ended.
    End,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("a pipe");
        let mut stderr = child.stderr.take().expect("a pipe");
        let (send, lines) = channel();
        thread::spawn(move || {
            let texts = BufReader::new(stdout).lines().map_while(Result::ok);
            // It fails once nobody wants to hear more.
            texts
                .filter_map(|text| Line::parse(&text))
                .all(|line| send.send(line).is_ok())
        });
        let stderr = thread::spawn(move || {
            let mut kept = Vec::new();
            let _ = stderr
                .by_ref()
                .take(STDERR_BYTES_MAX)
                .read_to_end(&mut kept);
            // The pipe is emptied, so that the child does not wait for it.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&kept).into_owned()
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            stderr: Some(stderr),
            deadline: Instant::now() + LIMIT,
            step: "started".to_owned(),
        }
    }

    /// The next line, or `None` when the child has ended and all it told has been heard.
    ///
    /// # Errors
    /// If the child says that the store breaks the contract, or hangs.
    pub(crate) fn next(&mut self) -> Verdict<Option<Line>> {
        match self.next_until(self.deadline)? {
            Heard::Line(line) => Ok(Some(line)),
            Heard::End => Ok(None),
            Heard::Nothing => Err(self.hangs()),
        }
    }

    /// The next line that comes before a moment.
    pub(crate) fn next_until(&mut self, moment: Instant) -> Verdict<Heard> {
        let moment = moment.min(self.deadline);
        let line = self
            .lines
            .recv_timeout(moment.saturating_duration_since(Instant::now()));
        match line {
            Ok(Line::Violated { message }) => Err(message),
            Ok(line) => {
                if let Line::Step { name } | Line::Halted { name } = &line {
                    self.step.clone_from(name);
                }
                Ok(Heard::Line(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Heard::End),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= self.deadline => Err(self.hangs()),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Nothing),
        }
    }

    /// Listens until a line says what is waited for, and returns what `wanted` makes of it.
    pub(crate) fn wait_for<T>(&mut self, wanted: impl Fn(&Line) -> Option<T>) -> Verdict<T> {
        while let Some(line) = self.next()? {
            if let Some(found) = wanted(&line) {
                return Ok(found);
            }
        }
        Err(self.ended_early())
    }

    /// Gives the byte that the child waits for.
    pub(crate) fn give_byte(&mut self) {
        // A child that is gone is noticed where its lines are read.
        let stdin = self.stdin.as_mut().map(|stdin| stdin.write_all(b"\n"));
        drop(stdin);
    }

    /// Kills the child and waits for its end. What it told before can still be heard.
    pub(crate) fn kill(&mut self) {
        // Both fail only if it was waited for before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops all threads of the child, and waits until they stand.
    pub(crate) fn stop(&mut self) {
        let pid = self.pid();
        kill_process(pid, Signal::STOP).expect("a child of ours takes a signal");
        let either = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), either).expect("a child of ours can be waited for");
    }

    /// Lets the child go on after [`Self::stop`].
    pub(crate) fn go_on(&mut self) {
        kill_process(self.pid(), Signal::CONT).expect("a child of ours takes a signal");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for a child that has done its job, and checks that it ended well.
    pub(crate) fn finish(mut self) -> Verdict {
        self.wait_for(|line| (*line == Line::Done).then_some(()))?;
        while self.next()?.is_some() {}
        let status = self
            .child
            .wait()
            .expect("a child of ours can be waited for");
        match status.success() {
            true => Ok(()),
            false => Err(self.ended_early()),
        }
    }

    /// What is said of a child that ended before it did its job.
    pub(crate) fn ended_early(&mut self) -> String {
        self.kill();
        let (step, stderr) = (self.step.clone(), self.stderr());
        format!("a child process ended by itself after step {step:?}; it said:\n{stderr}")
    }

    fn hangs(&mut self) -> String {
        self.kill();
        let (step, stderr) = (self.step.clone(), self.stderr());
        format!(
            "a child process did not go on within {LIMIT:?} after step {step:?}, and was killed; \
             it said:\n{stderr}"
        )
    }

    /// What the child said on its standard error, once it has ended.
    fn stderr(&mut self) -> String {
        let said = self.stderr.take().and_then(|thread| thread.join().ok());
        said.unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

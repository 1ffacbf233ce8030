//! The way of log lines to standard error, which may be slow, full or gone.
//!
//! Used by `log.rs`. Whoever logs appends a line to a buffer and goes on; a thread of its own
//! writes. So a terminal that is stopped, a pipe that nobody reads or a full disk costs lines and
//! nothing else.
//!
//! * Bound: [`WAITING_BYTES_MAX`] wait, and as many are being written.
//! * Full, or not to be written: the line is dropped and counted (`log_lines_dropped_total`). As
//!   soon as something could be written again, the log says how many are missing.
//! * A failed write ends nothing: the next lines are tried again, for the disk may have room then.
//! * The thread ends with the process. It holds nothing that anybody needs.
//!
//! Not used: tracing-appender. Its queue counts lines and not bytes, its guard reports a stalled
//! writer by `eprintln!`, which is the stall itself, and what it drops is only a number for those
//! who ask.

use crate::metrics::metrics;
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Lines that wait to be written: some seconds of a busy node.
const WAITING_BYTES_MAX: usize = 1_024 * 1_024;

/// Where lines are written.
type Sink = Box<dyn Write + Send>;

/// The log's output. Cheap to clone; as a writer it takes one whole line at a time and never fails.
#[derive(Clone)]
pub(super) struct LogOutput {
    shared: Arc<SharedOutput>,
}

struct SharedOutput {
    lines: Mutex<WaitingLines>,
    /// There is something to write.
    filled: Condvar,
    /// Everything is written.
    drained: Condvar,
}

#[derive(Default)]
struct WaitingLines {
    bytes: Vec<u8>,
    is_writing: bool,
    /// Lines that were dropped since it was last said.
    dropped: u64,
}

impl LogOutput {
    /// Starts the thread that writes to `sink`. It calls `report` with the number of lines that are
    /// missing, when there is room to say so.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(sink: Sink, report: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(SharedOutput {
            lines: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let output = Self { shared: shared.clone() };
        let work = move || write_lines(&shared, sink, report);
        std::thread::Builder::new().name("log".to_owned()).spawn(work)?;
        Ok(output)
    }

    /// Adds lines, or drops them where there is no room. Never waits.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = self.shared.lines.lock();
        if lines.bytes.len() + line.len() > WAITING_BYTES_MAX {
            lines.drop_lines(line);
            return;
        }
        lines.bytes.extend_from_slice(line);
        if !lines.is_writing {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until everything is written, for `patience` at most.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut lines = self.shared.lines.lock();
        while lines.is_writing || !lines.bytes.is_empty() {
            if self.shared.drained.wait_until(&mut lines, deadline).timed_out() {
                return;
            }
        }
    }
}

impl WaitingLines {
    fn drop_lines(&mut self, lost: &[u8]) {
        let lines = lost.iter().filter(|byte| **byte == b'\n').count().max(1) as u64;
        self.dropped += lines;
        metrics().log_lines_dropped(lines);
    }
}

impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    /// Nobody who logs waits.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what waits, for ever.
fn write_lines(shared: &SharedOutput, mut sink: Sink, report: impl Fn(u64)) {
    let mut batch = Vec::new();
    // A line that broke off is ended before the next.
    let mut is_broken = false;
    loop {
        let mut lines = shared.lines.lock();
        lines.is_writing = false;
        while lines.bytes.is_empty() {
            shared.drained.notify_all();
            shared.filled.wait(&mut lines);
        }
        lines.is_writing = true;
        std::mem::swap(&mut lines.bytes, &mut batch);
        drop(lines);

        let mut rest = batch.as_slice();
        if is_broken && sink.write_all(b"\n").is_ok() {
            is_broken = false;
        }
        let written = write_all(&mut sink, &mut rest);
        is_broken |= rest.len() < batch.len() && !rest.is_empty();
        let mut lines = shared.lines.lock();
        if written.is_err() {
            lines.drop_lines(rest);
        }
        // Said where it can be written, and finds room itself.
        let has_room = written.is_ok() && lines.bytes.len() < WAITING_BYTES_MAX / 2;
        let missing = if has_room {
            std::mem::take(&mut lines.dropped)
        } else {
            0
        };
        drop(lines);
        batch.clear();
        if missing > 0 {
            report(missing);
        }
    }
}

/// Writes everything; on an error `rest` is what was not written.
fn write_all(sink: &mut Sink, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => *rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares the pipe has made it such that writing does not wait.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let standard_error = io::stderr();
                poll(&mut [PollFd::new(&standard_error, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver, SyncSender};

    /// How long an event may take that must come.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A sink that says what it is given, and does what it is told with it.
    struct Told {
        given: SyncSender<String>,
        answers: Receiver<io::Result<usize>>,
    }

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.given.send(text).map_err(|_| ErrorKind::Other)?;
            let answer = self.answers.recv().map_err(|_| ErrorKind::Other)?;
            answer.map(|count| count.min(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Scene {
        output: LogOutput,
        given: Receiver<String>,
        answers: SyncSender<io::Result<usize>>,
        reported: Receiver<u64>,
    }

    impl Scene {
        fn new() -> Self {
            let ((given_in, given), (answers, answers_out)) = (mpsc::sync_channel(99), mpsc::sync_channel(99));
            let (report, reported) = mpsc::sync_channel(99);
            let told = Told {
                given: given_in,
                answers: answers_out,
            };
            let output = LogOutput::start(Box::new(told), move |lines| report.send(lines).unwrap()).unwrap();
            Self {
                output,
                given,
                answers,
                reported,
            }
        }

        /// The next write is given `expected` and answered so.
        #[track_caller]
        fn written(&self, expected: &str, answer: io::Result<usize>) {
            assert_eq!(self.given.recv_timeout(PATIENCE).as_deref(), Ok(expected));
            self.answers.send(answer).unwrap();
        }

        #[track_caller]
        fn reported(&self, lines: u64) {
            assert_eq!(self.reported.recv_timeout(PATIENCE), Ok(lines));
        }
    }

    const ALL: usize = usize::MAX;

    #[test]
    fn who_logs_does_not_wait_and_lines_go_together() {
        let scene = Scene::new();
        scene.output.push(b"one\n");
        assert_eq!(scene.given.recv_timeout(PATIENCE).as_deref(), Ok("one\n"));
        // It is being written, for as long as it takes.
        scene.output.push(b"two\n");
        scene.output.push(b"three\n");
        scene.output.flush(Duration::from_millis(1));
        scene.answers.send(Ok(ALL)).unwrap();
        scene.written("two\nthree\n", Ok(3));
        scene.written("\nthree\n", Ok(ALL));
        scene.output.flush(PATIENCE);
        assert!(scene.output.shared.lines.lock().bytes.is_empty());
        assert!(scene.reported.try_recv().is_err(), "nothing is missing");
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_said_once_there_is_some() {
        let scene = Scene::new();
        scene.output.push(b"first\n");
        assert_eq!(scene.given.recv_timeout(PATIENCE).as_deref(), Ok("first\n"));
        let line = format!("{}\n", "x".repeat(1_023));
        for _ in 0..1_024 + 7 {
            scene.output.push(line.as_bytes());
        }
        assert_eq!(scene.output.shared.lines.lock().bytes.len(), WAITING_BYTES_MAX);
        scene.answers.send(Ok(ALL)).unwrap();
        // Not before this, for there would be no room for it.
        scene.written(&line.repeat(1_024), Ok(ALL));
        scene.reported(7);
        scene.output.flush(PATIENCE);
        assert!(scene.reported.try_recv().is_err(), "once");
    }

    #[test]
    fn a_write_that_fails_costs_its_lines_and_nothing_else() {
        let scene = Scene::new();
        for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull] {
            scene.output.push(b"lost\n");
            scene.written("lost\n", Err(kind.into()));
        }
        scene.output.flush(PATIENCE);
        assert!(scene.reported.try_recv().is_err(), "nobody would hear it");
        scene.output.push(b"half a line\nand another\n");
        scene.written("half a line\nand another\n", Ok(4));
        scene.written(" a line\nand another\n", Err(ErrorKind::StorageFull.into()));
        // There is room again: the line that broke off is ended, and what is missing is said.
        scene.output.push(b"back\n");
        scene.written("\n", Ok(ALL));
        scene.written("back\n", Ok(ALL));
        scene.reported(4);
    }
}

//! Processes: started, measured through `/proc`, and ended by their id.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// How long a process may take to end when asked.
const END: Duration = Duration::from_secs(5);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// A started process, ended when dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `command`, whose standard input and output become pipes.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Starts this program in another role.
    pub(crate) fn role(arguments: &[&str]) -> Result<Self, Failure> {
        Self::start(Command::new(std::env::current_exe()?).args(arguments))
    }

    /// The next line that it prints, without its end.
    pub(crate) fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a process ended before it was done".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Gives it a line.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        Ok(writeln!(self.input.as_mut().ok_or("no standard input")?, "{line}")?)
    }

    /// Its id, as text.
    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// User and system time so far of all its threads and those of its
    /// children, in nanoseconds.
    pub(crate) fn cpu(&self) -> Result<u64, Failure> {
        let mut total = 0;
        for id in self.ids()? {
            for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
                // A thread may end between the listing and the reading.
                let text = std::fs::read_to_string(task?.path().join("schedstat"));
                let Ok(text) = text else { continue };
                total += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
        }
        Ok(total)
    }

    /// Resident memory of it and its children, in kB.
    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        let mut total = 0;
        for id in self.ids()? {
            let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let figure = line.and_then(|line| line.split_whitespace().next());
            total += figure.ok_or("no VmRSS")?.parse::<u64>()?;
        }
        Ok(total)
    }

    /// Ends it and starts `command` in its place.
    pub(crate) fn restart(&mut self, command: &mut Command) -> Result<(), Failure> {
        self.end();
        *self = Self::start(command)?;
        Ok(())
    }

    /// Its id and its children's.
    fn ids(&self) -> Result<Vec<u32>, Failure> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let mut ids = vec![id];
        for child in children.split_whitespace() {
            ids.push(child.parse()?);
        }
        Ok(ids)
    }

    /// Asks it to end, and kills it if it does not; nothing if it has ended.
    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        drop(self.input.take());
        let id = self.id();
        // nginx ends its workers only if it is asked, not killed.
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        let until = Instant::now() + END;
        while asked.is_ok() && Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        // It may have ended in the meantime.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends this process when its standard input does, so that no role outlives
/// the one that started it.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        let _end = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(0);
    });
}

/// What the watch is told when there is nothing left to end.
pub(crate) const DONE: &str = "done";

/// Before the id of a process that has ended, and is not to be ended any more.
pub(crate) const ENDED: &str = "-";

/// Reads the ids of processes that do not notice the end of the benchmark by
/// themselves, and ends them if standard input ends without [`DONE`]: the
/// benchmark was killed then.
pub(crate) fn watch() -> Result<(), Failure> {
    let mut ids = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        if line == DONE {
            return Ok(());
        }
        match line.strip_prefix(ENDED) {
            Some(ended) => ids.retain(|id| id != ended),
            None => ids.push(line),
        }
    }
    for id in ids {
        Command::new("kill").args(["-TERM", &id]).status()?;
    }
    Ok(())
}

/// Waits until `address` accepts connections.
pub(crate) fn await_listener(address: std::net::SocketAddr) -> Result<(), Failure> {
    let until = Instant::now() + END;
    loop {
        match std::net::TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => {
                return Err(format!("nothing listens on {address}: {error}").into());
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// An address on loopback that nobody listens on at the moment.
pub(crate) fn free_address() -> Result<std::net::SocketAddr, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

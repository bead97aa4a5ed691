//! The real command in a process of its own: to be killed, and to be used as a
//! person would.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::door::Door;
use super::eventually::within;
use super::setup::ADMIN_TOKEN;

/// `tollgate` with an environment that holds nothing of the machine's.
pub(crate) fn tollgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs `tollgate` with these arguments to its end.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    let mut command = tollgate();
    command.args(arguments);
    finish(command).await
}

/// Runs `command` to its end on a thread of its own.
pub(crate) async fn finish(mut command: Command) -> Output {
    let ended = tokio::task::spawn_blocking(move || command.output());
    within("a command to end", ended).await.unwrap().unwrap()
}

/// Text that a process wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running `tollgate serve`; killed when dropped.
pub(crate) struct Process {
    door: Door,
    banner: String,
    child: Child,
    file: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
    home: TempDir,
}

impl Process {
    pub(crate) async fn start(
        home: TempDir,
        file: PathBuf,
        environment: Vec<(&'static str, PathBuf)>,
    ) -> Self {
        let mut command = tollgate();
        command.envs(environment.iter().cloned());
        command.arg("serve").arg("-c").arg(&file).current_dir(home.path());
        let log = std::fs::File::create(home.path().join("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let mut banner = String::new();
            for line in lines.by_ref() {
                let ready = line.trim() == "ready";
                banner.push_str(&line);
                banner.push('\n');
                if ready {
                    break;
                }
            }
            drop(tell.send(banner));
            // What follows is read, so that the process can write it.
            lines.for_each(drop);
        });
        let banner = within("the ready line", told).await.unwrap();
        let log = || std::fs::read_to_string(home.path().join("stderr")).unwrap_or_default();
        assert!(banner.ends_with("ready\n"), "no ready line: {banner}{}", log());
        let door = Door { proxy: address(&banner, "proxy"), admin: address(&banner, "admin") };
        Self { door, banner, child, file, environment, home }
    }

    /// What it printed up to its ready line.
    pub(crate) fn banner(&self) -> &str {
        &self.banner
    }

    /// Its configuration file.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// What it wrote to its standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("stderr")).unwrap()
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let statm = std::fs::read_to_string(path).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// The most bytes of memory that it held since [`Self::forget_peak`].
    pub(crate) fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// Lets what it holds now be its peak.
    pub(crate) fn forget_peak(&self) {
        // As `proc_pid_clear_refs(5)` says.
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it the signal called `name`.
    pub(crate) async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.child.id().to_string());
        assert!(finish(kill).await.status.success());
    }

    /// Sends SIGTERM and waits for its end; gives its exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        super::eventually::eventually("the process to end", async || self.child.try_wait().unwrap())
            .await
            .code()
    }

    /// Kills it and starts another on the same directory.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.kill();
        let home = std::mem::replace(&mut self.home, TempDir::new().unwrap());
        Self::start(home, self.file.clone(), std::mem::take(&mut self.environment)).await
    }

    /// Runs another command of `tollgate` against it.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = tollgate();
        command
            .args(arguments)
            .env("TOLLGATE_ADMIN_URL", format!("http://{}", self.door.admin))
            .env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN);
        finish(command).await
    }
}

impl Deref for Process {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is just as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The address in a banner line such as `proxy  http://127.0.0.1:8080`.
fn address(banner: &str, name: &str) -> SocketAddr {
    let line = banner.lines().map(str::trim).find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no line {name} in {banner}"));
    let (_, rest) = line.split_once("://").unwrap_or_else(|| panic!("no address in {line}"));
    let end = |c: char| c == '/' || c.is_whitespace();
    let address = rest.split(end).next().unwrap_or_default();
    address.parse().unwrap_or_else(|_| panic!("no address in {line}"))
}

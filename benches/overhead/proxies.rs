//! The proxies that are compared, each before the same provider.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::process::{Process, await_listener, free_address};
use crate::work::{KEY, MODEL};

/// One proxy, running.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    /// How it is started again; `None` where that would change nothing.
    again: Option<Command>,
}

impl Proxy {
    /// Has it begin anew with what it keeps on the disk, if it keeps anything.
    /// The id of the process is another then.
    pub(crate) fn forget_memory(&mut self) -> Result<(), Failure> {
        let Some(command) = &mut self.again else { return Ok(()) };
        self.process.restart(command)?;
        await_listener(self.address)
    }
}

/// Starts nginx, bare Pingora and Tollgate before `provider`, with their files
/// in `directory`. nginx comes first: the others are compared with it.
pub(crate) fn start(provider: SocketAddr, directory: &Path) -> Result<Vec<Proxy>, Failure> {
    let proxies = vec![
        nginx(provider, &directory.join("nginx"))?,
        bare(provider)?,
        tollgate(provider, &directory.join("tollgate"))?,
    ];
    for proxy in &proxies {
        await_listener(proxy.address).map_err(|error| format!("{}: {error}", proxy.name))?;
    }
    Ok(proxies)
}

fn bare(provider: SocketAddr) -> Result<Proxy, Failure> {
    let address = free_address()?;
    let process = Process::role(&["bare", &address.to_string(), &provider.to_string()])?;
    Ok(Proxy { name: "bare Pingora", address, process, again: None })
}

fn nginx(provider: SocketAddr, directory: &Path) -> Result<Proxy, Failure> {
    std::fs::create_dir_all(directory)?;
    let address = free_address()?;
    // Started by root, its workers would be somebody who cannot enter here.
    let user = if std::fs::metadata(directory)?.uid() == 0 { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("    {name}_temp_path {name};\n"))
        .collect();
    let configuration = format!(
        "{user}
daemon off;
worker_processes 2;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 8192; }}
http {{
{temporary}    access_log off;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    upstream provider {{
        server {provider};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new(nginx_program());
    command.arg("-p").arg(directory).arg("-c").arg(&file).args(["-e", "error.log"]);
    Ok(Proxy { name: "nginx", address, process: Process::start(&mut command)?, again: None })
}

/// nginx is installed where only root's path looks.
fn nginx_program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/nginx");
    if usual.exists() { usual } else { PathBuf::from("nginx") }
}

fn tollgate(provider: SocketAddr, directory: &Path) -> Result<Proxy, Failure> {
    std::fs::create_dir_all(directory)?;
    let (address, admin) = (free_address()?, free_address()?);
    let data = directory.join("data");
    let data = data.display();
    // Everything is on and is counted, and nothing is ever reached.
    let many = 4_000_000_000_u32;
    let configuration = format!(
        "listen: {{ proxy: {address}, admin: {admin} }}
store: {{ path: {data} }}
providers:
  - {{ name: openai, dialect: openai, base_url: http://{provider}/v1, api_key: sk-benchmark }}
models:
  - name: {MODEL}
    tier: simple
    targets: [{{ provider: openai, model: {MODEL} }}]
    cost: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}
plans:
  - {{ name: bench, billing: metered, requests_per_month: {many}, requests_per_minute: {many}, features: [basic_suggestions] }}
limits:
  user: {{ per_minute: {many}, per_hour: {many}, per_day: {many}, concurrent: 100000 }}
  ip: {{ per_minute: {many}, per_hour: {many}, concurrent: 100000, connections: 100000, failed_keys_per_minute: 60, exempt: [] }}
  global: {{ connections: 10000, requests: 10000, concurrent: 10000, queue: 1000, queue_timeout: 10s }}
keys:
  - {{ account: bench, plan: bench, key: {KEY} }}
log: {{ level: warn }}
"
    );
    let file = directory.join("tollgate.yaml");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("serve").arg("-c").arg(&file);
    let process = Process::start(&mut command)?;
    Ok(Proxy { name: "Tollgate", address, process, again: Some(command) })
}

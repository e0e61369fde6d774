//! A standalone Redis (or Valkey) of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::find;
use super::launch::{Server, free_port, temporary_folder};
use crate::context::{Context, Error};
use crate::reaper::Ask;

/// What every Redis prints when it answers.
pub(super) const READY: &str = "Ready to accept connections";

const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// Starts the server and returns its URL.
pub(super) fn start(context: &Context, deadline: Instant) -> Result<String, Error> {
    let program = find::redis(context, deadline)?;
    let folder = temporary_folder(context, "redis")?;
    let port = free_port()?;
    let mut server =
        Server::launch(context, &mut command(context, &program, &folder, port), Ask::Terminate)?;
    server.wait_for(READY, deadline)?;
    Ok(format!("redis://127.0.0.1:{port}"))
}

/// A Redis on loopback that keeps nothing on disk and evicts nothing.
pub(super) fn command(context: &Context, program: &Path, folder: &Path, port: u16) -> Command {
    let mut command = context.command(program);
    command.current_dir(folder).arg("--dir").arg(folder).args(["--port", &port.to_string()]);
    command.args(["--bind", "127.0.0.1", "--daemonize", "no", "--appendonly", "no"]);
    command.args(["--save", "", "--maxmemory-policy", "noeviction"]);
    command
}

/// Sends one command that answers with a status line, and expects `+OK`.
pub(super) fn tell(port: u16, words: &[String]) -> Result<(), Error> {
    let doing = || Error::doing(format!("tell Redis {}", words[..2.min(words.len())].join(" ")));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(doing())?;
    stream.set_read_timeout(Some(REPLY_LIMIT)).map_err(doing())?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes()).map_err(doing())?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).map_err(doing())?;
    if reply.starts_with("+OK") {
        Ok(())
    } else {
        Err(Error::new(format!("tell Redis {}: {}", words[0], reply.trim())))
    }
}

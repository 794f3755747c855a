//! `quorusd dev` as people use it: a real process with real children.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// Two ports that were free a moment ago.
fn free_ports() -> (u16, u16) {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = held.map(|listener| listener.local_addr().unwrap().port());
    (first, second)
}

fn dev(port: u16, http_port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorusd"));
    command.args(["dev", "--quiet", "--port", &port.to_string(), "--http-port", &http_port.to_string()]);
    command.env_remove("QUORUS_CONFIG").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Reads the banner to its last line; returns it.
fn banner(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    loop {
        let line = lines.next().expect("it ended before it was ready").unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.contains("Ctrl-C stops all nodes") {
            return text;
        }
    }
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[expect(unsafe_code, reason = "the standard library sends no signals")]
fn interrupt(child: &Child) {
    // SAFETY: the child was not waited for yet, so that the id is still its own.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) };
}

#[test]
fn a_cluster_comes_up_answers_and_goes_without_a_trace() {
    let (port, http_port) = free_ports();
    let mut child = dev(port, http_port).spawn().unwrap();
    let banner = banner(&mut child);
    assert!(banner.contains(&format!("export QUORUS_ENDPOINTS=http://127.0.0.1:{port}")), "{banner}");
    assert!(get(http_port, "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get(http_port, "/metrics");
    assert!(metrics.contains("quorus_build_info{version="), "{metrics}");
    let folder = banner.lines().find_map(|line| line.strip_prefix("Data and logs: ")).unwrap().split(" (").next().unwrap();
    let folder = PathBuf::from(folder);
    assert!(folder.join("node-1.log").is_file());

    // A second one on the same ports is told who is in the way.
    let second = dev(port, http_port).output().unwrap();
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && complaint.contains(&format!("127.0.0.1:{port} is used by")), "{complaint}");

    interrupt(&child);
    assert!(child.wait().unwrap().success());
    assert!(!folder.exists(), "{} is left", folder.display());
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "the node is still there");
}

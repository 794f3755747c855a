//! The network of a stage: a cable that is pulled loses packets, and nothing else.
//!
//! Needs the right to make network namespaces; says so and does nothing elsewhere.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use quorus_chaos::stage::network::{self, Cables, Pull};

/// What the test's own process in a node's namespace listens at.
const SERVE: &str = "QUORUS_TEST_SERVE";

/// Not a test of its own: the other end of the cable.
#[test]
fn server() {
    let Ok(address) = std::env::var(SERVE) else { return };
    let listener = TcpListener::bind(address).unwrap();
    println!("listens");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
    }
}

/// Ends with the test, however that ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It has ended already: that is what is wanted.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Sends a byte, and waits for it to come back.
fn echo(stream: &mut TcpStream, byte: u8, patience: Duration) -> std::io::Result<u8> {
    stream.write_all(&[byte])?;
    hear(stream, patience)
}

fn hear(stream: &mut TcpStream, patience: Duration) -> std::io::Result<u8> {
    stream.set_read_timeout(Some(patience))?;
    let mut byte = [0];
    stream.read_exact(&mut byte).map(|()| byte[0])
}

#[tokio::test]
async fn a_pulled_cable_loses_packets_and_nothing_is_refused_or_reset() {
    if !network::is_inside() {
        if let Err(error) = network::can_make() {
            eprintln!("not tested here: {error:#}");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "a_pulled_cable_loses_packets_and_nothing_is_refused_or_reset";
        let mut inside = Command::new("unshare");
        inside.arg("--net").arg(this).args(["--exact", name, "--nocapture"]).env(network::INSIDE, "1");
        assert!(inside.status().unwrap().success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cables = Cables::lay(&[1, 2], &folder.path().join("log")).unwrap();
    let home = cables.home(1).unwrap();
    let address = SocketAddr::from((home.address, 4000));
    let node = Command::new(&home.enter[0])
        .args(&home.enter[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "server", "--nocapture"])
        .env(SERVE, address.to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut node = Ends(node.unwrap());
    let mut said = String::new();
    let mut output = std::io::BufReader::new(node.0.stdout.take().unwrap());
    while !said.contains("listens") {
        assert!(std::io::BufRead::read_line(&mut output, &mut said).unwrap() > 0, "{said}");
    }

    let (long, short) = (Duration::from_secs(60), Duration::from_millis(300));
    let mut stream = TcpStream::connect_timeout(&address, long).unwrap();
    for how in [Pull::Silent, Pull::Carrier] {
        assert_eq!(echo(&mut stream, 1, long).unwrap(), 1);
        cables.pull(1, how).unwrap();
        let silence = echo(&mut stream, 2, short).unwrap_err();
        assert_eq!(silence.kind(), ErrorKind::WouldBlock, "{how:?}: {silence}");
        let nobody = TcpStream::connect_timeout(&address, short).unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::TimedOut, "{how:?}: {nobody}");
        cables.plug(1).unwrap();
        assert_eq!(hear(&mut stream, long).unwrap(), 2, "{how:?}: the kernel sends again what was lost");
        TcpStream::connect_timeout(&address, long).unwrap();
    }
    assert!(cables.home(3).is_err());
}

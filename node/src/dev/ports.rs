//! Are the ports free, and if not, who has them?

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::Path,
};

use anyhow::bail;

/// Fails with all ports that are taken, and by whom.
pub(super) fn check_free(addresses: impl IntoIterator<Item = SocketAddr>) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let user = user_of(address.port()).unwrap_or_else(|| "another process".to_owned());
                taken.push(format!("{address} is used by {user}"));
            }
            Err(error) => taken.push(format!("{address}: {error}")),
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    bail!("{}; stop it, or choose others with --port and --http-port", taken.join(", "))
}

/// Names the process that listens on a port, as far as the system tells: only Linux does, and only about one's own processes.
fn user_of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if has_socket(&process.path(), &wanted) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of a line of the kernel's table of TCP sockets, if it listens on the port.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let matches = u16::from_str_radix(local_port, 16).is_ok_and(|local| local == port) && fields.get(3) == Some(&LISTEN);
    matches.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

fn has_socket(process: &Path, wanted: &[String]) -> bool {
    let Ok(open) = fs::read_dir(process.join("fd")) else { return false };
    open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| wanted.iter().any(|socket| Path::new(socket) == target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_reported_with_its_user() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let error = check_free([address]).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        if Path::new("/proc/net/tcp").exists() {
            assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        }
    }

    #[test]
    fn only_listening_sockets_of_the_port_match() {
        let line = "   0: 0100007F:1CE9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listening_inode(line, 7401), Some("4711".to_owned()));
        assert_eq!(listening_inode(line, 7402), None);
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 7401), None);
        assert_eq!(listening_inode("  sl  local_address rem_address   st", 7401), None);
    }
}

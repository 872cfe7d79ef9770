//! The container of a server, harmed through `docker`.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use aqevia::StoreUrl;

/// A container.
#[derive(Debug)]
pub struct Container(String);

/// Where the public image has its data, unless it is told otherwise.
const DATA: &str = "/var/lib/postgresql/data";
/// A file system of more bytes takes too long to be filled.
const ROOM_MAX: u64 = 1 << 30;

/// The hosts that are this machine.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Container {
    /// The container that publishes the port of a URL on this machine.
    ///
    /// # Errors
    /// If there is none, or the server is on another machine; if `docker` does not answer.
    pub fn of_server(url: &StoreUrl) -> Result<Self> {
        let location = url.location()?;
        let (host, port) = server_of(&location);
        ensure!(
            HERE.contains(&host),
            "the server is to be in a container of this machine: name a store like \
             postgres://postgres:secret@localhost:5433/postgres"
        );
        let filter = format!("publish={port}");
        let found = docker(&["ps", "--quiet", "--no-trunc", "--filter", &filter])?;
        let mut found = found.lines();
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(Self(id.to_owned())),
            (None, _) => bail!(
                "no container publishes port {port}; start one: docker run -d -p {port}:5432 -e \
                 POSTGRES_PASSWORD=secret postgres:17-alpine"
            ),
            _ => bail!("several containers publish port {port}"),
        }
    }

    /// Checks that the container is there when it has ended.
    ///
    /// # Errors
    /// If it is removed then.
    pub fn check_stays(&self) -> Result<()> {
        let format = "--format={{.HostConfig.AutoRemove}}";
        let removed = docker(&["inspect", format, &self.0])?;
        ensure!(
            removed.trim() == "false",
            "the container is removed when it ends; start one without --rm"
        );
        Ok(())
    }

    /// Checks that the data of the server have a small file system to themselves, and its log
    /// another: a server that has no room for its log ends.
    ///
    /// # Errors
    /// If it is not so.
    pub fn check_room(&self) -> Result<()> {
        let checked = self.shell(&format!(
            "test -L \"$PGDATA/pg_wal\" && test \"$(stat -f -c '%S %b' \"$PGDATA\" | \
             (read size blocks; echo $((size * blocks))))\" -le {ROOM_MAX}"
        ));
        checked.map(drop).with_context(|| {
            format!(
                "the data of the server need a small file system, without its log; start one: \
                 docker run -d -p 5433:5432 -e POSTGRES_PASSWORD=secret \
                 -e POSTGRES_INITDB_WALDIR=/var/lib/postgresql/wal \
                 --tmpfs {DATA}:size=256m postgres:17-alpine"
            )
        })
    }

    /// Takes all the room that the server has for its data.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn fill(&self) -> Result<()> {
        let fill = "cat /dev/zero >\"$PGDATA/ballast\" 2>/dev/null; test -s \"$PGDATA/ballast\"";
        self.shell(fill).map(drop)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn make_room(&self) -> Result<()> {
        self.shell("rm \"$PGDATA/ballast\"").map(drop)
    }

    fn shell(&self, command: &str) -> Result<String> {
        let data = format!("PGDATA=\"${{PGDATA:-{DATA}}}\"; {command}");
        docker(&["exec", &self.0, "sh", "-c", &data])
    }

    /// Stops all its processes where they are.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn pause(&self) -> Result<()> {
        docker(&["pause", &self.0]).map(drop)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn go_on(&self) -> Result<()> {
        docker(&["unpause", &self.0]).map(drop)
    }

    /// Kills all its processes.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn kill(&self) -> Result<()> {
        docker(&["kill", &self.0]).map(drop)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn start(&self) -> Result<()> {
        docker(&["start", &self.0]).map(drop)
    }
}

/// Host and port of a location, which is `USER:PASSWORD@HOST:PORT/DATABASE`.
fn server_of(location: &str) -> (&str, &str) {
    let server = location
        .rsplit_once('@')
        .map_or(location, |(_, server)| server);
    let server = server.split('/').next().unwrap_or(server);
    match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (server, "5432"),
    }
}

fn docker(arguments: &[&str]) -> Result<String> {
    let doing = || format!("docker {}", arguments.join(" "));
    let output = Command::new("docker").args(arguments).output();
    let output = output.with_context(doing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", doing(), said.trim());
    }
    String::from_utf8(output.stdout).with_context(doing)
}

#[cfg(test)]
mod tests {
    use super::server_of;

    #[test]
    fn a_server_is_found_in_a_location() {
        for (location, server) in [
            ("user:secret@localhost:5433/worlds", ("localhost", "5433")),
            ("user:a@b@127.0.0.1/worlds", ("127.0.0.1", "5432")),
            ("user@[::1]:7/worlds", ("[::1]", "7")),
            ("user@[::1]/worlds", ("[::1]", "5432")),
        ] {
            assert_eq!(server_of(location), server);
        }
    }
}

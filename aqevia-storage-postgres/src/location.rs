//! Where a database is, and who logs in to it, as a URL has it.

use aqevia_storage::{Error, Result, StoreUrl};

/// What stands between `postgres://` and the parameters.
pub(crate) struct Location {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
}

impl Location {
    pub(crate) fn of(url: &StoreUrl) -> Result<Self> {
        // A URL whose user ends elsewhere than at an `@` might show a password in its message.
        let scheme = url.scheme();
        if !url.to_string().starts_with(&format!("{scheme}://…@")) {
            return Err(Error::invalid(format!("store URL {scheme}: {FORM}")));
        }
        let text = url.location()?;
        let refused = || Error::invalid(format!("store URL {url}: {FORM}"));
        Self::parse(&text).ok_or_else(refused)
    }

    fn parse(text: &str) -> Option<Self> {
        let (login, place) = text.rsplit_once('@')?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
            None => (login, None),
        };
        let (server, database) = place.rsplit_once('/')?;
        let (host, port) = Self::server(server)?;
        if [host, user, database].contains(&"") {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            password,
            database: database.to_owned(),
        })
    }

    /// The host and the port; an address of IPv6 stands in brackets.
    fn server(text: &str) -> Option<(&str, u16)> {
        let (host, port) = match text.strip_prefix('[') {
            Some(text) => text.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        if port.is_empty() {
            return Some((host, PORT));
        }
        let port = port.strip_prefix(':')?.parse().ok();
        Some((host, port.filter(|port| *port > 0)?))
    }
}

const PORT: u16 = 5432;
const FORM: &str = "must have the form postgres://USER:PASSWORD@HOST:PORT/DATABASE";

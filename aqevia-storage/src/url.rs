//! The URL of a store: a scheme, a location, parameters.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::{Error, ErrorKind, Result, StorageConfig};

/// `scheme:location?name=value&…`, as in `sqlite:storage.sqlite?pool_size=4`.
///
/// Parameters, and a location that is a path, may be percent-encoded. `Display` and `Debug` leave
/// out user names, passwords and the values of parameters: of a location, all before its last `@`.
///
/// ```
/// # use aqevia_storage::StoreUrl;
/// let url: StoreUrl = "sqlite:my%20worlds.sqlite?pool_size=4".parse()?;
/// assert_eq!((url.scheme(), url.path()?.as_str()), ("sqlite", "my worlds.sqlite"));
/// # Ok::<(), aqevia_storage::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    scheme: String,
    location: Location,
    parameters: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Location {
    Encoded(String),
    Path(String),
}

impl StoreUrl {
    /// The URL of a path, taken as it is, without parameters.
    pub fn from_path(scheme: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            scheme: scheme.into(),
            location: Location::Path(path.into()),
            parameters: BTreeMap::new(),
        }
    }

    /// What stands before the colon, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The location: without a leading `//`, percent-decoded.
    ///
    /// It may hold a password: a backend takes it apart, and shows it to nobody.
    ///
    /// # Errors
    /// `Invalid` if what the encoding stands for is not UTF-8.
    pub fn location(&self) -> Result<String> {
        match &self.location {
            Location::Path(path) => Ok(path.clone()),
            Location::Encoded(text) => {
                let text = text.strip_prefix("//").unwrap_or(text);
                decode(text).map_err(|error| error.context(format_args!("store URL {self}")))
            }
        }
    }

    /// The location as a path of a file or folder.
    ///
    /// It may be shown: what can be the URL of a server, or a user and a password, is refused.
    ///
    /// # Errors
    /// As [`StoreUrl::location`]; `Invalid` if it names the user of a server.
    pub fn path(&self) -> Result<String> {
        let path = self.location()?;
        let has_login = match &self.location {
            Location::Encoded(text) => has_login(text),
            Location::Path(_) => false,
        };
        let scheme = &self.scheme;
        if has_login || path.contains("://") {
            return Err(Error::invalid(format!(
                "store URL {self}: names a user or a server, and {scheme} stores are files; write \
                 `:` in the name of a file as %3A"
            )));
        }
        Ok(path)
    }

    /// The URL without the parameters whose names begin like this, and those.
    pub(crate) fn without_parameters(mut self, prefix: &str) -> (Self, BTreeMap<String, String>) {
        let all = std::mem::take(&mut self.parameters);
        let (taken, kept) = all
            .into_iter()
            .partition(|(name, _)| name.starts_with(prefix));
        self.parameters = kept;
        (self, taken)
    }

    /// The parameters, to be taken one by one.
    #[must_use]
    pub fn parameters(&self) -> Parameters<'_> {
        Parameters {
            url: self,
            known: Vec::new(),
        }
    }
}

fn decode(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(String::from)
        .map_err(|error| Error::invalid("is not UTF-8 once percent-decoded").with_source(error))
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let split = text.split_once(':');
        // What has no scheme may be anything, a password among it: it is not shown.
        let Some((scheme, rest)) = split.filter(|(scheme, _)| is_scheme(scheme)) else {
            return Err(Error::invalid(
                "store URL: has no scheme; write for example `sqlite:storage.sqlite`",
            ));
        };
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self {
            scheme: scheme.to_ascii_lowercase(),
            location: Location::Encoded(location.to_owned()),
            parameters: BTreeMap::new(),
        };
        if !location.contains('@') && query.contains('@') {
            // Both sides of the `?` may be of a password: neither is shown.
            return Err(Error::invalid(format!(
                "store URL {}:…: an `@` follows the `?`; write `?` in a password as %3F, and `@` \
                 in a parameter as %40",
                url.scheme
            )));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let doing = format!("store URL {url}: parameter {name:?}");
            let value = decode(value).map_err(|error| error.context(&doing))?;
            if url.parameters.insert(name.to_owned(), value).is_some() {
                return Err(Error::invalid(format!("{doing}: is given twice")));
            }
        }
        Ok(url)
    }
}

/// Whether a text is what RFC 3986 calls a scheme.
fn is_scheme(text: &str) -> bool {
    let others = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(others)
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = &self.scheme;
        match &self.location {
            Location::Path(path) if !path.contains("://") => write!(f, "{scheme}:{path}"),
            Location::Path(text) | Location::Encoded(text) => {
                write!(f, "{scheme}:{}", shown(text))
            }
        }
    }
}

/// What of a location is shown: all of it, unless user name and password may be in it. A slip in a
/// URL that names a server does not show them either: no scheme, no slashes, no `@` or an encoded
/// one.
fn shown(location: &str) -> Cow<'_, str> {
    let server = server_of(location);
    let may_be_secret = has_at(location)
        || match server {
            Some(server) => !has_port_alone(server),
            None => location.contains(':') && location != MEMORY,
        };
    if !may_be_secret {
        return Cow::Borrowed(location);
    }
    let slashes = if server.is_some() { "//" } else { "" };
    let host = location.rsplit_once('@').map(|(_, host)| host);
    match host.filter(|host| !has_at(host)) {
        Some(host) => Cow::Owned(format!("{slashes}…@{host}")),
        None => Cow::Owned(format!("{slashes}…")),
    }
}

/// Whether a text has an `@` in it, encoded or not, and even if it was encoded twice.
fn has_at(text: &str) -> bool {
    ["@", "%40", "%2540"].iter().any(|at| text.contains(at))
}

/// Whether a location can hold a user name and a password, and so is not to be taken for a path.
fn has_login(location: &str) -> bool {
    let user_of_server = server_of(location).is_some_and(|server| server.contains('@'));
    // The colon of a drive is none behind a user name.
    let path = location.trim_start_matches('/');
    let on_drive = path
        .get(1..3)
        .is_some_and(|colon| [":\\", ":/"].contains(&colon));
    let path = if on_drive { path.get(2..) } else { Some(path) };
    let password = path.and_then(|path| path.split_once(':'));
    user_of_server || password.is_some_and(|(_, password)| has_at(password))
}

/// User, password, host and port of a location that names a server.
fn server_of(location: &str) -> Option<&str> {
    let server = location.strip_prefix("//")?;
    let (server, _) = server.split_once('/').unwrap_or((server, ""));
    Some(server).filter(|server| !server.is_empty())
}

/// Whether what follows the colon of a host is a port, and so no password.
fn has_port_alone(server: &str) -> bool {
    let port = server.split_once(':').map_or("0", |(_, port)| port);
    port.parse::<u16>().is_ok()
}

/// The location of an SQLite database in memory, which is no user name.
const MEMORY: &str = ":memory:";

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The parameters of a URL while a backend reads them; what no one asked for is an error.
#[derive(Debug)]
pub struct Parameters<'a> {
    url: &'a StoreUrl,
    known: Vec<&'static str>,
}

impl Parameters<'_> {
    /// The value of a parameter, read by `read`, which returns `None` for what is not `allowed`.
    ///
    /// # Errors
    /// `Invalid`, naming parameter, value and what is allowed.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        self.known.push(name);
        let Some(value) = self.url.parameters.get(name) else {
            return Ok(None);
        };
        let refused = || {
            let url = self.url;
            Error::invalid(format!(
                "store URL {url}: parameter {name}={value:?}: must be {allowed}"
            ))
        };
        read(value).map(Some).ok_or_else(refused)
    }

    /// A number of at least one.
    ///
    /// # Errors
    /// As [`Parameters::take`].
    pub fn take_count(&mut self, name: &'static str) -> Result<Option<usize>> {
        self.take(name, COUNT_ALLOWED, read_count)
    }

    /// A whole number of milliseconds.
    ///
    /// # Errors
    /// As [`Parameters::take`].
    pub fn take_ms(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.take(name, MS_ALLOWED, read_ms)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Invalid` if parameters were not asked for, naming all of them and those there are, and who
    /// reads them if they are settings of the controller.
    pub fn finish(self) -> Result<()> {
        let given = self.url.parameters.keys();
        let unknown = given.filter(|name| !self.known.contains(&name.as_str()));
        let unknown: Vec<_> = unknown.collect();
        let settings = unknown.iter().any(|name| name.starts_with(SETTINGS));
        let unknown: Vec<_> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let are_not = match unknown.len() {
            0 => return Ok(()),
            1 => format!("parameter {} is not", unknown.join("")),
            _ => format!("parameters {} are not", unknown.join(", ")),
        };
        let url = self.url;
        let there_are = if self.known.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("there are {}", self.known.join(", "))
        };
        let read_elsewhere = match settings {
            true => {
                "; settings of the controller, which begin with `persist_`, are read by \
                 `StorageConfig::from_url`"
            }
            false => "",
        };
        Err(Error::new(
            ErrorKind::Invalid,
            format!("store URL {url}: {are_not} known; {there_are}{read_elsewhere}"),
        ))
    }
}

/// Parameters that are settings of the controller begin with this, and are then named as the
/// variables are. No parameter of a store does.
pub(crate) const SETTINGS: &str = "persist_";

pub(crate) const COUNT_ALLOWED: &str = "a whole number from 1";
pub(crate) const MS_ALLOWED: &str = "a whole number of milliseconds up to 2147483647";

pub(crate) fn read_count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| *count > 0)
}

pub(crate) fn read_ms(text: &str) -> Option<Duration> {
    let duration = text.parse().ok().map(Duration::from_millis);
    duration.filter(|duration| *duration <= StorageConfig::DURATION_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_decoded_and_loses_its_slashes() {
        assert_eq!(url("sqlite::memory:").path().unwrap(), ":memory:");
        assert_eq!(url("SQLite://a%3Fb.sqlite").path().unwrap(), "a?b.sqlite");
        assert_eq!(url("sqlite:///var/a").path().unwrap(), "/var/a");
        assert_eq!(
            StoreUrl::from_path("sqlite", "100%").path().unwrap(),
            "100%"
        );
        assert!(url("sqlite:%ff").path().is_err());
    }

    #[test]
    fn no_password_is_shown() {
        let url = url("postgres://me:secret@host/db?password=secret");
        assert_eq!(url.to_string(), "postgres://…@host/db");
        assert!(!format!("{url:?}").contains("secret"));
        for (text, shown) in [
            ("postgres:me:secret@host/db", "postgres:…@host/db"),
            ("postgres://me:secret%40host/db", "postgres://…"),
            ("postgres://me:sec@ret@host/db", "postgres://…@host/db"),
            ("postgres://me:secret/db", "postgres://…"),
            ("postgres://host:5432/db", "postgres://host:5432/db"),
            ("postgres://host/db?a=b", "postgres://host/db"),
            ("postgress:me:secret%2540host", "postgress:…"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite:///home/me@here/a.sqlite", "sqlite:…@here/a.sqlite"),
            ("sqlite:me@here.sqlite", "sqlite:…@here.sqlite"),
            ("me:secret@host:5432/db", "me:…@host:5432/db"),
            ("me:/secret@host/db", "me:…@host/db"),
            ("me:secret%40host/db", "me:…"),
            ("me:secret%2540host/db", "me:…"),
            ("sled:postgres://me:secret@host/db", "sled:…@host/db"),
            ("sqlite:///me:secret@host/db", "sqlite:…@host/db"),
            ("sqlite:///home/me/a.sqlite", "sqlite:///home/me/a.sqlite"),
        ] {
            let url = text.parse::<StoreUrl>().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        let path = StoreUrl::from_path("sqlite", "postgres://me:secret@host/db");
        assert_eq!(path.to_string(), "sqlite:…@host/db");
        for text in [
            "postgres://me:sec?ret@host/db",
            "postgres://me:sec?ret=%ff@host/db",
            "postgres://me:sec?ret=1&ret=2@host/db",
            "postgres://me:5432?ret@host/db",
            "postgres:sec?ret@host/db",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.starts_with("store URL postgres:…: an `@`"), "{error}");
        }
    }

    #[test]
    fn a_path_has_no_user_and_no_server() {
        for text in [
            "sqlite://me@host/db",
            "sqlite://me:secret@host/db",
            "sqlite:///me:secret@host/db",
            "sqlite:me:secret@host/db",
            "sqlite:me:secret%40host/db",
            "sqlite:c:secret@host/db",
            "sled:postgres://me:secret@host/db",
            "sled:postgres://host/db",
            "sled:postgres%3A%2F%2Fme%3Asecret%40host%2Fdb",
        ] {
            let error = url(text).path().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let path = StoreUrl::from_path("sqlite", "postgres://me:secret@host/db");
        assert!(path.path().is_err());
    }

    #[test]
    fn a_path_may_have_an_at_or_a_colon_in_it() {
        for (text, path) in [
            ("sqlite:me@here.sqlite", "me@here.sqlite"),
            ("sqlite:///home/me@here/a.sqlite", "/home/me@here/a.sqlite"),
            ("sqlite:a:b.sqlite", "a:b.sqlite"),
            ("sqlite:me@10:00.sqlite", "me@10:00.sqlite"),
            ("sqlite:10%3A00@here.sqlite", "10:00@here.sqlite"),
            ("sqlite:C:\\me@here\\a.sqlite", "C:\\me@here\\a.sqlite"),
            ("sqlite:///C:/me@here/a.sqlite", "/C:/me@here/a.sqlite"),
        ] {
            assert_eq!(url(text).path().unwrap(), path);
        }
        let path = StoreUrl::from_path("sqlite", "10:00@here.sqlite");
        assert_eq!(path.path().unwrap(), "10:00@here.sqlite");
        assert_eq!(path.to_string(), "sqlite:10:00@here.sqlite");
    }

    #[test]
    fn what_nobody_asked_for_is_an_error() {
        let url = url("sqlite:a?pool_size=4&colour=red");
        let mut parameters = url.parameters();
        assert_eq!(parameters.take_count("pool_size").unwrap(), Some(4));
        let error = parameters.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "store URL sqlite:a: parameter \"colour\" is not known; there are pool_size"
        );
    }

    #[test]
    fn all_that_nobody_asked_for_is_named() {
        let url = url("memory:?nonsense=…&foo=1");
        let error = url.parameters().finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "store URL memory:: parameters \"foo\", \"nonsense\" are not known; it takes none"
        );
    }

    #[test]
    fn who_reads_the_settings_of_the_controller_is_told() {
        let url = url("sqlite:a?persist_flush_interval_ms=5&colour=red");
        let mut parameters = url.parameters();
        assert_eq!(parameters.take_count("pool_size").unwrap(), None);
        let error = parameters.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "store URL sqlite:a: parameters \"colour\", \"persist_flush_interval_ms\" are not \
             known; there are pool_size; settings of the controller, which begin with `persist_`, \
             are read by `StorageConfig::from_url`"
        );
    }

    #[test]
    fn a_value_that_does_not_parse_is_named_with_what_is_allowed() {
        let url = url("sqlite:a?pool_size=0");
        let error = url.parameters().take_count("pool_size").unwrap_err();
        assert_eq!(
            error.to_string(),
            "store URL sqlite:a: parameter pool_size=\"0\": must be a whole number from 1"
        );
    }

    #[test]
    fn a_parameter_twice_and_a_missing_scheme_are_errors() {
        assert!("sqlite:a?x=1&x=2".parse::<StoreUrl>().is_err());
        assert!("storage.sqlite".parse::<StoreUrl>().is_err());
        let slip = "postgres//me:secret@host/db".parse::<StoreUrl>();
        let error = slip.unwrap_err().to_string();
        assert!(error.contains("has no scheme"), "{error}");
        let error = url("sqlite://me:secret@host/db").path().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

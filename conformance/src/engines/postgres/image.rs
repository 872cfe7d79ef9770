//! The image of the containers: a public one, or one that is made here.

use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

use testcontainers::GenericImage;
use testcontainers::bollard::Docker;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::server::URL_VARIABLE;

/// The image to use, which is to be used like the public one.
const VARIABLE: &str = "AQEVIA_POSTGRES_IMAGE";
const PUBLIC: &str = "postgres:17-alpine";
/// What the script makes where no registry is reached.
const MADE: &str = "aqevia-postgres:debian";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres-image");

/// How long the engine may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a pull may take. Without a registry it fails in much less.
const PULL: Duration = Duration::from_secs(300);

/// What a server in a container is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Stores: any server does.
    Stores,
    /// To be harmed, or to be seen ending: no other server does.
    OwnServer,
}

impl Need {
    /// What to do where there is no engine.
    fn engine_advice(self) -> String {
        match self {
            Self::Stores => format!("start a container engine, or {}", self.image_advice()),
            Self::OwnServer => format!(
                "start a container engine: this kills, pauses or sets up a server of its own, and \
                 {URL_VARIABLE} does not replace it; `cargo test -- --skip server:: --skip tls::` \
                 leaves out the tests that do"
            ),
        }
    }

    /// What to do where the engine has no image.
    fn image_advice(self) -> String {
        match self {
            Self::Stores => {
                format!("set {URL_VARIABLE} to the URL of a Postgres in which schemas may be made")
            }
            Self::OwnServer => format!(
                "set {VARIABLE} to an image of Postgres that is there: {URL_VARIABLE} does not \
                 replace a server that is killed, paused or set up"
            ),
        }
    }
}

/// The container engine; else what to do to have one.
pub(super) async fn engine(need: Need) -> Result<Docker, String> {
    let advice = need.engine_advice();
    let engine = docker_client_instance().await;
    let engine = engine.map_err(|error| format!("no container engine: {error}; {advice}"))?;
    match timeout(ANSWER, engine.ping()).await {
        Ok(Ok(_)) => Ok(engine),
        Ok(Err(error)) => Err(format!("no container engine answers: {error}; {advice}")),
        Err(_) => Err(format!(
            "the container engine did not answer within {ANSWER:?}; {advice}"
        )),
    }
}

/// The name of an image that is there: the one that is asked for, or the public one, or a made one.
///
/// Called by one process at a time, since it may pull or make the image.
pub(super) async fn find(engine: &Docker, need: Need) -> Result<String, String> {
    let advice = need.image_advice();
    if let Ok(asked) = env::var(VARIABLE) {
        return pulled(engine, &asked)
            .await
            .map_err(|error| format!("the image {asked} of {VARIABLE}: {error}; {advice}"));
    }
    for image in [PUBLIC, MADE] {
        if is_there(engine, image).await {
            return Ok(image.to_owned());
        }
    }
    match pulled(engine, PUBLIC).await {
        Ok(image) => Ok(image),
        Err(error) => {
            let made = spawn_blocking(make).await;
            let made = made.unwrap_or_else(|failed| Err(failed.to_string()));
            made.map_err(|failed| format!("the image {PUBLIC}: {error}; {failed}; {advice}"))
        }
    }
}

async fn is_there(engine: &Docker, image: &str) -> bool {
    engine.inspect_image(image).await.is_ok()
}

async fn pulled(engine: &Docker, image: &str) -> Result<String, String> {
    if !is_there(engine, image).await {
        match timeout(PULL, generic(image).pull_image()).await {
            Ok(pulled) => drop(pulled.map_err(|error| error.to_string())?),
            Err(_) => return Err(format!("it was not pulled within {PULL:?}")),
        }
    }
    Ok(image.to_owned())
}

/// Makes the image, which takes the better part of a minute and says so on stderr.
fn make() -> Result<String, String> {
    let mut script = Command::new(SCRIPT);
    let made = script.arg(MADE).stdin(Stdio::null()).status();
    match made {
        Ok(status) if status.success() => Ok(MADE.to_owned()),
        Ok(_) => Err("scripts/postgres-image could not make one, as it says above".to_owned()),
        Err(error) => Err(format!("scripts/postgres-image did not start: {error}")),
    }
}

/// An image, as the engine's client takes it.
pub(super) fn generic(image: &str) -> GenericImage {
    let slash = image.rfind('/').unwrap_or_default();
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if name.len() > slash => (name, tag),
        _ => (image, "latest"),
    };
    GenericImage::new(name, tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_a_server_of_his_own_is_not_sent_to_the_variable() {
        let set = format!("set {URL_VARIABLE}");
        let says = |need: Need| [need.engine_advice(), need.image_advice()];
        for advice in says(Need::Stores) {
            assert!(advice.contains(&set), "{advice}");
        }
        for advice in says(Need::OwnServer) {
            assert!(!advice.contains(&set), "{advice}");
            assert!(advice.contains("does not replace"), "{advice}");
        }
        let [advice, _] = says(Need::OwnServer);
        assert!(advice.contains("--skip server:: --skip tls::"), "{advice}");
    }
}

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

/// The container engine; else what to do to have one.
pub(super) async fn engine() -> Result<Docker, String> {
    let advice = format!("start a container engine, or {}", advice());
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

fn advice() -> String {
    let variable = super::server::URL_VARIABLE;
    format!("set {variable} to the URL of a Postgres in which schemas may be made")
}

/// The name of an image that is there: the one that is asked for, or the public one, or a made one.
///
/// Called by one process at a time, since it may pull or make the image.
pub(super) async fn find(engine: &Docker) -> Result<String, String> {
    if let Ok(asked) = env::var(VARIABLE) {
        return pulled(engine, &asked)
            .await
            .map_err(|error| format!("the image {asked} of {VARIABLE}: {error}; {}", advice()));
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
            made.map_err(|failed| format!("the image {PUBLIC}: {error}; {failed}; {}", advice()))
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

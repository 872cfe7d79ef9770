//! A server that encrypts: whom a store trusts, and what it says where it does not.

use std::path::PathBuf;

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend};
use aqevia_storage_postgres::{PostgresConfig, SslMode};
use conformance::engines::postgres::EncryptedServer;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::bad_input::refused;
use crate::store::{Writer, arda, backend, config, event, json, log, open, sql, texts};

/// What the sessions of the stores are called, to find them by.
const NAME: &str = "aqevia-tls";
/// What a message says besides the matter.
const ADVICE: &str = "the connection cannot be encrypted: correct sslmode, sslrootcert, sslcert \
                      and sslkey, or the server";

/// One that vouches for servers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(name, Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority = Self {
            issuer: Issuer::new(params, key),
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(authority.root(), certificate.pem()).unwrap();
        authority
    }

    /// The file with its certificate.
    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A certificate for a host, and its key.
    fn identity(&self, host: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = params(host, vec![host.to_owned()]);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }
}

fn params(name: &str, hosts: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn of(server: &EncryptedServer, mode: SslMode, root: Option<&Authority>) -> PostgresConfig {
    let mut config = config(server.url());
    config.application_name = NAME.to_owned();
    config.tls.mode = mode;
    config.tls.root_cert = root.map(Authority::root);
    config
}

/// Writes to a store and reads from it; whether its sessions were encrypted.
async fn used(config: PostgresConfig) -> bool {
    let store = open(config.clone()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    assert!(!log(&*store, &arda()).await.is_empty());
    let sessions = format!(
        "SELECT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = '{NAME}'"
    );
    let sessions = texts(&mut sql(&config).await, &sessions).await;
    store.close().await.unwrap();
    assert!(sessions.len() > 1, "sessions that read and write");
    let encrypted = sessions.iter().filter(|ssl| *ssl == "true").count();
    assert!([0, sessions.len()].contains(&encrypted), "{sessions:?}");
    encrypted > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_server_of_a_trusted_authority_encrypts_every_session() {
    let authority = Authority::new("authority");
    let server = EncryptedServer::start(|host| authority.identity(host)).await;
    for mode in [SslMode::VerifyFull, SslMode::VerifyCa] {
        assert!(used(of(&server, mode, Some(&authority))).await, "{mode:?}");
    }
    let url = format!(
        "{}?application_name={NAME}&sslmode=verify-full&sslrootcert={}",
        server.url(),
        authority.root().display()
    );
    assert!(used(config(&url)).await, "by its URL");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_server_that_cannot_be_verified_is_refused() {
    let authority = Authority::new("authority");
    let other = Authority::new("other");
    let server = EncryptedServer::start(|_| authority.identity("elsewhere.example")).await;
    let cases = [
        (SslMode::VerifyFull, None, "UnknownIssuer"),
        (SslMode::VerifyFull, Some(&other), "UnknownIssuer"),
        (SslMode::VerifyCa, None, "UnknownIssuer"),
        (SslMode::VerifyCa, Some(&other), "UnknownIssuer"),
        // The authority is the right one, and the host is another.
        (SslMode::VerifyFull, Some(&authority), "elsewhere.example"),
    ];
    for (mode, root, cause) in cases {
        let config = of(&server, mode, root);
        let policy = SchemaPolicy::Upgrade;
        refused(config.clone(), policy, ErrorKind::Invalid, &[ADVICE]).await;
        let error = backend(config).init(policy).await;
        let shown = format!("{:?}", error.unwrap_err());
        assert!(shown.contains(cause), "{cause:?} is missing: {shown}");
    }
    let any_host = of(&server, SslMode::VerifyCa, Some(&authority));
    assert!(used(any_host).await, "the name of the host is not asked");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_without_verification_asks_for_no_authority() {
    let authority = Authority::new("authority");
    let server = EncryptedServer::start(|_| authority.identity("elsewhere.example")).await;
    for (mode, encrypts) in [
        (SslMode::Require, true),
        (SslMode::Prefer, true),
        (SslMode::Allow, false),
        (SslMode::Disable, false),
    ] {
        assert_eq!(used(of(&server, mode, None)).await, encrypts, "{mode:?}");
    }
    server.end().await;
}

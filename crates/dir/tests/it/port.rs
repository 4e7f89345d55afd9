//! What else comes to the port: browsers, tools, garbage; and the data directory.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use xtfs_core::Error;
use xtfs_proto::{Header, v1};
use xtfs_rpc::{Connector, DataDir, Listen, Role, call};

use crate::cluster::{DEADLINE, TestDir};

/// As `curl` does.
async fn get(dir: &TestDir, path: &str) -> String {
    let mut stream = TcpStream::connect(dir.at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: dir\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_browser_gets_pages() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    dir.directory().describe(DEADLINE).await.unwrap();
    dir.directory().list(xtfs_core::ClusterId::generate(), DEADLINE).await.unwrap_err();
    let page = get(&dir, "/").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("<h2>Targets</h2>") && page.contains(&dir.cluster.to_string()), "{page}");
    let metrics = get(&dir, "/metrics").await;
    assert!(metrics.contains("xtfs_dir_targets 0"), "{metrics}");
    let counted = "xtfs_requests_total{method=\"xtfs.v1.Dir/Describe\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("error=\"ERROR_CODE_WRONG_CLUSTER\"} 1"), "{metrics}");
    assert!(get(&dir, "/nothing").await.starts_with("HTTP/1.1 404"));
    dir.stop().await;
}

#[tokio::test]
async fn tools_get_health_and_reflection() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let channel = Connector::new().channel(&dir.address());
    let request = HealthCheckRequest { service: "xtfs.v1.Dir".into() };
    let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let requests = tokio_stream::iter([request]);
    let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else {
        panic!("{answer:?}");
    };
    assert!(services.service.iter().any(|service| service.name == "xtfs.v1.Dir"));
    dir.stop().await;
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    for bytes in [&noise[..], b"\0", b"GET", &[h2, &noise].concat(), b"\x16\x03\x01\x02\0\x01"] {
        let mut stream = TcpStream::connect(dir.at).await.unwrap();
        // The DIR may hang up in the middle.
        stream.write_all(bytes).await.unwrap_or_default();
        stream.shutdown().await.unwrap_or_default();
    }
    let _open_and_silent = TcpStream::connect(dir.at).await.unwrap();
    assert_eq!(dir.directory().describe(DEADLINE).await, Ok(dir.cluster));
    let wrong = Connector::new().mrc(&dir.address()).lookup(v1::LookupRequest::default()).await;
    let wrong = xtfs_rpc::status_error(&wrong.unwrap_err());
    assert!(matches!(wrong, Error::WrongProtocol(_)), "an MRC is not here: {wrong}");
    dir.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_watchers() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let mut client = Connector::new().dir(&dir.address());
    let request = v1::ListRequest { header: Some(Header::new(Some(dir.cluster)).into()) };
    let mut stream = call(DEADLINE, client.watch(request)).await.unwrap();
    stream.message().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(4), dir.stop()).await.expect("before the drain ends");
    assert!(stream.message().await.ok().flatten().is_none());
}

#[tokio::test]
async fn the_data_directory_is_checked() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let refused = async || {
        let started = TestDir::start_at(root.path(), Listen::loopback()).await;
        started.err().map(|failure| failure.to_string()).unwrap_or_default()
    };
    assert!(refused().await.contains("is in use by pid"));
    let cluster = dir.cluster;
    dir.stop().await;
    let data = DataDir::open(&root.path().join("dir"), Role::Dir, None).unwrap();
    assert_eq!(data.cluster(), Some(cluster));
    drop(data);
    std::fs::remove_dir_all(root.path().join("dir/log")).unwrap();
    let text = refused().await;
    assert!(text.contains("is empty; restore"), "{text}");
    std::fs::remove_dir_all(root.path().join("dir")).unwrap();
    drop(DataDir::open(&root.path().join("dir"), Role::Osd, None).unwrap());
    assert!(refused().await.contains("role osd, not dir"));
}

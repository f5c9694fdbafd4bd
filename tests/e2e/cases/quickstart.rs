//! The first thing that a user does: `sluice start`, and the walkthrough of the README.

use crate::harness::TempDir;
use crate::harness::gateway::{Gateway, command};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// The port of `config/quickstart.yaml`.
const PORT: u16 = 7114;

pub(crate) fn walkthrough() {
    if let Err(error) = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))) {
        assert!(std::env::var_os("CI").is_none(), "port {PORT}: {error}");
        eprintln!("port {PORT}: {error}: left out");
        return;
    }
    let mut gateway = Gateway::spawn(
        command().args(["start", "--cores", "none:1"]),
        TempDir::new(),
    );
    assert_eq!(gateway.address().port(), PORT);
    let http = gateway.http();
    let widget = br#"{"name":"widget"}"#;
    http.request(
        "PUT",
        "/items/1",
        &[("content-type", "application/json")],
        Some(widget),
    )
    .expect(204);
    let item = http.get("/items/1").expect(200);
    assert_eq!(item.body, widget);
    item.etag();
    assert_eq!(
        http.get("/items").expect(200).text(),
        r#"[{"name":"widget"}]"#
    );
    http.delete("/items/1").expect(204);
    http.get("/items/1").expect(404);
    // It says that its broker is for development, and where a real one goes.
    let output = gateway.output();
    assert!(output.contains("embedded"), "{output}");
    assert!(output.contains("KAFKA_BOOTSTRAP_SERVER"), "{output}");
    gateway.signal("INT");
    assert_eq!(
        gateway.exit_code(Duration::from_secs(10)),
        Some(0),
        "{}",
        gateway.output()
    );
}
